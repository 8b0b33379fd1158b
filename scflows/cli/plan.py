"""Apply a plan or, in a dry run, only show it; report its changes; make the first runs of new tasks."""

from __future__ import annotations

import shlex
import sys
import time
from typing import TYPE_CHECKING, Any

from scflows.cli.decisions import decision_items
from scflows.cli.times import Moment

if TYPE_CHECKING:
    from scflows.cli.output import Output
    from scflows.cron.task import Task
    from scflows.planner.plan import Change, Plan
    from scflows.planner.planner import Planner

#: How many notes on schedules to print; the others are counted.
MAX_NOTES = 5
#: How many names to print in a sentence.
MAX_NAMES = 3
#: The past of what is done to a task.
DONE = {
    **{"add": "added", "replace": "replaced", "change": "changed", "move": "moved"},
    "repair": "repaired",
    **{"pause": "paused", "enable": "enabled", "remove": "removed", "keep": "kept"},
}
LIST = "See them: flows list-tasks"
#: Why a task stays as it is, where that is not worth a line if the others do too.
QUIET = ("unchanged", "already scheduled; --overwrite replaces it")


def warn_if_nothing_starts(out: Output) -> None:
    """Warn a person at a terminal if neither the system's cron nor our own scheduler is running."""
    from scflows.health.daemon import START_ONE, is_nothing_running

    if out.is_terminal and not out.json and is_nothing_running(out.settings):
        out.warn(f"no cron daemon is running, so no tasks are started; {START_ONE}")


def apply_plan(planner: Planner, plan: Plan, dry_run: bool, overwrite: bool) -> None:
    """Write a plan; in a dry run, note what would be refused. Raise Busy and Refused."""
    if not dry_run:
        planner.write(plan, overwrite)
        return
    if not overwrite and planner.editor.drift():
        plan.notes.append("the block in the crontab was edited by hand: without --overwrite this would exit with 6")
    refused = planner.editor.refused(plan.tabfile, plan.rewritten)
    if refused is not None:
        plan.notes.append(f"this would be refused: {refused}" + (f"; {refused.help}" if refused.help else ""))


def shortened(names: list[str]) -> str:
    """Return the first names, and how many others there are."""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def _command_without_dry_run() -> str:
    """Return this process's command line without --dry-run."""
    words = [word for word in sys.argv[1:] if word not in ("--dry-run", "--exit-code")]
    return shlex.join(("flows", *words))


def report_plan(
    out: Output,
    plan: Plan,
    dry_run: bool,
    exit_code: bool,
    more: dict[str, Any] | None = None,
    hint: str = LIST,
    whose: str = "",
) -> int:
    """Print what was changed or, in a dry run, would be; return the exit code.

    `hint` names the next command, `whose` the workspace of the tasks if the command is about one.
    """
    if out.json:
        items = [_item(each) for each in plan.changes]
        item = {"schema": 1, "dry_run": dry_run, **(more or {}), "items": items, "diff": plan.diff, "notes": plan.notes}
        if plan.decisions:
            item["decisions"] = decision_items(plan)
        out.object(item)
    elif dry_run:
        for line in plan.diff:
            out.line(out.diff_line(line))
        # The diff does not show these if one line serves all tasks.
        for action in ("add", "replace", "remove") if plan.tabfile.tick else ("replace",):
            for change in plan.of(action):
                out.say(_planned_line(change, out))
        summary = _summary(plan, whose, is_planned=True)
        if plan.is_empty:
            out.say(summary)
        else:
            out.next_command(summary, f"Apply it: {_command_without_dry_run()}")
    else:
        # With nothing to report, the summary says so.
        changes = plan.changes if not plan.is_empty else [each for each in plan.changes if each.why not in QUIET]
        if len(changes) <= 20:
            for change in changes:
                out.say(_report_line(change, out))
        out.next_command(_summary(plan, whose), LIST if plan.is_empty else hint)
    for note in [*plan.notes, *_schedule_notes(plan)]:
        out.warn(note)
    return 10 if dry_run and exit_code and not plan.is_empty else 0


