"""The Typer app: the table of commands; every exception becomes an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperGroup

from scflows.cli import (
    artifacts,
    authoring,
    change,
    check,
    check_devices,
    cron,
    crontab,
    demo,
    devices,
    flow,
    folders,
    forward,
    health,
    locks,
    logs,
    notify,
    run,
    runs,
    schedule,
    tasks,
    workspace,
)
from scflows.cli.failure import bug, usage_error
from scflows.cli.options import HELP, Options, take_options
from scflows.cli.output import Output
from scflows.cli.stream import ReaderGone, drop_output, open_streams
from scflows.errors import ScflowsError, UsageError

Command = Callable[..., int | None]


@dataclass(frozen=True)
class Group:
    """Commands that share their first word."""

    help: str
    commands: dict[str, Command]
    default: Command | None = None  #: what the first word does on its own; takes only the context


#: Every command, in the order of the help. A command returns its exit code, or None for 0.
PANELS: dict[str, dict[str, Command | Group]] = {
    "SCHEDULE": {
        "auto-schedule": schedule.auto_schedule,
        "manual-schedule": schedule.manual_schedule,
        "list-tasks": tasks.list_tasks,
        "show": tasks.show,
        "next": tasks.next_slots,
        "load": tasks.load,
        "edit": schedule.edit,
        "enable": change.enable,
        "disable": change.disable,
        "remove-task": change.remove_task,
        "clear-tasks": change.clear_tasks,
        "rebalance": change.rebalance,
        "repair": change.repair,
        "crontab": Group(
            "Show the crontab; list and restore its backups.",
            {"show": crontab.show, "backups": crontab.list_backups, "restore": crontab.restore},
        ),
    },
    "RUN": {
        "run": run.run,
        "history": runs.history,
        "runs": Group(
            "List, show, stop, resume, retry and prune runs.",
            {
                "list": runs.history,
                "show": runs.show,
                "stop": runs.stop,
                "resume": runs.resume,
                "retry": runs.retry,
                "prune": runs.prune,
            },
        ),
        "artifacts": Group(
            "List the files that a run made; copy them.", {"list": artifacts.list_artifacts, "get": artifacts.get}
        ),
        "logs": logs.logs,
        "folders": Group(
            "Run the jobs of a working folder; show the status of its files.",
            {"run": folders.run, "status": folders.status},
        ),
        "locks": Group("Show which runs hold locks; release one.", {"clear": locks.clear}, default=locks.locks),
    },
    "FLOWS": {
        "validate": flow.validate,
        "list-flows": flow.list_flows,
        "steps": authoring.steps,
        "schema": authoring.schema,
        "graph": authoring.graph,
    },
    "DEVICES": {
        "devices": Group(
            "Search and show devices of the Smart Citizen platform.",
            {"search": devices.search, "show": devices.show},
        ),
        "check-devices": check_devices.check_devices,
    },
    "SERVICES": {
        "cron": Group(
            "Run tasks without a cron daemon; show what starts them.",
            {"run": cron.run, "status": cron.status, "catch-up": cron.catch_up, "boot": cron.boot},
        ),
        "tick": cron.tick,
        "forward": Group(
            "Forward messages between brokers; show forwarder status.",
            {"mqtt": forward.mqtt, "staplus": forward.staplus, "status": forward.status},
        ),
    },
    "SETUP": {
        "init": workspace.init,
        "demo": Group(
            "Try the features that use external services, with a local mock.",
            {"harvest": demo.harvest, "smartcitizen": demo.smartcitizen},
        ),
        "check": check.check,
        "health": health.health,
        "notify": Group("Try the notifications.", {"test": notify.send_test}),
        "config": workspace.config,
    },
}
#: The first words that do nothing on their own.
GROUPS = {
    name
    for commands in PANELS.values()
    for name, command in commands.items()
    if isinstance(command, Group) and command.default is None
}
#: Alternative names of commands, not shown in the help.
ALIASES = {"doctor": "check", "ls": "list-tasks"}
#: `\b` keeps the line breaks of a paragraph.
EPILOG = "\b\nGlobal options, before or after the command:\n" + "\n".join(
    f"  {option:<15}{text}" for option, text in HELP
)
SHORT_EPILOG = "\b\nGlobal options: " + ", ".join(option for option, _ in HELP[:6]) + ",\n"
SHORT_EPILOG += "                " + ", ".join(option for option, _ in HELP[6:])
COMPLETION = "_FLOWS_COMPLETE"
_DRY = {"--dry-run", "-h", "--help"}


class PanelGroup(TyperGroup):
    """A command group whose help lists the commands by panel, also without Rich."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for panel, names in PANELS.items():
            rows = [(name, self.commands[name].get_short_help_str(100)) for name in names if name in self.commands]
            if rows:
                with formatter.section(panel):
                    formatter.write_dl(rows)


