"""Look at the tasks: all of them, one of them, what is due next, the load they make."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scflows.cli import completion
from scflows.cli.moment import Moment, Seconds, Status, relative

if TYPE_CHECKING:
    from scflows.cli.output import Output
    from scflows.cron.task import Task
    from scflows.overview import TaskView
    from scflows.run import Run

DAY = 86400
#: What is told of each task.
ROW = ("name", "state", "schedule", "cron", "last", "status", "run", "took", "failures", "next")


def list_tasks(
    ctx: typer.Context,
    pattern: Annotated[str | None, typer.Argument(metavar="GLOB", help="Only names like this.")] = None,
    state: Annotated[str | None, typer.Option(help="enabled, paused, running, failing, late or broken.")] = None,
    device: Annotated[str | None, typer.Option(help="Only tasks of this device.")] = None,
    sort: Annotated[str, typer.Option(help="name, next or last.")] = "name",
) -> None:
    """The scheduled tasks, their last runs and next slots."""
    from scflows.overview import overview

    out: Output = ctx.obj
    found = overview(out.settings, pattern, state, device, sort)
    items = [_row(view, out) for view in found.views]
    items += [{**dict.fromkeys(ROW), "name": name, "state": Status("broken"), "failures": 0} for name in found.broken]
    out.table(
        {"TASK": "name", "STATE": "state", "SCHEDULE": "schedule", "LAST": "last", "STATUS": "status", "NEXT": "next"},
        items,
    )
    for problem in found.problems:
        out.warn(problem)
    failing = next((view.task.name for view in found.views if view.failures), None)
    count = f"{len(items)} of {found.total} tasks" if len(items) != found.total else counted(found.total)
    if not found.total:
        out.hint("no tasks yet · flows auto-schedule puts every flow that has a schedule on the crontab")
    else:
        out.hint(count + (f" · flows logs {failing}" if failing else ""))


def show(
    ctx: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="Its name.", autocompletion=completion.tasks)],
) -> None:
    """A task: its schedule, next slots, last runs, log, crontab line."""
    from scflows.overview import one_task

    out: Output = ctx.obj
    view, runs, line, log = one_task(out.settings, task)
    upcoming = _upcoming(view.task, 5)
    item = {
        **_row(view, out),
        "flow": view.task.flow or None,
        "command": list(view.task.command) or None,
        "workspace": view.task.workspace,
        "source": view.task.source,
        "params": view.task.params,
        "dry": view.task.dry,
        "timeout": view.task.timeout,
        "slots": [Moment(slot, view.task.schedule.timezone or "") for slot in upcoming],
        "runs": [_run_item(run) for run in runs],
        "log": log,
        "line": line,
    }
    if out.json:
        out.object(item)
        return
    for title, value in _shown(view, upcoming, line, log, out):
        out.line(f"{title}\t{value}" if not out.is_terminal else f"{title:<10} {value}")
    out.line("")
    out.table({"RUN": "id", "STARTED": "started", "TOOK": "took", "STATUS": "status", "WHY": "why"}, item["runs"])
    if not runs:
        out.hint(f"no runs yet · flows run {view.task.name}")


def next_slots(
    ctx: typer.Context,
    hours: Annotated[float, typer.Option(min=0.01, max=24 * 366, help="How far to look ahead.")] = 24.0,
    limit: Annotated[
        int | None, typer.Option("--limit", min=0, help="How many at most; 0 for all. On a terminal 50, else all.")
    ] = None,
) -> None:
    """What starts when, all tasks together."""
    from scflows.overview import coming

    out: Output = ctx.obj
    if limit is None:
        limit = 50 if out.is_terminal and not out.json else 0
    now = time.time()
    items: list[dict[str, Any]] = []
    for slot, task in coming(out.settings, now, now + hours * 3600):
        if limit and len(items) == limit:
            out.hint(f"the first {limit}; more with --limit 0")
            break
        at = Moment(slot, task.schedule.timezone or "")
        items.append({"at": at, "in": Seconds(slot - now), "name": task.name, "schedule": task.schedule.words()})
    out.table({"AT": "at", "IN": "in", "TASK": "name", "SCHEDULE": "schedule"}, items)
    if not items:
        out.hint(f"nothing within {hours:g} h · flows list-tasks")


def load(
    ctx: typer.Context,
    by: Annotated[str, typer.Option(help="minute (of the hour) or hour (of the day).")] = "minute",
) -> None:
    """The load that the tasks make: how many start in each minute of the hour, or hour of the day."""
    from scflows.errors import UsageError
    from scflows.overview import planned_load

    out: Output = ctx.obj
    if by not in ("minute", "hour"):
        raise UsageError(f"--by {by!r} is neither minute nor hour")
    values = planned_load(out.settings, by)
    items = [{by: index, "starts": round(value, 3)} for index, value in enumerate(values)]
    if out.json or not out.is_terminal:
        out.table({by.upper(): by, "STARTS": "starts"}, items)
        return
    most = max(values)
    told = "starts in the fullest such minute of the day" if by == "minute" else "starts in that hour"
    for index, value in enumerate(values):
        bar = "█" * (round(value / most * 50) if most else 0)
        out.line(f"{':' if by == 'minute' else ''}{index:02} {value:7.4g} {bar}")
    out.hint(f"{told}; fullest {most:.4g}, emptiest {min(values):.4g}")


def counted(number: int) -> str:
    return f"{number} task" if number == 1 else f"{number} tasks"


def _row(view: TaskView, out: Output) -> dict[str, Any]:
    last = view.last
    zone = view.task.schedule.timezone or ""
    status = None
    if last is not None:
        status = Status(f"{last.status} {view.failures} times" if view.failures > 1 and not out.json else last.status)
    return {
        "name": view.task.name,
        "state": Status(view.state),
        "schedule": view.task.schedule.words(),
        "cron": view.task.schedule.line,
        "last": None if last is None else Moment(last.started),
        "status": status,
        "run": None if last is None else last.id,
        "took": None if last is None or last.took is None else Seconds(last.took),
        "failures": view.failures,
        "next": None if view.next is None else Moment(view.next, zone),
    }


def _run_item(run: Run) -> dict[str, Any]:
    why = run.message.splitlines()[0] if run.message else run.reason
    return {
        "id": run.id,
        "slot": None if run.slot is None else Moment(run.slot),
        "started": Moment(run.started, seconds=True),
        "took": None if run.took is None else Seconds(run.took),
        "status": Status(run.status),
        "why": why,
    }


def _upcoming(task: Task, count: int) -> list[int]:
    found: list[int] = []
    moment: float | None = time.time()
    while task.enabled and moment is not None and len(found) < count:
        moment = task.schedule.next_epoch(moment)
        if moment is not None:
            found.append(int(moment))
    return found


def _shown(view: TaskView, upcoming: list[int], line: str | None, log: str, out: Output) -> list[tuple[str, str]]:
    task = view.task
    rows = [
        ("task", task.name),
        ("state", out.colored(view.state)),
        ("flow", task.flow or " ".join(("flows", *task.command))),
        ("schedule", task.schedule.words()),
    ]
    if upcoming:
        zone = task.schedule.timezone or ""
        times = [out.cell(Moment(slot, zone)) for slot in upcoming]
        rows.append(("next", f"{', '.join(times)} ({zone or out.settings.timezone}; {relative(upcoming[0], out.now)})"))
    if task.params:
        rows.append(("params", ", ".join(f"{key}={value}" for key, value in task.params.items())))
    if task.dry:
        rows.append(("dry", "its runs publish nothing"))
    rows += [("workspace", task.workspace), ("source", task.source), ("log", log)]
    rows.append(("crontab", line or "not on the crontab"))
    return rows
