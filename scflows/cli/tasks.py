"""Show tasks: all, one, the next starts, the load."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scflows.cli import completion
from scflows.cli.plan import warn_if_nothing_starts
from scflows.cli.schedule_options import AllWorkspaces
from scflows.cli.times import Moment, Seconds, Status, relative

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.cli.output import Output
    from scflows.cron.task import Task
    from scflows.health.task_status import TaskStatus
    from scflows.history.run import Run
    from scflows.notifications.deadlines import Deadlines

DAY = 86400
#: How many broken tasks a list explains.
MAX_PROBLEMS = 5
#: The fields of a task in a list.
ROW = (
    "name",
    "state",
    "paused_until",
    "workspace",
    "schedule",
    "cron",
    "last",
    "status",
    "run",
    "took",
    "failures",
    "next",
    "running",
    "problem",
)


def list_tasks(
    ctx: typer.Context,
    pattern: Annotated[str | None, typer.Argument(metavar="GLOB", help="Only tasks with matching names.")] = None,
    state: Annotated[
        str | None, typer.Option(help="Only enabled, paused, running, failing, late or broken tasks.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="Only tasks of this device.")] = None,
    sort: Annotated[str, typer.Option(help="The order: name, next or last.")] = "name",
    everywhere: AllWorkspaces = False,
) -> None:
    """List this workspace's tasks, their last runs and next slots."""
    from scflows.cron.task_index import gc_paused
    from scflows.health.task_status import list_task_status

    out: Output = ctx.obj
    with gc_paused():
        workspace = "" if everywhere else out.settings.home
        found = list_task_status(out.settings, pattern, state, device, sort, workspace=workspace)
        items = [_row(view, out) for view in found.views]
    broken = {**dict.fromkeys(ROW), "state": Status("broken"), "failures": 0, "running": 0}
    items += [{**broken, "name": name} for name in found.broken]
    columns = {
        "TASK": "name",
        "STATE": "state",
        _schedule_title(out): "schedule",
        "LAST": "last",
        "STATUS": "status",
        "NEXT": "next",
    }
    columns |= {"WORKSPACE": "workspace"} if everywhere else {}
    out.table(columns, items, less=("last", "workspace", "status"))
    for problem in found.problems:
        out.warn(problem)
    gone = [f"{view.task.name}: {view.problem}" for view in found.views if view.problem]
    for text in gone[:MAX_PROBLEMS]:
        out.warn(text)
    if len(gone) > MAX_PROBLEMS:
        out.warn(f"{len(gone) - MAX_PROBLEMS} more broken tasks: flows list-tasks --state broken")
    if any(view.task.enabled for view in found.views):
        warn_if_nothing_starts(out)
    failing = next((view.task.name for view in found.views if view.failures), None)
    count = f"{len(items)} of {found.total} tasks" if len(items) != found.total else counted(found.total)
    whose = "" if everywhere else f" of {out.settings.home}"
    others = f" · {found.others} of other workspaces: flows list-tasks --all" if found.others else ""
    if not found.total:
        out.hint(f"No tasks{whose} yet{others}. Schedule all flows that define a schedule: flows auto-schedule")
    else:
        out.hint(count + whose + others + (f" · flows logs {failing}" if failing else ""))


def show(
    ctx: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task's name.", autocompletion=completion.tasks)],
) -> None:
    """Show a task: schedule, next slots, last runs, log."""
    from scflows.health.task_status import expected, one_task
    from scflows.notifications.deadlines import time_limit

    out: Output = ctx.obj
    view, runs, line, log = one_task(out.settings, task)
    upcoming = _upcoming(view.task, 5)
    expectation = expected(out.settings, view.task)
    item = {
        **_row(view, out),
        "flow": view.task.flow or None,
        "command": list(view.task.command) or None,
        "workspace": view.task.workspace,
        "source": view.task.source,
        "params": view.task.params,
        "dry": view.task.dry,
        "timeout": view.task.timeout,
        "limit": time_limit(view.task, out.settings.timeout_seconds),
        "every": view.task.schedule.every,
        "catch_up": view.task.catch_up,
        "catch_up_cap": view.task.catch_up_cap,
        "overlap": view.task.overlap,
        "max_active_runs": view.task.max_active_runs,
        "priority": view.task.priority,
        "mutex": list(view.task.mutex),
        **expectation.to_dict(),
        "slots": [_slot(view.task, slot) for slot in upcoming],
        "runs": [_run_item(view.task, run) for run in runs],
        "log": log,
        "line": line,
    }
    if out.json:
        out.object(item)
        return
    out.fields(_shown(view, upcoming, expectation, line, log, out))
    out.line("")
    out.table(
        {"RUN": "id", "STARTED": "started", "TOOK": "took", "STATUS": "status", "WHY": "why"},
        item["runs"],
        less=("took",),
    )
    if not runs:
        out.hint(f"No runs yet. Run it now: flows run {view.task.name}")