def run_app(arguments: list[str]) -> int:
    """Run a command line without the program's name; return the exit code."""
    open_streams()
    out = Output(Options(json="--json" in arguments))
    words: list[str] = []
    try:
        _check_text(arguments)
        options, words = take_options(arguments)
        out = Output(options)
        _use_zone(out)
        code = _invoke(words, out)
        sys.stdout.flush()
        _run_housekeeping(words, out)
        return code
    except ScflowsError as error:
        return _failed(error, out)
    except typer.TyperException as error:
        return _failed(usage_error(error, words), out)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except (ReaderGone, BrokenPipeError):
        # For example `flows history | head`. This is not an error.
        drop_output()
        return 0
    except Exception as error:
        if isinstance(error, FileNotFoundError) and not _has_folder():
            return _failed(UsageError("the current folder no longer exists", "change to another one: cd"), out)
        return _failed(bug(error, out), out, code=3)


def _use_zone(out: Output) -> None:
    """Use the zone of the tasks; without tasks, that which the first one will have."""
    from scflows.cron.machine_zone import find_zone, use_kept_zone, use_zone

    try:
        settings = out.settings
        if not use_kept_zone(settings.state_path):
            use_zone(find_zone(settings))
    except (ScflowsError, OSError):
        pass  # A command that needs the settings reports it.


def _check_text(arguments: list[str]) -> None:
    """Raise UsageError for an argument that is not UTF-8, because it could not be recorded."""
    for each in arguments:
        try:
            each.encode()
        except UnicodeEncodeError:
            raise UsageError(f"argument {each!r} is not UTF-8") from None


def _has_folder() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def build_app(only: str | None = None) -> typer.Typer:
    """Build the app with all commands, or only with one: building all takes as long as a small run."""
    app = typer.Typer(
        cls=PanelGroup,
        add_completion=only is None,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog=EPILOG,
    )
    app.callback()(_flows)
    for commands in PANELS.values():
        for name, command in commands.items():
            if only in (None, name):
                _add(app, name, command)
            for alias, target in ALIASES.items():
                if target == name and only in (None, alias):
                    _add(app, alias, command, hidden=True)
    return app


def _flows() -> None:
    """Run YAML workflows from your crontab, spread out so they don't pile up."""


def _invoke(words: list[str], out: Output) -> int:
    if out.options.version:
        from scflows import __version__

        out.line(f"flows {__version__}")
        return 0
    known = {*ALIASES, *(name for commands in PANELS.values() for name in commands)}
    name = words[0] if words and words[0] in known and COMPLETION not in os.environ else None
    if len(words) == 1 and name in GROUPS:
        words = [*words, "--help"]
    command = typer.main.get_command(build_app(name))
    code = command.main(words or ["--help"], prog_name="flows", standalone_mode=False, obj=out)
    return code if isinstance(code, int) else 0


def _run_housekeeping(words: list[str], out: Output) -> None:
    """Run housekeeping after the command, without output."""
    # Runs do this themselves, `cron` starts runs, and a dry run must not change anything.
    if not words or words[0] in ("run", "cron", "folders") or not _DRY.isdisjoint(words) or COMPLETION in os.environ:
        return
    try:
        settings = out.settings
    except ScflowsError:
        return
    # Without tasks, only notifications about flows that were run by hand may be pending.
    if any(os.path.isdir(os.path.join(settings.state_path, name)) for name in ("tasks", "undelivered")):
        from scflows.scheduler.housekeeping import run_housekeeping

        run_housekeeping(settings, aside=True)


def _add(app: typer.Typer, name: str, command: Command | Group, hidden: bool = False) -> None:
    if not isinstance(command, Group):
        app.command(name, hidden=hidden, epilog=SHORT_EPILOG)(command)
        return
    group = typer.Typer(rich_markup_mode=None, help=command.help, epilog=SHORT_EPILOG)
    if command.default is not None:
        group.callback(invoke_without_command=True)(_default(command.default))
    for word, each in command.commands.items():
        group.command(word, epilog=SHORT_EPILOG)(each)
    app.add_typer(group, name=name, hidden=hidden)


def _default(command: Command) -> Command:
    def default(ctx: typer.Context) -> int | None:
        return command(ctx) if ctx.invoked_subcommand is None else None

    return default


def _failed(error: ScflowsError, out: Output, code: int | None = None) -> int:
    trace = ""
    if out.options.verbose > 1:
        from traceback import format_exc

        trace = format_exc()
    try:
        out.fail(error, trace)
    except (ReaderGone, ScflowsError):
        pass  # stderr is closed; the exit code still reports the failure.
    drop_output()
    return error.exit_code if code is None else code
