"""Carry out a plan, or with a dry run only show it; tell what it changes; make the first runs of what is new."""

from __future__ import annotations

import shlex
import sys
import time
from typing import TYPE_CHECKING, Any

from scflows.cli.decisions import decision_items

if TYPE_CHECKING:
    from scflows.cli.output import Output
    from scflows.cron.task import Task
    from scflows.planner.plan import Change, Plan
    from scflows.planner.planner import Planner

#: How many tasks' notes on coming changes of the clocks are told one by one.
MOST_NOTES = 5


def carry_out(planner: Planner, plan: Plan, dry_run: bool, overwrite: bool) -> None:
    """Write what is planned; with a dry run note what would be refused. Raises Busy and Refused."""
    if not dry_run:
        planner.write(plan, overwrite)
        return
    if not overwrite and planner.editor.drift():
        plan.notes.append("the block in the crontab was changed by hand: without --overwrite this would end with 6")
    refused = planner.editor.refused(plan.tabfile, plan.rewritten)
    if refused is not None:
        plan.notes.append(f"this would be refused: {refused}" + (f"; {refused.help}" if refused.help else ""))


def _as_given() -> str:
    """The command line of this process as one that is no dry run."""
    words = [word for word in sys.argv[1:] if word not in ("--dry-run", "--exit-code")]
    return shlex.join(("flows", *words))


def tell_plan(out: Output, plan: Plan, dry_run: bool, exit_code: bool, more: dict[str, Any] | None = None) -> int:
    """Show what was changed, or with a dry run what would be; the exit code."""
    if out.json:
        items = [_item(each) for each in plan.changes]
        told = {"schema": 1, "dry_run": dry_run, **(more or {}), "items": items, "diff": plan.diff, "notes": plan.notes}
        if plan.decisions:
            told["decisions"] = decision_items(plan)
        out.object(told)
    elif dry_run:
        for line in plan.diff:
            out.line(out.diff_line(line))
        # What the one line for all tasks does not show.
        for action in ("add", "replace", "remove") if plan.tabfile.tick else ("replace",):
            for change in plan.of(action):
                out.say(f"{action} {change.task.name}: {change.why}")
        apply = "" if plan.is_empty else f"; apply it: {_as_given()}"
        out.say(f"plan: {_summary(plan)}{apply}")
    else:
        if len(plan.changes) <= 20:
            for change in plan.changes:
                out.say(_told(change))
        out.say(f"{_summary(plan)} · flows list-tasks")
    for note in [*plan.notes, *_schedule_notes(plan)]:
        out.warn(note)
    return 10 if dry_run and exit_code and not plan.is_empty else 0


def _schedule_notes(plan: Plan) -> list[str]:
    """What one would not expect of the schedules that are written anew."""
    notes = []
    for change in plan.changes:
        if change.action in ("add", "replace") and change.task.enabled:
            notes += [f"{change.task.name}: {note}" for note in _notes_on(change.task)]
    if len(notes) > MOST_NOTES:
        notes[MOST_NOTES:] = [f"{len(notes) - MOST_NOTES} more like these; flows check tells of them in time"]
    return notes


_DONE = {"add": "added", "replace": "replaced", "remove": "removed", "keep": "kept"}


def _told(change: Change) -> str:
    if change.why in ("paused", "enabled"):
        return f"{change.why} {change.task.name}"
    chosen = "".join(f" ({each})" for each in _chosen(change.task)) if change.action in ("add", "replace") else ""
    return f"{_DONE[change.action]} {change.task.name}: {change.why}{chosen}"


def _notes_on(task: Task) -> list[str]:
    """What coming changes of the clocks do to a task, and where its interval is none."""
    from scflows.cron.schedule.notes import clock_notes, uneven_notes

    return [*uneven_notes(task.schedule), *clock_notes(task.schedule, time.time())]


def _chosen(task: Task) -> list[str]:
    """Why the line starts more often than the task is due."""
    reason = task.schedule.why_counted()
    return [reason] if reason else []


def _summary(plan: Plan) -> str:
    counts = {action: len(plan.of(action)) for action in _DONE}
    untouched = len(plan.tasks) - counts["add"] - counts["replace"]
    told = [f"{count} to {action}" for action, count in counts.items() if count and action != "keep"]
    told.append(f"{untouched} unchanged")
    return f"{', '.join(told)}; at most {plan.peak_before:.3g} → {plan.peak_after:.3g} runs at once"


def _item(change: Change) -> dict[str, Any]:
    task = change.task
    is_new = change.action in ("add", "replace")
    return {
        "action": change.action,
        "name": task.name,
        "schedule": task.schedule.words(),
        "cron": task.schedule.line,
        "second": task.schedule.second,
        "flow": task.flow or None,
        "why": change.why,
        "notes": [*_chosen(task), *_notes_on(task)] if is_new else [],
    }


def note_plan(out: Output, plan: Plan, dry_run: bool) -> None:
    """What was scheduled belongs into the scheduler's log, whoever did it."""
    from scflows.planner.plan import log_plan

    if not dry_run:
        log_plan(out.settings, plan)


def run_first(out: Output, plan: Plan, dry_run: bool) -> int:
    """Run what was added once, now; 1 when any of that failed, else 0."""
    from scflows.planner.first_runs import FirstRun, first_runs

    tasks: list[Task] = [change.task for change in plan.of("add")]
    failed: list[FirstRun] = []
    with out.progress() as progress:
        count = sum(1 for task in tasks if task.flow)
        progress.show(f"first runs: 0 of {count}")

        def tell(first: FirstRun, ended: int) -> None:
            progress.clear()
            if first.code != 0:
                failed.append(first)
            out.say(f"first run of {first.task}: {first.message or f'exit status {first.code}'}")
            progress.show(f"first runs: {ended} of {count}")

        first_runs(tasks, out.settings, dry_run, tell)
    return 1 if failed else 0
