"""Run several tasks, one after another."""

from __future__ import annotations

import os

from scflows.errors import ScflowsError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scflows.cli.output import Output

#: Exit codes of a run that the user stopped: the tasks after it are not started.
STOPPED = (130, 143)


def several(out: Output, given: str, everywhere: bool) -> list[str] | None:
    """Return the tasks that match a pattern; None if `given` is a single flow or task. Raise NotFound, UsageError."""
    from scflows.cron.task_index import read_tasks
    from scflows.cron.task_selection import is_pattern, select_tasks

    if not everywhere and (not is_pattern(given) or "/" in given or os.path.exists(given)):
        return None
    if given and not is_pattern(given):
        raise UsageError("--all needs a pattern, or no TASK", f"for example: flows run --all '{given}*'")
    tasks, problems = read_tasks(out.settings)
    for problem in problems:
        out.warn(str(problem))
    # A task that runs a command has no flow to run.
    flows = [task for task in tasks if task.flow]
    return select_tasks([given or "*"], flows, "" if everywhere else out.settings.home)


def run_each(out: Output, names: Sequence[str], start: Callable[[str], int]) -> int:
    """Run tasks; return 0, the common exit code of those that failed, or 1 if they differ."""
    codes: list[int] = []
    for name in names:
        if not out.json:
            out.say(out.bold(name))
        try:
            code = start(name)
        except ScflowsError as error:
            out.fail(error)
            code = error.exit_code
        codes.append(code)
        if code in STOPPED:
            break
    failed = [code for code in codes if code]
    if not out.json:
        counts = [f"{len(codes) - len(failed)} succeeded", f"{len(failed)} failed"]
        if len(codes) < len(names):
            counts.append(f"{len(names) - len(codes)} not started")
        out.say(f"Ran {len(codes)} {'task' if len(codes) == 1 else 'tasks'}: {', '.join(counts)}.")
    return 0 if not failed else failed[0] if len(set(failed)) == 1 else 1
