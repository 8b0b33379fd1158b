"""How the tasks do, for people and for whoever watches this machine from outside."""

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
    part: Annotated[str, typer.Argument(metavar="[tasks|forward]", help="What to look at.")] = "tasks",
) -> int:
    """Tell which tasks are late, missed, too long, crashed or failing; or how the forwardings do.

    Ends with 1 when there are any, with 7 when the history cannot be read, else with 0. Whether tasks can start at
    all is what `flows check` looks at.
    """
    if part == "forward":
        from scflows.cli.forward import status

        return status(ctx)
    if part != "tasks":
        raise UsageError(f"health knows no {part!r}", "flows health, or flows health forward")
    from scflows.cli.open_history import opened_history
    from scflows.health.tasks import condition

    out: Output = ctx.obj
    with opened_history(out.settings) as store:
        found = condition(out.settings, store)
    numbers = {"tasks": found.tasks, "paused": found.paused, "running": found.running, "waiting": found.waiting}
    columns = {"TASK": "task", "PROBLEM": "problem", "SINCE": "since", "RUN": "run", "WHY": "why"}
    out.table(columns, [_item(problem) for problem in found.problems], {**numbers, "problems": len(found.problems)})
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
        "told": problem.is_told,
    }


def _sum_up(out: Output, found: Condition) -> None:
    if not found.problems:
        numbers = {"running": found.running, "waiting": found.waiting, "paused": found.paused}
        told = [f"{found.tasks} task{'' if found.tasks == 1 else 's'}"]
        told += [f"{number} {what}" for what, number in numbers.items() if number]
        out.say(f"all is well: {', '.join(told)}")
        return
    affected = {problem.task for problem in found.problems}
    unstarted = {problem.task for problem in found.problems if problem.kind in ("late", "missed")}
    help = "is cron alive? flows check" if len(unstarted) == found.tasks - found.paused else "flows logs TASK"
    out.hint(f"{len(affected)} of {found.tasks} tasks · {help}")
