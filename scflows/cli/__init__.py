"""The command `flows`: a fast path for cron, then the Typer app; errors become exit codes."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.execution.request import RunOutcome


def main() -> None:
    """Run this process's command line and exit."""
    if sys.getfilesystemencoding() != "utf-8":
        _restart_with_utf8()
    arguments = sys.argv[1:]
    if len(arguments) >= 4 and arguments[:3] == ["run", "--waiting", "--state"]:
        from scflows.cron.machine_zone import use_kept_zone
        from scflows.scheduler.worker import run_worker

        use_kept_zone(arguments[3])
        options = arguments[4:]
        children = [int(each[8:]) for each in options if each.startswith("--child=")]
        run_worker(arguments[3], _report, _warn, _say if "--say" in options else None, children)
        sys.exit(0)
    if arguments[:1] == ["tick"] and (len(arguments) == 1 or (len(arguments) == 3 and arguments[1] == "--state")):
        sys.exit(_run_shared_line("tick", *arguments[2:]))
    if arguments[:2] == ["cron", "boot"] and (
        len(arguments) == 2 or (len(arguments) == 4 and arguments[2] == "--state")
    ):
        sys.exit(_run_shared_line("boot", *arguments[3:]))
    due = _parse_cron_arguments(arguments)
    if due is not None:
        sys.exit(_run_due(*due))
    from scflows.cli.app import run_app

    sys.exit(run_app(arguments))


def _restart_with_utf8() -> None:
    """Start this command again with UTF-8 for file names; otherwise the names of tasks would depend on the locale."""
    import os

    try:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    except OSError:
        pass  # Then file names are read as the locale says.


def _parse_cron_arguments(arguments: list[str]) -> tuple[str, str, float | None, str] | None:
    """Return (task, state folder, slot, trigger) if the arguments are exactly those of a crontab line."""
    if not arguments or arguments[0] != "run":
        return None
    rest = arguments[1:]
    if rest and not rest[0].startswith("-"):
        del rest[0]  # The flow is only for people who read the crontab; the task's own file has it.
    found = {"--task": "", "--state": "", "--slot": "", "--trigger": ""}
    while len(rest) >= 2 and rest[0] in found and not found[rest[0]] and rest[1][:1] != "-":
        found[rest[0]] = rest[1]
        rest = rest[2:]
    if rest or not found["--task"]:
        return None
    slot = found["--slot"]
    if (slot and not slot.isdigit()) or found["--trigger"] not in ("", "catch_up", "check", "boot"):
        return None
    return found["--task"], found["--state"], float(slot) if slot else None, found["--trigger"]


def _run_due(name: str, state: str, slot: float | None, trigger: str) -> int:
    """Run a task as cron does; print nothing on success, so that cron sends no mail."""
    from scflows.cron.machine_zone import use_kept_zone
    from scflows.errors import ScflowsError
    from scflows.queue.permits import is_queue_empty
    from scflows.scheduler.cron_entry import run_task_from_cron, state_path

    folder = state_path(state)
    use_kept_zone(folder)
    try:
        outcome = run_task_from_cron(name, state, slot, trigger)
    except ScflowsError as error:
        _complain(f"error: {error}\n" + (f"  help: {error.help}\n" if error.help else ""))
        return error.exit_code
    except Exception as error:
        _complain(f"error: {name}: internal error: {type(error).__name__}: {error}\n  help: flows logs {name}\n")
        return 3
    if outcome is not None:
        _report(name, outcome)
    # This run may have freed a permit, or have been enqueued itself.
    if not is_queue_empty(folder):
        from scflows.scheduler.worker import start_worker

        start_worker(folder, _report, _warn)
    return 0 if outcome is None else exit_code(outcome)


def _report(name: str, outcome: RunOutcome) -> None:
    """Print what went wrong with a run that cron started."""
    for problem in outcome.problems:
        _complain(f"warning: {problem}\n")
    if outcome.run.status in ("failed", "crashed"):
        # Cron mails this to the address in MAILTO.
        message = " ".join(outcome.run.message.split())
        _complain(f"error: {name}: {message} · flows logs {outcome.run.id}\n")
        for step in outcome.run.steps:
            if step.output and step.status == "failed":
                _complain("".join(f"  {line}\n" for line in step.output.splitlines()))


def _complain(text: str) -> None:
    """Write to stderr, of which cron makes a mail."""
    from scflows.cli.stream import printable

    sys.stderr.write(printable(text))


def _warn(text: str) -> None:
    _complain(f"warning: {text}\n")


def _say(text: str) -> None:
    """Report a start or an end where `flows cron run` started the queue worker."""
    import time

    from scflows.cli.stream import printable

    try:
        sys.stdout.write(printable(f"{time.strftime('%Y-%m-%dT%H:%M:%S+00:00', time.gmtime())} {text}\n"))
        sys.stdout.flush()
    except OSError:
        pass  # The runs start even if the reader has gone.


def _run_shared_line(line: str, state: str = "") -> int:
    """Do what a crontab line for all tasks does; print nothing on success."""
    from scflows.cron.machine_zone import use_kept_zone
    from scflows.errors import ScflowsError
    from scflows.scheduler.cron_entry import state_path

    use_kept_zone(state_path(state))
    try:
        if line == "boot":
            from scflows.scheduler.boot import start_after_boot

            start_after_boot(state)
        else:
            from scflows.scheduler.tick import tick_here

            tick_here(_warn, state, _report)
    except ScflowsError as error:
        _complain(f"error: {error}\n" + (f"  help: {error.help}\n" if error.help else ""))
        return error.exit_code
    return 0


def exit_code(outcome: RunOutcome) -> int:
    """Return the exit code of the command for the outcome of a run."""
    run = outcome.run
    if run.status in ("success", "exit", "skipped", "queued"):
        return 0
    if run.status == "cancelled":
        return 130 if run.reason == "interrupted" else 143
    if run.reason == "timeout":
        return 124
    return 2 if run.reason == "refused" else 1