def next_slots(
    ctx: typer.Context,
    hours: Annotated[float, typer.Option(min=0.01, max=24 * 366, help="The time span.")] = 24.0,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", min=0, help="Show at most N starts; 0 = all (default: 50 on a terminal, otherwise all)."
        ),
    ] = None,
    everywhere: AllWorkspaces = False,
) -> None:
    """List the next starts of the tasks of this workspace."""
    from scflows.cron.task_index import read_tasks
    from scflows.health.task_status import coming

    out: Output = ctx.obj
    if limit is None:
        limit = 50 if out.is_terminal and not out.json else 0
    now = time.time()
    tasks, problems = read_tasks(out.settings)
    own = [task for task in tasks if everywhere or task.workspace == out.settings.home]
    slots = coming(own, now, now + hours * 3600)
    shown = 0

    def items() -> Iterator[dict[str, Any]]:
        nonlocal shown
        for slot, task in islice(slots, limit or None):
            shown += 1
            start = slot + task.schedule.second
            yield {
                "at": Moment(start, seconds=True),
                "in": Seconds(start - now),
                "name": task.name,
                "schedule": task.schedule.words(),
                "slot": _slot(task, slot),
            }

    columns = {"AT": "at", "IN": "in", "TASK": "name", _schedule_title(out): "schedule"}
    out.table(columns, items(), less=("schedule", "in"))
    for problem in problems:
        out.warn(str(problem))
    if not shown:
        whose = "" if everywhere else f" of {out.settings.home}"
        others = (
            f"; {len(tasks) - len(own)} tasks of other workspaces: flows next --all" if len(own) < len(tasks) else ""
        )
        out.hint(f"Nothing{whose} starts within {hours:g} h{others} · flows list-tasks")
    elif shown == limit and next(slots, None) is not None:
        out.hint(f"The first {limit} starts · all: flows next --limit 0")


def load(
    ctx: typer.Context,
    by: Annotated[str, typer.Option(help="Group by minute (of the hour) or hour (of the day).")] = "minute",
) -> None:
    """Show concurrent runs, planned and actual (last 24 h).

    The plan is based on past durations. Each row is a minute of the hour (or an hour of the day) and shows its highest
    load in the week.
    """
    from scflows.cron.schedule.notes import zone_name
    from scflows.errors import UsageError
    from scflows.planner.load_report import load_view

    out: Output = ctx.obj
    if by not in ("minute", "hour"):
        raise UsageError(f"--by must be minute or hour, not {by!r}")
    found = load_view(out.settings, by)
    items = [
        {
            by: index,
            "runs": round(runs, 3),
            "starts": round(starts, 3),
            "measured": None if found.measured is None else found.measured[index],
        }
        for index, (runs, starts) in enumerate(zip(found.runs, found.starts, strict=True))
    ]
    if out.json or not out.is_terminal:
        measured = {
            "peak": None if found.measured is None else max(found.measured),
            "mean": None if found.measured_mean is None else round(found.measured_mean, 3),
        }
        planned = {"peak": round(found.peak, 3), "mean": round(found.mean, 3)}
        columns = {by.upper(): by, "RUNS": "runs", "STARTS": "starts", "MEASURED": "measured"}
        out.table(columns, items, {"planned": planned, "measured": measured})
        return
    measured_runs = found.measured or [0] * len(items)
    peak = max(*found.runs, *measured_runs)
    mark = ":" if by == "minute" else ""
    zone = f"  ({zone_name(None)}, the time zone of cron)"
    out.line(
        f"{'':{len(mark)}}{by[0].upper():<2} {'PLAN':>6} {'STARTS':>6} {'ACTUAL':>6}{zone if by == 'hour' else ''}"
    )
    for index, (runs, starts) in enumerate(zip(found.runs, found.starts, strict=True)):
        bar = _bar(runs, measured_runs[index], peak)
        cells = f"{mark}{index:02} {round(runs, 1):6g} {round(starts, 1):6g} {measured_runs[index]:6} {bar}"
        out.line(cells.rstrip())
    text = f"Concurrent runs; each {by} shows its highest load in the week. Planned: peak {found.peak:.3g},"
    text += f" mean {found.mean:.3g}."
    if found.measured_mean is not None:
        text += f" Last 24 h (│): peak {max(measured_runs)}, mean {found.measured_mean:.3g}."
    out.hint(text)


def _bar(planned: float, measured: int, peak: float) -> str:
    """Return the planned load as a bar, with a mark at the measured load."""
    scale = 40 / peak if peak else 0.0
    cells = list("█" * round(planned * scale))
    if measured:
        position = max(0, round(measured * scale) - 1)
        cells += " " * (position + 1 - len(cells))
        cells[position] = "│"
    return "".join(cells)


def counted(number: int) -> str:
    return f"{number} task" if number == 1 else f"{number} tasks"


