"""The command `flows`: cron's fast lane, then the Typer app; errors become exit codes."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.execution.launch import RunOutcome


def main() -> None:
    """Run the command line of this process and exit."""
    arguments = sys.argv[1:]
    if len(arguments) == 4 and arguments[:3] == ["run", "--waiting", "--state"]:
        from scflows.scheduler.worker import run_worker

        run_worker(arguments[3], _tell, _warn)
        sys.exit(0)
    if arguments[:1] == ["tick"] and (len(arguments) == 1 or (len(arguments) == 3 and arguments[1] == "--state")):
        sys.exit(_for_all("tick", *arguments[2:]))
    if arguments[:2] == ["cron", "boot"] and (
        len(arguments) == 2 or (len(arguments) == 4 and arguments[2] == "--state")
    ):
        sys.exit(_for_all("boot", *arguments[3:]))
    lane = _fast_lane(arguments)
    if lane is not None:
        sys.exit(_run_due(*lane))
    from scflows.cli.app import run_app

    sys.exit(run_app(arguments))


def _fast_lane(arguments: list[str]) -> tuple[str, str, float | None, str] | None:
    """(task, state folder, slot, trigger) when the arguments are exactly what a crontab line has; else None."""
    if not arguments or arguments[0] != "run":
        return None
    rest = arguments[1:]
    if rest and not rest[0].startswith("-"):
        del rest[0]  # The flow is there for whoever reads the crontab; the task's own file has it.
    found = {"--task": "", "--state": "", "--slot": "", "--trigger": ""}
    while len(rest) >= 2 and rest[0] in found and not found[rest[0]] and rest[1][:1] != "-":
        found[rest[0]] = rest[1]
        rest = rest[2:]
    if rest or not found["--task"]:
        return None
    slot = found["--slot"]
    if (slot and not slot.isdigit()) or found["--trigger"] not in ("", "catch_up", "check"):
        return None
    return found["--task"], found["--state"], float(slot) if slot else None, found["--trigger"]


def _run_due(name: str, state: str, slot: float | None, trigger: str) -> int:
    """Run a task as cron starts it; says nothing when all is well, so that cron sends no mail."""
    from scflows.errors import ScflowsError
    from scflows.queue.permits import is_queue_empty
    from scflows.scheduler.cron_entry import run_task_from_cron, state_path

    try:
        outcome = run_task_from_cron(name, state, slot, trigger)
    except ScflowsError as error:
        sys.stderr.write(f"error: {error}\n" + (f"  help: {error.help}\n" if error.help else ""))
        return error.exit_code
    except Exception as error:
        sys.stderr.write(f"error: {name}: a bug of flows: {type(error).__name__}: {error}\n  help: flows logs {name}\n")
        return 3
    if outcome is not None:
        _tell(name, outcome)
    # A place is free, or somebody waits for one.
    where = state_path(state)
    if not is_queue_empty(where):
        from scflows.scheduler.worker import start_worker

        start_worker(where, _tell, _warn)
    return 0 if outcome is None else exit_code(outcome)


def _tell(name: str, outcome: RunOutcome) -> None:
    """Say what went wrong with a run that cron started."""
    for problem in outcome.problems:
        sys.stderr.write(f"warning: {problem}\n")
    if outcome.run.status in ("failed", "crashed"):
        # Cron mails it to whoever MAILTO names.
        told = " ".join(outcome.run.message.split())
        sys.stderr.write(f"error: {name}: {told} · flows logs {outcome.run.id}\n")


def _warn(text: str) -> None:
    sys.stderr.write(f"warning: {text}\n")


def _for_all(line: str, state: str = "") -> int:
    """What a line of the crontab does that stands for all tasks; says nothing when all is well."""
    from scflows.errors import ScflowsError

    try:
        if line == "boot":
            from scflows.scheduler.boot import catch_up_after_boot

            catch_up_after_boot(state)
        else:
            from scflows.scheduler.tick import tick_here

            tick_here(_warn, state)
    except ScflowsError as error:
        sys.stderr.write(f"error: {error}\n" + (f"  help: {error.help}\n" if error.help else ""))
        return error.exit_code
    return 0


def exit_code(outcome: RunOutcome) -> int:
    """The exit status of the command for how a run ended."""
    run = outcome.run
    if run.status in ("success", "exit", "skipped", "queued"):
        return 0
    if run.status == "cancelled":
        return 130 if run.reason == "interrupted" else 143
    if run.reason == "timeout":
        return 124
    return 2 if run.reason == "refused" else 1
