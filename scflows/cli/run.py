"""`flows run`: run one flow or task now."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Annotated, Any

import typer

from scflows.cli import completion, exit_code
from scflows.cli.output import Output
from scflows.cli.parameters import Follow, parse_params
from scflows.cli.run_each import run_each, several
from scflows.cli.schedule_options import Everywhere
from scflows.cli.stream import escaped
from scflows.cli.times import Status
from scflows.errors import FlowError, Mistake, NotFound, ScflowsError, StepError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.execution.request import RunOutcome, RunRequest
    from scflows.history.run import StepRecord
    from scflows.settings import Settings


#: The largest input of a run, in bytes.
MAX_DATA = 64 * 1024 * 1024


def run(
    ctx: typer.Context,
    flow: Annotated[
        str,
        typer.Argument(
            metavar="FLOW|TASK",
            help="A flow file, the name of a task, or a pattern such as 'backup-*' for tasks of this workspace.",
            autocompletion=completion.runnable,
        ),
    ] = "",
    everywhere: Everywhere = False,
    param: Annotated[
        list[str] | None,
        typer.Option("-p", "--param", metavar="NAME=VALUE", help="Set a parameter of the flow; may be repeated."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="FILE", help="A JSON or YAML file for __input__; - = stdin."),
    ] = None,
    device: Annotated[str | None, typer.Option("--device", metavar="ID", help="Same as --param device=ID.")] = None,
    slot: Annotated[
        str | None, typer.Option("--slot", metavar="TIME", help="The slot (due time) to run for, ISO 8601.")
    ] = None,
    timeout: Annotated[
        str | None, typer.Option("--timeout", metavar="TIME", help="The time limit: 90s, 30m, 2h.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Run without posting, sending or writing anything; show what would be done."),
    ] = False,
    follow: Follow = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for a permit, a mutex, or an earlier run of the same flow.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Run even if the slot already has a run, the target exists, or the flow has changed."
        ),
    ] = False,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="RUN", help="Resume this run at its first unfinished step.")
    ] = None,
    task: Annotated[str | None, typer.Option("--task", hidden=True)] = None,
    state: Annotated[str | None, typer.Option("--state", hidden=True)] = None,
) -> int:
    """Run a flow or a task now.

    Exits with 0 if the run succeeded, ended early on purpose, or was skipped because the flow is already running;
    with 1 if it failed, 2 if the flow is invalid, 124 if the run exceeded its time limit.
    """
    out: Output = ctx.obj
    names = several(out, flow, everywhere)
    if names is not None:
        return run_each(out, names, lambda name: run(ctx, **{**ctx.params, "flow": name, "everywhere": False}))
    try:
        earlier = "" if resume is None else _earlier(resume, data, param, out.settings)
        if earlier and not flow and not task:
            request, settings = _request_resume(earlier, out.settings)
            request = replace(request, force=force, dry_run=dry_run, wants_data=out.json, waits="block" if wait else "")
            return finish(request, settings, out, follow)
        request, settings = _request(out, flow, task, state)
        due = None if slot is None else _slot(slot, settings)
        # A dry run does not claim its slot.
        if due is not None and request.task is not None and not (force or dry_run):
            from scflows.health.task_status import check_slot

            check_slot(settings, request.task, due)
        request = replace(
            request,
            payload={} if data is None else _read_data(data),
            params={**({} if device is None else {"device": device}), **parse_params(param)},
            slot=due,
            again=force or bool(earlier),
            force=force,
            resume=earlier,
            timeout=None if timeout is None else _seconds(timeout),
            dry_run=dry_run,
            wants_data=out.json,
            waits="block" if wait else "",
        )
        return finish(request, settings, out, follow)
    except ScflowsError as error:
        if out.json:
            reason = "refused" if isinstance(error, FlowError) else error.code
            _object(out, follow, "failed", reason, str(error), {}, None)
        if isinstance(error, NotFound):
            # For this command, a missing flow or task is a usage error.
            raise UsageError(str(error), error.help) from error
        about_flow = isinstance(error, FlowError) and all(each.path == flow for each in error.mistakes)
        if about_flow and not flow.endswith((".yml", ".yaml")):
            from scflows.cli.open_history import nearest

            error.help = nearest(flow, completion.runnable("")) or error.help
        raise


def finish(request: RunRequest, settings: Settings, out: Output, follow: bool) -> int:
    """Carry out a run request and report the outcome; return the exit code."""
    if request.resume:
        from scflows.execution.resume import steps_to_repeat

        for sentence in steps_to_repeat(settings, request.resume):
            out.warn(sentence)
    request = request if request.by else replace(request, by=_user())
    outcome, is_error_shown = _launched(request, settings, out, follow)
    for problem in outcome.problems:
        out.warn(problem)
    _report(out, outcome, follow, is_error_shown)
    from scflows.queue.permits import is_queue_empty
    from scflows.scheduler.housekeeping import run_housekeeping

    run_housekeeping(settings, aside=True)
    if not is_queue_empty(settings.state_path):
        from scflows.queue.worker_process import ensure_worker

        ensure_worker(settings.state_path)
    return exit_code(outcome)


def _user() -> str:
    """Return the name of the user who asks; under sudo, of the one who typed it."""
    import pwd

    sudo = os.environ.get("SUDO_USER") if os.geteuid() == 0 else None
    try:
        return sudo or pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _earlier(run: str, data: str | None, param: list[str] | None, settings: Settings) -> str:
    """Return the full id of the run to resume. Raise UsageError for input and parameters of another run."""
    if data is not None or param:
        raise UsageError("--resume uses the input and parameters of that run", "omit --data and --param")
    from scflows.cli.open_history import find_run, opened_history

    with opened_history(settings) as store:
        return find_run(store, run).id


def _request_resume(run: str, settings: Settings) -> tuple[RunRequest, Settings]:
    from scflows.cli.open_history import find_run, opened_history
    from scflows.execution.control import request_again

    with opened_history(settings) as store:
        return request_again(find_run(store, run), settings, resume=True)


def _request(out: Output, flow: str, task: str | None, state: str | None) -> tuple[RunRequest, Settings]:
    """Return what to run, and the settings to use: those of the workspace or those the task remembers."""
    from scflows.execution.request import RunRequest

    settings = out.settings
    if state:
        settings = replace(settings, environment={**settings.environment, "XDG_STATE_HOME": os.path.dirname(state)})
    name = task or flow
    if not name:
        raise UsageError("missing argument FLOW or TASK", "list flows: flows list-flows")
    is_path = "/" in name or name.endswith((".yml", ".yaml")) or os.path.isfile(name)
    if task or (not is_path and os.path.exists(os.path.join(settings.state_path, "tasks", f"{name}.json"))):
        from scflows.cron.task import TaskStore, task_settings

        stored = TaskStore(settings).read(name)
        return RunRequest(task=stored), _verbose(task_settings(stored), out)
    return RunRequest(flow=flow), _verbose(settings, out)


def _verbose(settings: Settings, out: Output) -> Settings:
    if not out.options.verbose:
        return settings
    return replace(settings, environment={**settings.environment, "LOG_LEVEL": "DEBUG"})


def _launched(request: RunRequest, settings: Settings, out: Output, follow: bool) -> tuple[RunOutcome, bool]:
    """Run; return the outcome, and whether the terminal shows its error already."""
    from scflows.cli.follow import Follower, Numbers
    from scflows.execution.launch import launch

    with out.progress() as progress:
        if follow:
            follower = Follower(out, progress)
            outcome = launch(request, settings, follower.print)
            follower.end(outcome.run)
            is_shown = out.is_terminal and bool(follower.shown_error)
            return outcome, is_shown and follower.shown_error == outcome.run.message
        if not progress.shows:
            return launch(request, settings), False
        numbers = Numbers()

        def show(event: str, values: dict[str, Any]) -> None:
            if event == "flow":
                numbers.names = values["steps"]
            if event == "waits":
                progress.show(values["message"])
            if event == "step_started":
                progress.show(f"step {numbers.of(values['name'])} {values['name']!r}".replace("  ", " "))

        return launch(request, settings, show), False


def _report(out: Output, outcome: RunOutcome, follow: bool, is_error_shown: bool) -> None:
    run = outcome.run
    if out.json:
        _object(out, follow, run.status, run.reason, run.message, outcome.data, run.id)
    code = exit_code(outcome)
    if code and not is_error_shown:
        error = outcome.mistakes or ScflowsError(run.message, f"flows logs {run.id}" if run.log else None)
        if out.json and not isinstance(error, FlowError):
            error = ScflowsError(run.message)
            error.code = run.reason or run.status
        out.fail(error)
    from scflows.cli.times import words

    took = words(run.took or 0)
    result = {
        "success": f"succeeded in {took}",
        "exit": f"ended early after {took}: {escaped(run.message)}",
        "skipped": f"skipped: {escaped(run.message)}",
        "cancelled": f"stopped after {took}",
    }.get(run.status, "refused" if run.reason == "refused" else f"{run.status} after {took}")
    prefix = "dry run " if run.dry_run else ""
    if run.dry_run and not (out.json or follow or out.options.quiet):
        _plan(out, run.steps)
    if not out.json:
        out.say(f"{prefix}{out.first_colored(result)} · run {run.id} · flows runs show {run.id}")


def _plan(out: Output, steps: list[StepRecord]) -> None:
    """Print what each step of a dry run did or would have done."""
    items = [{"name": step.name, "status": Status(step.status), "what": step.message} for step in steps]
    out.table({"STEP": "name", "STATUS": "status", "WHAT": "what"}, items)


def _object(
    out: Output, follow: bool, status: str, reason: str, message: str, data: dict[str, Any], run: str | None
) -> None:
    item = {"status": status, "reason": reason, "message": message, "data": data, "run_id": run}
    out.object({"event": "run_ended", **item} if follow else item)


def _slot(text: str, settings: Settings) -> float:
    from scflows.cli.times import parse_moment

    return parse_moment(text, "--slot", settings.timezone, time.time())


def _seconds(text: str) -> float:
    from scflows.cli.times import parse_duration

    return parse_duration(text, "--timeout")


def _read_data(path: str) -> Any:
    """Return the value in a JSON or YAML file. Raise UsageError that names the file."""
    import sys

    from scflows.documents import parse_finite, reject_constant
    from scflows.storage import open_regular

    shown = "stdin" if path == "-" else path
    try:
        if path == "-":
            content = sys.stdin.buffer.read(MAX_DATA + 1)
        else:
            # The shell's <(command) is a pipe, whose content may arrive late.
            is_pipe = path == "/dev/stdin" or path.startswith("/dev/fd/")
            with open(path if is_pipe else open_regular(path), "rb") as file:
                content = file.read(MAX_DATA + 1)
    except OSError as error:
        raise UsageError(f"--data {shown}: cannot be read: {error.strerror}") from error
    if len(content) > MAX_DATA:
        raise UsageError(f"--data {shown}: larger than {MAX_DATA >> 20} MiB", "read it with a step of the flow")
    import json

    try:
        return json.loads(content, parse_constant=reject_constant, parse_float=parse_finite)
    except (ValueError, RecursionError) as error:
        if path.endswith(".json"):
            raise FlowError([_json_mistake(shown, error)]) from error
    from scflows.steps import json_value
    from scflows.validation import Located

    try:
        return json_value(Located(content, shown).value)
    except StepError as error:
        raise UsageError(f"--data {shown}: {error}") from error


def _json_mistake(path: str, error: Exception) -> Mistake:
    line, column = getattr(error, "lineno", 0), getattr(error, "colno", 0)
    return Mistake(path, f"invalid JSON: {getattr(error, 'msg', error)}", line, column)
