"""The decision of a search about each device, and the reason."""

from __future__ import annotations

from scflows.cli.times import Moment, Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scflows.cli.output import Output
    from scflows.planner.plan import Plan

#: For more devices than this, a terminal shows counts.
MAX_ROWS = 60
#: The result by the decision, if the task was not changed.
UNCHANGED = {"schedule": "kept", "leave": "left alone", "remove": "none"}
DONE = {"add": "added", "replace": "replaced", "remove": "removed", "keep": "kept"}


def decision_items(plan: Plan) -> list[dict[str, Any]]:
    """Return the decisions of a plan, each with the result for the task."""
    changes = {change.task.name: change for change in plan.changes}
    items = []
    for each in plan.decisions:
        change = changes.get(each.task)
        why = each.why
        if change is None:
            result = UNCHANGED[each.decision]
        else:
            result = DONE[change.action]
            if change.protection:
                why = f"{why}; {change.why}"
        items.append(
            {
                "device": each.device,
                "name": each.name,
                "task": each.task,
                "decision": each.decision,
                "result": Status(result),
                "last_reading_at": _moment(each.last_reading_at),
                "latest_postprocessing": _moment(each.latest_postprocessing),
                "why": why,
            }
        )
    return items


def show_decisions(out: Output, plan: Plan) -> None:
    """Print the decisions as a table; if there are many, print counts on a terminal unless verbose."""
    if out.json or out.options.quiet or not plan.decisions:
        return
    items = decision_items(plan)
    if out.is_terminal and len(items) > MAX_ROWS and not out.options.verbose:
        counts: dict[tuple[str, str], int] = {}
        for each in plan.decisions:
            key = (each.decision, each.why if each.decision != "leave" else "its hardware or dates cannot be read")
            counts[key] = counts.get(key, 0) + 1
        out.table(
            {"DEVICES": "count", "DECISION": "decision", "WHY": "why"},
            [{"count": count, "decision": decision, "why": why} for (decision, why), count in sorted(counts.items())],
        )
        out.hint("Add -v to list each device.")
        return
    columns = {"DEVICE": "device", "TASK": "result", "LAST READING": "last_reading_at"}
    out.table(
        {**columns, "PROCESSED": "latest_postprocessing", "WHY": "why"},
        items,
        less=("latest_postprocessing", "last_reading_at"),
    )


def _moment(epoch: float | None) -> Moment | None:
    return None if epoch is None else Moment(epoch)
