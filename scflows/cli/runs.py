"""Runs that happened or go on: list, look at one, stop, prune."""

from __future__ import annotations

from typing import Annotated

import typer

from scflows.cli import completion
from scflows.cli.output import Output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scflows.history.contract import RunStore
    from scflows.history.run import Run, StepRecord

RunId = Annotated[str, typer.Argument(metavar="RUN", help="Its id, or how it begins.", autocompletion=completion.runs)]


def history(
    ctx: typer.Context,
    task: Annotated[str | None, typer.Argument(metavar="[TASK]", autocompletion=completion.tasks)] = None,
    status: Annotated[
        list[str] | None, typer.Option("--status", help="Only runs that ended so; may be repeated.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Started then or later: 7d, 2026-11-20.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Started before.")] = None,
    slot: Annotated[str | None, typer.Option("--slot", metavar="TIME", help="For this due time.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, max=10**9, help="So many of the newest; 0 for all.")] = 50,
) -> None:
    """List runs, the newest first."""
    from scflows.cli.open_history import opened_history
    from scflows.cli.times import parse_moment, parse_since
    from scflows.history.contract import Query

    out: Output = ctx.obj
    zone = out.settings.timezone
    wanted = Query(
        task=task,
        statuses=_statuses(status or ()),
        since=None if since is None else parse_since(since, "--since", zone, out.now),
        until=None if until is None else parse_since(until, "--until", zone, out.now),
        slot=None if slot is None else parse_moment(slot, "--slot", zone),
        limit=limit,
    )
    with opened_history(out.settings) as store:
        found = store.find(wanted)
        if task is not None and not found:
            _check_task(task, out, store)
        items = [_row(run, store) for run in found]
    columns = {"RUN": "id", "TASK": "task", "SLOT": "slot", "STARTED": "started", "TOOK": "took"}
    columns |= {"STATUS": "status", "STEP": "step", "WHY": "why"}
    if task is not None:
        del columns["TASK"]
    out.table(columns, items)
    if not items:
        out.hint("no runs" if wanted == Query() else "no such runs")
    elif limit and len(items) == limit:
        out.hint(f"the newest {limit}; more with --limit")


def show(ctx: typer.Context, id: RunId) -> None:
    """Show a run: how it ended, its parameters, its steps."""
    from scflows.cli.open_history import find_run, opened_history
    from scflows.cli.times import words

    out: Output = ctx.obj
    with opened_history(out.settings) as store:
        run = find_run(store, id)
    item = run_item(run)
    steps = item["steps"]
    if out.json:
        out.object(item)
        return
    for key in ("id", "task", "flow", "trigger", "slot", "started", "took", "status", "reason", "message"):
        if item[key] not in (None, ""):
            _field(out, key, item[key])
    for key, told in (("dry_run", "nothing was published"), ("unclaimed", "its slot could not be claimed")):
        if item[key]:
            _field(out, key.replace("_", " "), told)
    if run.waited_for:
        _field(out, "waited", f"{words(run.waited)} for {run.waited_for}")
    for name, value in run.params.items():
        _field(out, "param", f"{name}={value}")
    if run.log:
        _field(out, "log", run.log)
    if steps:
        out.line("")
        columns = {"STEP": "name", "TYPE": "type", "STARTED": "started", "TOOK": "took", "STATUS": "status"}
        out.table(columns | {"MESSAGE": "message"}, steps)
    out.hint(f"flows logs {run.id}")


def stop(ctx: typer.Context, id: RunId) -> None:
    """Stop a run that goes on; its final step still runs."""
    from scflows.cli.open_history import find_run, opened_history
    from scflows.execution.control import stop as stop_run

    out: Output = ctx.obj
    with opened_history(out.settings) as store:
        run = find_run(store, id)
    pid = stop_run(run, out.settings)
    told = "was told to stop" if pid else "waits no more"
    out.say(f"run {run.id} {told} · flows runs show {run.id}", {"id": run.id, "pid": pid})


def resume(
    ctx: typer.Context,
    id: RunId,
    force: Annotated[
        bool, typer.Option("--force", help="Also when its flow was changed; targets are made again.")
    ] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Show each step as it ends, and the log.")] = False,
) -> int:
    """Go on from a run that broke: at its first step not finished, with the results of those before."""
    return _run_again(ctx, id, follow, resume=True, force=force)


def retry(
    ctx: typer.Context,
    id: RunId,
    force: Annotated[bool, typer.Option("--force", help="Run steps though their target is there.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Show each step as it ends, and the log.")] = False,
) -> int:
    """Do a run again from the start: same flow, parameters and input."""
    return _run_again(ctx, id, follow, resume=False, force=force)


def prune(
    ctx: typer.Context,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="TIME", help="Such as 90d; without it what config.yml keeps is kept."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many.")] = False,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
) -> None:
    """Remove runs that are too old or too many, with their folders, and the head of logs that grew too large."""
    from scflows.cli.open_history import opened_history
    from scflows.cli.times import iso, parse_duration
    from scflows.history.retention import excess
    from scflows.history.retention import prune as prune_runs

    out: Output = ctx.obj
    before = None if older_than is None else out.now - parse_duration(older_than, "--older-than")
    since = None if before is None else iso(before, out.settings.timezone)
    which = "beyond what is kept" if since is None else f"from before {since}"
    with opened_history(out.settings) as store:
        count = len(excess(store, out.settings, before))
        what = f"remove {count} {'run' if count == 1 else 'runs'} {which}"
        if dry_run:
            out.say(f"would {what}", {"dry_run": True, "removed": count, "before": since})
        elif count and not out.confirm(count, what, yes):
            out.say("nothing was removed", {"dry_run": False, "removed": 0, "before": since})
        else:
            removed = prune_runs(store, out.settings, before)
            told = f"removed {removed} {'run' if removed == 1 else 'runs'} {which} · flows history"
            out.say(told, {"dry_run": False, "removed": removed, "before": since})


def _run_again(ctx: typer.Context, id: str, follow: bool, resume: bool, force: bool) -> int:
    from dataclasses import replace

    from scflows.cli.open_history import find_run, opened_history
    from scflows.cli.run import finish
    from scflows.execution.control import request_again

    out: Output = ctx.obj
    with opened_history(out.settings) as store:
        run = find_run(store, id)
    request, settings = request_again(run, out.settings, resume)
    return finish(replace(request, force=force, wants_data=out.json), settings, out, follow)


def run_item(run: Run) -> dict[str, Any]:
    """A run as a program reads it: times with their zone, durations in seconds."""
    from scflows.cli.times import Moment, Seconds, Status

    return {
        "id": run.id,
        "task": run.task,
        "flow": run.flow,
        "trigger": run.trigger,
        "slot": None if run.slot is None else Moment(run.slot),
        "started": Moment(run.started, seconds=True),
        "ended": None if run.ended is None else Moment(run.ended, seconds=True),
        "took": None if run.took is None else Seconds(round(run.took, 3)),
        "waited": Seconds(round(run.waited, 3)),
        "waited_for": run.waited_for,
        "status": Status(run.status),
        "reason": run.reason,
        "message": run.message,
        "dry_run": run.dry_run,
        "unclaimed": run.unclaimed,
        "params": run.params,
        "log": run.log,
        "steps": [_step_item(step) for step in run.steps],
    }


def _step_item(step: StepRecord) -> dict[str, Any]:
    from scflows.cli.times import Moment, Seconds, Status

    return {
        **step.__dict__,
        "status": Status(step.status),
        "started": Moment(step.started, seconds=True),
        "ended": None if step.ended is None else Moment(step.ended, seconds=True),
        "took": None if step.ended is None else Seconds(round(step.ended - step.started, 3)),
    }


def _row(run: Run, store: RunStore) -> dict[str, Any]:
    """A run for the list: without its steps, with the name of the one that failed."""
    from scflows.cli.times import words

    item = run_item(run)
    del item["steps"]
    step = ""
    if run.status in ("failed", "crashed"):
        whole = store.run(run.id)
        bad = [each.name for each in (whole.steps if whole else ()) if each.status == "failed"]
        step = bad[0] if bad else ""
    why = run.message.removeprefix(f"{step}: ") if step else run.message
    if run.waited_for and not why:
        why = f"waited {words(run.waited)} for {run.waited_for}"
    if run.dry_run:
        why = f"dry run: {why}" if why else "dry run"
    return {**item, "step": step, "why": why}


def _field(out: Output, name: str, value: Any) -> None:
    from scflows.cli.times import Moment, Status

    if out.is_terminal:
        text = out.cell(value)
        if isinstance(value, Moment):
            text += f" {value.zone or out.settings.timezone}"
        out.line(f"{name:<9} {out.colored(text) if isinstance(value, Status) else text}")
    else:
        out.line(f"{name}\t{out.piped(value)}")


def _statuses(given: list[str] | tuple[()]) -> tuple[str, ...]:
    from scflows.cli.open_history import nearest
    from scflows.errors import UsageError
    from scflows.history.run import STATUSES

    for each in given:
        if each not in STATUSES:
            raise UsageError(f"--status {each!r} is none of {', '.join(STATUSES)}", nearest(each, STATUSES) or None)
    return tuple(given)


def _check_task(task: str, out: Output, store: RunStore) -> None:
    """Raises NotFound for a task that nobody knows; one without runs is fine."""
    from scflows.cli.open_history import known_tasks, nearest
    from scflows.errors import NotFound
    from scflows.history.contract import Query

    known = known_tasks(out.settings, store)
    if task not in known and not store.find(Query(task=task, limit=1)):
        raise NotFound(f"there is no task {task!r}", nearest(task, known) or "see them with: flows list-tasks")
