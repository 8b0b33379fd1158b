"""List, show, stop, resume, retry and prune runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer

from scflows.cli import completion
from scflows.cli.output import Output
from scflows.cli.parameters import Follow, Yes
from scflows.cli.schedule_options import AllWorkspaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.history.contract import RunStore
    from scflows.history.run import Run, StepRecord

RunId = Annotated[
    str, typer.Argument(metavar="RUN", help="The id of a run, or its first characters.", autocompletion=completion.runs)
]


def history(
    ctx: typer.Context,
    task: Annotated[
        str | None, typer.Argument(metavar="TASK", help="Only runs of this task.", autocompletion=completion.tasks)
    ] = None,
    status: Annotated[
        list[str] | None, typer.Option("--status", help="Only runs with this status; may be repeated.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="TIME", help="Only runs that started at or after this time: 7d (7 days ago), 2026-11-20."
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Only runs that started before this time.")
    ] = None,
    slot: Annotated[
        str | None, typer.Option("--slot", metavar="TIME", help="Only runs for this slot (due time).")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=0, max=10**9, help="Show at most N runs, newest first; 0 = all.")
    ] = 50,
    everywhere: AllWorkspaces = False,
) -> None:
    """List the runs of this workspace, newest first."""
    from scflows.cli.open_history import opened_history
    from scflows.cli.times import iso, parse_moment, parse_since
    from scflows.history.contract import Query
    from scflows.history.run import latest_start

    out: Output = ctx.obj
    zone = out.settings.timezone
    first = None if since is None else parse_since(since, "--since", zone, out.now)
    last = latest_start(out.now)
    is_open = until is None and (first is None or first < last)
    query = Query(
        task=task,
        statuses=_statuses(status or ()),
        since=first,
        until=last if is_open else None if until is None else parse_since(until, "--until", zone, out.now),
        slot=None if slot is None else parse_moment(slot, "--slot", zone, out.now),
        limit=limit,
        # A task's name is unique.
        workspace=None if everywhere or task is not None else out.settings.home,
    )
    with opened_history(out.settings) as store:
        found = store.find(query)
        if task is not None and not found:
            _check_task(task, out, store)
        items = [_row(run, store) for run in found]
        ahead = [] if not is_open else store.find(replace(query, since=last, until=None, limit=1))
    if out.is_terminal and not out.json:
        for item in items:
            first, newline, _ = item["why"].partition("\n")
            item["why"] = f"{first} …" if newline else first
    columns = {"RUN": "id", "TASK": "task", "SLOT": "slot", "STARTED": "started", "TOOK": "took"}
    columns |= {"STATUS": "status", "STEP": "step", "WHY": "why"}
    if task is not None:
        del columns["TASK"]
    if everywhere:
        columns["WORKSPACE"] = "workspace"
    out.table(columns, items, less=("took", "slot", "step", "workspace"))
    whose = f" of {query.workspace}" if query.workspace is not None else ""
    if not items:
        none = (
            "No runs"
            if replace(query, workspace=None) == Query(until=query.until) and not ahead
            else "No matching runs"
        )
        out.hint(f"{none}{whose}." + (" Of all workspaces: flows history --all" if whose else ""))
    elif limit and len(items) == limit:
        out.hint(f"The newest {limit} runs{whose} · all: flows history --limit 0")
    else:
        out.hint(f"{len(items)} {'run' if len(items) == 1 else 'runs'}{whose}")
    if ahead:
        out.warn(
            "some runs are dated in the future, since the clock was ahead; to show them:"
            f" flows history --since {iso(last, zone)}"
        )


def show(ctx: typer.Context, id: RunId) -> None:
    """Show a run: its outcome, parameters and steps."""
    from scflows.cli.open_history import find_run, opened_history

    out: Output = ctx.obj
    with opened_history(out.settings) as store:
        run = find_run(store, id)
    item = run_item(run)
    steps = item["steps"]
    if out.json:
        out.object(item)
        return
    out.fields(_fields(out, run, item))
    if steps:
        out.line("")
        columns = {"STEP": "name", "TYPE": "type", "STARTED": "started", "TOOK": "took", "STATUS": "status"}
        out.table(columns | {"MESSAGE": "message"}, steps, less=("started", "type", "took"))
    for step in run.steps:
        if step.output and out.is_terminal:
            out.line("")
            title = "failed items" if step.type == "flow_loop" else "last output"
            out.line(f"The {title} of {step.name!r}:")
            for line in step.output.splitlines():
                out.line(f"  {out.cell(line)}")
    out.hint(f"flows logs {run.id}")


def stop(ctx: typer.Context, id: RunId) -> None:
    """Stop a run; its final step still runs."""
    from scflows.cli.open_history import find_run, opened_history
    from scflows.execution.control import stop as stop_run

    out: Output = ctx.obj
    with opened_history(out.settings) as store:
        run = find_run(store, id)
    pid = stop_run(run, out.settings)
    text = f"Asked run {run.id} to stop" if pid else f"Removed run {run.id} from the queue"
    out.say(f"{text} · flows runs show {run.id}", {"id": run.id, "pid": pid})


def resume(
    ctx: typer.Context,
    id: RunId,
    force: Annotated[
        bool, typer.Option("--force", help="Resume even if the flow has changed; rebuild existing targets.")
    ] = False,
    follow: Follow = False,
) -> int:
    """Resume a run at its first unfinished step.

    The results of the steps before it are reused.
    """
    return _run_again(ctx, id, follow, resume=True, force=force)


def retry(
    ctx: typer.Context,
    id: RunId,
    force: Annotated[bool, typer.Option("--force", help="Run steps even if their target exists.")] = False,
    follow: Follow = False,
) -> int:
    """Repeat a run from the start, with the same parameters and input."""
    return _run_again(ctx, id, follow, resume=False, force=force)


def prune(
    ctx: typer.Context,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than",
            metavar="TIME",
            help="Remove runs older than this, e.g. 90d (default: the limits in config.yml).",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print how many runs would be removed.")] = False,
    yes: Yes = False,
) -> None:
    """Remove runs beyond the limits in config.yml; trim large logs.

    Also removes the folders of these runs.
    """
    from scflows.cli.open_history import opened_history
    from scflows.cli.times import iso, parse_duration
    from scflows.history.retention import excess
    from scflows.history.retention import prune as prune_runs

    out: Output = ctx.obj
    before = None if older_than is None else out.now - parse_duration(older_than, "--older-than")
    since = None if before is None else iso(before, out.settings.timezone)
    selection = "beyond the retention limits" if since is None else f"from before {since}"
    with opened_history(out.settings) as store:
        count = len(excess(store, out.settings, before))
        action = f"remove {count} {'run' if count == 1 else 'runs'} {selection}"
        if dry_run:
            out.say(f"Would {action}.", {"dry_run": True, "removed": count, "before": since})
        elif count and not out.confirm(count, action, yes):
            out.say("No run was removed.", {"dry_run": False, "removed": 0, "before": since})
        else:
            removed = prune_runs(store, out.settings, before)
            text = f"Removed {removed} {'run' if removed == 1 else 'runs'} {selection} · flows history"
            out.say(text, {"dry_run": False, "removed": removed, "before": since})


def _run_again(ctx: typer.Context, id: str, follow: bool, resume: bool, force: bool) -> int:
    from scflows.cli.open_history import find_run, opened_history
    from scflows.cli.run import finish
    from scflows.execution.control import request_again

    out: Output = ctx.obj
    with opened_history(out.settings) as store:
        run = find_run(store, id)
    request, settings = request_again(run, out.settings, resume)
    return finish(replace(request, force=force, wants_data=out.json), settings, out, follow)


def run_item(run: Run) -> dict[str, Any]:
    """Return a run as JSON values: times with their zone, durations in seconds."""
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
        "count": run.count,
        "dry_run": run.dry_run,
        "unclaimed": run.unclaimed,
        "params": run.params,
        "log": run.log,
        "workspace": run.workspace,
        "by": run.asked_by,
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
    """Return a run for the list: without its steps, with the name of the failed one."""
    from scflows.cli.times import words

    item = run_item(run)
    del item["steps"]
    step = ""
    if run.status in ("failed", "crashed"):
        complete = store.run(run.id)
        failed = [each.name for each in (complete.steps if complete else ()) if each.status == "failed"]
        step = failed[0] if failed else ""
    why = run.message.removeprefix(f"{step}: ") if step else run.message
    if run.waited_for and not why:
        why = f"waited {words(run.waited)} for {run.waited_for}"
    if run.dry_run:
        why = f"dry run: {why}" if why else "dry run"
    return {**item, "step": step, "why": why}


def _fields(out: Output, run: Run, item: dict[str, Any]) -> Iterator[tuple[str, str]]:
    from scflows.cli.times import Moment, Status, words

    def shown(value: Any) -> str:
        if not out.is_terminal:
            return out.piped(value)
        text = out.cell(value)
        if isinstance(value, Moment):
            text += f" {out.settings.timezone}"
        return out.colored(text) if isinstance(value, Status) else text

    for key in ("id", "task", "flow", "trigger", "by", "slot", "started", "took", "status", "reason", "message"):
        if item[key] not in (None, ""):
            yield key, shown(item[key])
    for key, text in (("dry_run", "nothing was published"), ("unclaimed", "its slot could not be claimed")):
        if item[key]:
            yield key.replace("_", " "), text
    if run.waited_for:
        yield "waited", shown(f"{words(run.waited)} for {run.waited_for}")
    for name, value in run.params.items():
        yield "param", shown(f"{name}={value}")
    if run.log:
        yield "log", shown(run.log)


def _statuses(words: list[str] | tuple[()]) -> tuple[str, ...]:
    from scflows.cli.open_history import nearest
    from scflows.errors import UsageError
    from scflows.history.run import STATUSES

    for each in words:
        if each not in STATUSES:
            raise UsageError(
                f"--status must be one of {', '.join(STATUSES)}, not {each!r}", nearest(each, STATUSES) or None
            )
    return tuple(words)


def _check_task(task: str, out: Output, store: RunStore) -> None:
    """Raise NotFound for an unknown task; a task without runs is fine."""
    from scflows.cli.open_history import known_tasks, nearest
    from scflows.errors import NotFound
    from scflows.history.contract import Query

    known = known_tasks(out.settings, store)
    if task not in known and not store.find(Query(task=task, limit=1)):
        raise NotFound(f"task {task!r} not found", nearest(task, known) or "list tasks with: flows list-tasks")