def _schedule_notes(plan: Plan) -> list[str]:
    """Return notes on new schedules that behave in unexpected ways."""
    notes = []
    for change in plan.changes:
        if change.action in ("add", "replace") and change.task.enabled:
            notes += [f"{change.task.name}: {note}" for note in _notes_on(change.task)]
    if len(notes) > MAX_NOTES:
        notes[MAX_NOTES:] = [f"{len(notes) - MAX_NOTES} more notes like these; flows check shows them when they matter"]
    return notes


def _planned_line(change: Change, out: Output) -> str:
    return f"{change.word} {change.task.name}{_reason(change, out)}"


def _reason(change: Change, out: Output) -> str:
    """Return the reason of a change with what precedes it: for a pause, its end."""
    until = change.task.paused_until
    if change.verb == "pause" and until:
        moment = Moment(until)
        return f" until {out.cell(moment)} ({out.settings.timezone})"
    return f": {change.why}" if change.why else ""


def _report_line(change: Change, out: Output) -> str:
    notes = "".join(f" ({each})" for each in _count_notes(change.task)) if change.action in ("add", "replace") else ""
    return f"{out.colored(DONE[change.word])} {change.task.name}{_reason(change, out)}{notes}"


def _notes_on(task: Task) -> list[str]:
    """Return what upcoming clock changes do to a task, and where its interval is uneven."""
    from scflows.cron.schedule.notes import clock_notes, day_notes, uneven_notes

    return [*day_notes(task.schedule), *uneven_notes(task.schedule), *clock_notes(task.schedule, time.time())]


def _count_notes(task: Task) -> list[str]:
    """Return why the crontab line starts more often than the task is due."""
    reason = task.schedule.why_counted()
    return [reason] if reason else []


def _summary(plan: Plan, whose: str, is_planned: bool = False) -> str:
    """Return for example `Added 7 tasks, removed 1; 3 unchanged. Peak concurrency: 0 → 1.`."""
    counts: dict[str, int] = {}
    for action in ("add", "replace", "remove"):
        for change in plan.of(action):
            counts[change.word] = counts.get(change.word, 0) + 1
    changes = [f"{f'would {word}' if is_planned else DONE[word]} {count}" for word, count in counts.items()]
    unchanged = len(plan.tasks) - len(plan.of("add")) - len(plan.of("replace"))
    if changes:
        changes[0] += (" task" if next(iter(counts.values())) == 1 else " tasks") + whose
    rewritten = sum(change.action == "keep" and change.rewrite for change in plan.changes)
    if not changes and plan.diff:
        changes = [
            f"{'would rewrite' if is_planned else 'rewrote'} {rewritten} {'line' if rewritten == 1 else 'lines'}"
        ]
    text = ", ".join(changes or ["no changes"]) + (f"; {unchanged} unchanged" if unchanged else "")
    return f"{text[:1].upper()}{text[1:]}. Peak concurrency: {plan.peak_before:.3g} → {plan.peak_after:.3g}."


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
        "notes": [*_count_notes(task), *_notes_on(task)] if is_new else [],
    }


def note_plan(out: Output, plan: Plan, dry_run: bool) -> None:
    """Record in the scheduler's log what was scheduled."""
    from scflows.planner.plan import log_plan

    if not dry_run:
        log_plan(out.settings, plan)


def run_first(out: Output, plan: Plan, dry_run: bool) -> int:
    """Run each added task once, now; return 1 if a run failed, otherwise 0."""
    from scflows.planner.first_runs import FirstRun, first_runs

    tasks: list[Task] = [change.task for change in plan.of("add")]
    failed: list[FirstRun] = []
    with out.progress() as progress:
        count = sum(1 for task in tasks if task.flow)
        progress.show(f"first runs: 0 of {count}")

        def report(first: FirstRun, ended: int) -> None:
            progress.clear()
            if first.code != 0:
                failed.append(first)
            out.say(f"first run of {first.task}: {first.message or f'exit code {first.code}'}")
            progress.show(f"first runs: {ended} of {count}")

        first_runs(tasks, out.settings, dry_run, report)
    return 1 if failed else 0