def _row(view: TaskStatus, out: Output) -> dict[str, Any]:
    last = view.last
    is_paused = view.is_paused and view.task.enabled
    status = None
    if last is not None:
        status = Status(f"{last.status} {view.failures} times" if view.failures > 1 and not out.json else last.status)
    return {
        "name": view.task.name,
        "state": Status(f"{view.state} {view.running}" if view.running > 1 and not out.json else view.state),
        "running": view.running,
        "problem": view.problem or None,
        "paused_until": Moment(view.task.paused_until) if is_paused else None,
        "workspace": view.task.workspace,
        "schedule": view.task.schedule.words(),
        "cron": view.task.schedule.line,
        "last": None if last is None else Moment(last.started),
        "status": status,
        "run": None if last is None else last.id,
        "took": None if last is None or last.took is None else Seconds(last.took),
        "failures": view.failures,
        "next": None if view.next is None else _slot(view.task, view.next),
    }


def _schedule_title(out: Output) -> str:
    """Return the title of schedules in words, which have the zone of the machine's cron, if that is not TIMEZONE."""
    from scflows.cron.machine_zone import is_same_zone
    from scflows.cron.schedule.notes import zone_name

    zone = zone_name(None)
    return "SCHEDULE" if is_same_zone(zone, out.settings.timezone) else f"SCHEDULE ({zone})"


def _slot(task: Task, slot: float) -> Moment:
    return Moment(slot, seconds=task.schedule.is_fine)


def _run_item(task: Task, run: Run) -> dict[str, Any]:
    why = run.message.splitlines()[0] if run.message else run.reason
    return {
        "id": run.id,
        "slot": None if run.slot is None else Moment(run.slot, seconds=task.schedule.is_fine),
        "started": Moment(run.started, seconds=True),
        "took": None if run.took is None else Seconds(run.took),
        "status": Status(run.status),
        "why": why,
    }


def _pause_end(view: TaskStatus, out: Output) -> str:
    task = view.task
    if not (view.is_paused and task.enabled):
        return ""
    return f" until {out.cell(Moment(task.paused_until))} ({out.settings.timezone})"


def _upcoming(task: Task, count: int) -> list[int]:
    found: list[int] = []
    # A slot is upcoming until the task's second of the minute.
    moment: float | None = time.time() - task.schedule.second
    while moment is not None and len(found) < count:
        moment = task.next_slot(moment)
        if moment is not None:
            found.append(int(moment))
    return found


def _shown(
    view: TaskStatus, upcoming: list[int], expectation: Deadlines, line: str | None, log: str, out: Output
) -> list[tuple[str, str]]:
    from scflows.cron.schedule.notes import clock_notes, day_notes, uneven_notes
    from scflows.notifications.deadlines import time_limit_and_source

    task = view.task
    rows = [
        ("task", task.name),
        ("state", out.colored(view.state) + _pause_end(view, out)),
        *([("broken", view.problem)] if view.problem else []),
        ("flow", task.flow or " ".join(("flows", *task.command))),
        (
            "schedule",
            task.schedule.words()
            + ("" if task.schedule.timezone else _schedule_title(out).removeprefix("SCHEDULE"))
            + (f", starting at second :{task.schedule.second:02}" if task.schedule.second else ""),
        ),
    ]
    if task.schedule.why_counted():
        rows.append(("counted", task.schedule.why_counted()))
    rows += [("days", note) for note in day_notes(task.schedule)]
    rows += [("uneven", note) for note in uneven_notes(task.schedule)]
    rows += [("clocks", note) for note in clock_notes(task.schedule, time.time())]
    if task.catch_up != "none":
        rows.append(("catch up", f"all, at most {task.catch_up_cap}" if task.catch_up == "all" else "last"))
    if task.overlap != "skip":
        rows.append(("overlap", task.overlap))
    if task.max_active_runs > 1:
        rows.append(("at most", f"{task.max_active_runs} runs at the same time"))
    if task.priority:
        rows.append(("priority", str(task.priority)))
    if task.mutex:
        rows.append(("mutex", ", ".join(task.mutex)))
    if upcoming:
        times = [out.cell(_slot(task, slot)) for slot in upcoming]
        rows.append(("next", f"{', '.join(times)} ({out.settings.timezone}; {relative(upcoming[0], out.now)})"))
    start, end = (out.cell(Seconds(each)) for each in (expectation.start_within, expectation.end_within))
    begins = "" if task.schedule.is_boot else f"starts within {start} of its slot, "
    rows.append(("expected", f"{begins}ends within {end}"))
    limit, source = time_limit_and_source(task, out.settings.timeout_seconds)
    rows.append(("time limit", f"{out.cell(Seconds(limit))} ({source})"))
    if task.params:
        rows.append(("params", ", ".join(f"{key}={value}" for key, value in task.params.items())))
    if task.dry:
        rows.append(("dry", "runs are dry runs"))
    rows += [("workspace", task.workspace), ("source", task.source), ("log", log)]
    rows.append(("crontab", line or "not on the crontab"))
    return rows
