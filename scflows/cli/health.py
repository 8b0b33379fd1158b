"""The health of tasks and forwarders, for people and for monitoring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from scflows.cli.times import Moment, Status
from scflows.errors import UsageError

if TYPE_CHECKING:
    from scflows.cli.output import Output
    from scflows.health.tasks import Condition, Problem


def health(
    ctx: typer.Context,
    part: Annotated[str, typer.Argument(metavar="[tasks|forward]", help="What to check.")] = "tasks",
) -> int:
    """List tasks that are late, missed, overrunning or failing.

    Crashed tasks are listed too; `flows health forward` shows the status of forwarders. Exits with 1 if there are
    any problems, with 7 if the history cannot be read, otherwise with 0. `flows check` finds out whether tasks can
    start at all.
    """
    if part == "forward":
        from scflows.cli.forward import status

        return status(ctx)
    if part != "tasks":
        raise UsageError(f"unknown argument {part!r}; it must be tasks or forward", "flows health forward")
    from scflows.cli.open_history import opened_history
    from scflows.health.tasks import condition

    out: Output = ctx.obj
    with opened_history(out.settings) as store:
        found = condition(out.settings, store)
    numbers = {"tasks": found.tasks, "paused": found.paused, "running": found.running, "waiting": found.waiting}
    columns = {"TASK": "task", "PROBLEM": "problem", "SINCE": "since", "RUN": "run", "WHY": "why"}
    out.table(
        columns, [_item(problem) for problem in found.problems], {**numbers, "problems": len(found.problems)}, ("run",)
    )
    if not out.json:
        _sum_up(out, found)
    return 1 if found.problems else 0


def _item(problem: Problem) -> dict[str, Any]:
    return {
        "task": problem.task or None,
        "problem": Status(problem.kind),
        "since": None if problem.since is None else Moment(problem.since),
        "run": problem.run or None,
        "why": problem.message,
        "delivered": problem.is_delivered,
    }


def _sum_up(out: Output, found: Condition) -> None:
    if not found.problems:
        numbers = {"running": found.running, "waiting": found.waiting, "paused": found.paused}
        counts = [f"{found.tasks} task{'' if found.tasks == 1 else 's'}"]
        counts += [f"{number} {state}" for state, number in numbers.items() if number]
        out.say(f"No problems: {', '.join(counts)}.")
        return
    affected = {problem.task for problem in found.problems}
    unstarted = {problem.task for problem in found.problems if problem.kind in ("late", "missed")}
    is_cron_away = len(unstarted) == found.tasks - found.paused
    named = sorted(filter(None, affected))
    help = "is cron running? flows check" if is_cron_away or not named else f"flows logs {named[0]}"
    out.hint(f"{len(affected)} of {found.tasks} tasks · {help}")
