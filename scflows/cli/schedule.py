"""Put tasks on the crontab, change them, take them off."""

from __future__ import annotations

import shlex
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scflows.cli.decisions import decision_items, show_decisions
from scflows.cli.stream import escaped, write
from scflows.errors import Busy, Unreachable, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scflows.cli.output import Output
    from scflows.cron.task import Task
    from scflows.planner import Change, Plan, Planner

#: How many tasks' notes on coming changes of the clocks are told one by one.
MOST_NOTES = 5
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan as a diff; change nothing.")]
ExitCode = Annotated[bool, typer.Option("--exit-code", help="With --dry-run: end with 10 when there are changes.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace tasks that are there; their slots stay.")]
ForceFirstRun = Annotated[
    bool,
    typer.Option("--force-first-run", help="Run each new task once, now; with --dry-run as a dry run of its flow."),
]
DryTasks = Annotated[
    bool, typer.Option("--dry-tasks", help="The tasks themselves run dry: they publish nothing. (Not --dry-run.)")
]
NoBalance = Annotated[bool, typer.Option("--no-balance", help="Full hours and midnight, not the emptiest slots.")]
OneLine = Annotated[
    bool | None,
    typer.Option(
        "--one-line/--no-one-line",
        help="One crontab line for all tasks, or one for each. Stays so until it is said otherwise.",
    ),
]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")]
StartWithin = Annotated[
    str | None, typer.Option(help="How long after its slot a run is late, such as 10m; else as it usually is.")
]
EndWithin = Annotated[
    str | None, typer.Option(help="How long a run takes before it is told, such as 2h; else as they usually do.")
]
Tasks = Annotated[list[str], typer.Argument(metavar="TASK…", help="Names of tasks.")]


def auto_schedule(
    ctx: typer.Context,
    source: Annotated[list[str] | None, typer.Option(help="Ask only this source; may be repeated.")] = None,
    kind: Annotated[
        str | None, typer.Option(metavar="KIND", help="What to make of devices: process or backup; else process.")
    ] = None,
    task: Annotated[str | None, typer.Option("--task", hidden=True)] = None,
    interval_days: Annotated[int, typer.Option(min=1, max=365, help="How often to search again.")] = 1,
    task_interval_hours: Annotated[
        int | None, typer.Option(min=1, max=8760, help="Run each task every N hours, whatever its flow says.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Do not put the search itself on the crontab.")] = False,
    overwrite: Overwrite = False,
    force_first_run: ForceFirstRun = False,
    dry_tasks: DryTasks = False,
    no_balance: NoBalance = False,
    one_line: OneLine = None,
    dry_run: DryRun = False,
    exit_code: ExitCode = False,
) -> int:
    """Schedule every flow that carries a schedule, and every device that asks for processing.

    Looks through the sources (`flows`: every flow file below the flows folder; `smartcitizen`: the devices of the
    platform, where it is set up), adds what is new, removes what is gone, and leaves all other tasks where they are.
    An interval gets one of the slots with the least load.
    """
    from scflows.auto_schedule import Search, ask_sources, auto_schedule, refused_names
    from scflows.planner import planning

    out: Output = ctx.obj
    if kind is not None and task is not None and kind != task:
        raise UsageError("--task is another word for --kind", "give one of them")
    kind = kind or task or "process"
    search = Search(
        tuple(source or ()), kind, interval_days, once, task_interval_hours, overwrite, dry_tasks, not no_balance
    )
    with out.progress() as progress:
        progress.show("searching")
        answers = ask_sources(out.settings, search, not dry_run, progress.show)
    with planning(out.settings, dry_run, one_line) as planner:
        plan = auto_schedule(planner, search, answers)
        _carry_out(planner, plan, dry_run, overwrite)
    _note_in_log(out, plan, dry_run)
    show_decisions(out, plan)
    code = _tell(out, plan, dry_run, exit_code)
    if force_first_run:
        code = _run_first(out, plan, dry_run) or code
    for problem in plan.problems:
        # Also with --quiet, since it makes the exit code; one of a flow names its place first, as editors want it.
        written = problem if ": error: " in problem else f"error: {problem}"
        write(sys.stderr, "\n".join(escaped(line) for line in written.splitlines()) + "\n")
    taken = refused_names(plan)
    if taken:
        raise Busy(f"names that others have: {', '.join(taken)}", "see: flows show " + taken[0])
    if plan.unreachable:
        raise Unreachable("; ".join(plan.unreachable), "the tasks that hang on it are as they were")
    return code or (1 if plan.problems else 0)


def manual_schedule(
    ctx: typer.Context,
    flow: Annotated[list[str] | None, typer.Argument(metavar="FLOW…", help="Flow files.")] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(help="Schedule this device, by its number, address or name; a FLOW has it as its `device`."),
    ] = None,
    kind: Annotated[
        str | None, typer.Option(metavar="KIND", help="What to do to devices: process, backup or check.")
    ] = None,
    task_file: Annotated[str | None, typer.Option(help="The flow, as an option.")] = None,
    name: Annotated[str | None, typer.Option(help="The task's name; else the flow's path as words.")] = None,
    cron: Annotated[str | None, typer.Option(help="Five fields, such as '5 4 * * *'.")] = None,
    every: Annotated[str | None, typer.Option(help="An interval, such as 15m, 3h, 1d.")] = None,
    interval_hours: Annotated[int | None, typer.Option(min=1, max=8760, help="An interval in hours.")] = None,
    timezone: Annotated[str | None, typer.Option(help="The zone of --cron, such as Europe/Madrid.")] = None,
    param: Annotated[list[str] | None, typer.Option("-p", "--param", metavar="K=V", help="A parameter.")] = None,
    timeout: Annotated[str | None, typer.Option(help="How long a run may take, such as 30m.")] = None,
    start_within: StartWithin = None,
    end_within: EndWithin = None,
    overwrite: Overwrite = False,
    force_first_run: ForceFirstRun = False,
    dry_tasks: DryTasks = False,
    no_balance: NoBalance = False,
    one_line: OneLine = None,
    dry_run: DryRun = False,
    exit_code: ExitCode = False,
) -> int:
    """Schedule flows by name: as told here, else as the flow says, else once a day.

    With --device and no FLOW: the flow that processes, backs up or checks devices, whatever `auto-schedule` would
    choose; every 3, 6 or 3 hours unless told otherwise.
    """
    from scflows.cli.moment import parse_duration
    from scflows.manual_schedule import Order, manual_schedule, with_numbers
    from scflows.planner import planning

    out: Output = ctx.obj
    order = Order(
        flows=(*(flow or ()), *((task_file,) if task_file else ())),
        devices=tuple(device or ()),
        kind=kind,
        name=name,
        cron=cron,
        every=every,
        interval_hours=interval_hours,
        timezone=timezone,
        params=parse_params(param),
        timeout=None if timeout is None else parse_duration(timeout, "--timeout"),
        start_within=start_within,
        end_within=end_within,
        overwrite=overwrite,
        dry_tasks=dry_tasks,
        balance=not no_balance,
    )
    order = with_numbers(order, out.settings)
    with planning(out.settings, dry_run, one_line) as planner:
        plan = manual_schedule(planner, order)
        _carry_out(planner, plan, dry_run, overwrite)
    _note_in_log(out, plan, dry_run)
    code = _tell(out, plan, dry_run, exit_code)
    return (_run_first(out, plan, dry_run) if force_first_run else 0) or code


def edit(
    ctx: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task's name.")],
    cron: Annotated[str | None, typer.Option(help="Five fields, such as '5 4 * * *'.")] = None,
    every: Annotated[str | None, typer.Option(help="An interval, such as 15m, 3h, 1d.")] = None,
    interval_hours: Annotated[int | None, typer.Option(min=1, max=8760, help="An interval in hours.")] = None,
    timezone: Annotated[str | None, typer.Option(help="The zone of --cron.")] = None,
    param: Annotated[
        list[str] | None, typer.Option("-p", "--param", metavar="K=V", help="A parameter; K= takes it away.")
    ] = None,
    timeout: Annotated[str | None, typer.Option(help="How long a run may take, such as 30m.")] = None,
    start_within: StartWithin = None,
    end_within: EndWithin = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Also where the block was changed by hand.")] = False,
    dry_run: DryRun = False,
    exit_code: ExitCode = False,
) -> int:
    """Change a task's schedule, parameters or limits."""
    from scflows.cli.moment import parse_duration
    from scflows.manual_schedule import edited
    from scflows.planner import planning

    out: Output = ctx.obj
    limit = None if timeout is None else parse_duration(timeout, "--timeout")
    with planning(out.settings, dry_run) as planner:
        params = parse_params(param, may_be_empty=True)
        change = edited(planner, task, cron, every, interval_hours, timezone, params, limit, start_within, end_within)
        plan = planner.change([change])
        _carry_out(planner, plan, dry_run, overwrite)
    return _tell(out, plan, dry_run, exit_code)


def enable(
    ctx: typer.Context,
    task: Tasks,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Also where the block was changed by hand.")] = False,
    dry_run: DryRun = False,
    exit_code: ExitCode = False,
) -> int:
    """Let paused tasks run again, in the slots they had."""
    return _switch(ctx.obj, task, True, overwrite, dry_run, exit_code)


def disable(
    ctx: typer.Context,
    task: Tasks,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Also where the block was changed by hand.")] = False,
    dry_run: DryRun = False,
    exit_code: ExitCode = False,
) -> int:
    """Pause tasks: they stay paused through every scheduling until `flows enable`."""
    return _switch(ctx.obj, task, False, overwrite, dry_run, exit_code)


def remove_task(
    ctx: typer.Context,
    task: Tasks,
    yes: Yes = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Also where the block was changed by hand.")] = False,
    dry_run: DryRun = False,
    exit_code: ExitCode = False,
) -> int:
    """Take tasks off the crontab. Their logs and history stay."""
    out: Output = ctx.obj

    def chosen(planner: Planner) -> list[Change]:
        return [planner.removal(name) for name in dict.fromkeys(task)]

    return _remove(out, chosen, yes or len(task) == 1, overwrite, dry_run, exit_code)


def clear_tasks(
    ctx: typer.Context,
    pattern: Annotated[str, typer.Argument(metavar="GLOB", help="Only names like this, such as 'backup-*'.")] = "*",
    yes: Yes = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Also where the block was changed by hand.")] = False,
    dry_run: DryRun = False,
    exit_code: ExitCode = False,
) -> int:
    """Take all tasks off the crontab; lines of yours that are not ours stay as they are."""
    from fnmatch import fnmatchcase

    def chosen(planner: Planner) -> list[Change]:
        return [planner.removal(name) for name in planner.names() if fnmatchcase(name, pattern)]

    return _remove(ctx.obj, chosen, yes, overwrite, dry_run, exit_code)


def rebalance(
    ctx: typer.Context,
    max_moves: Annotated[
        str | None, typer.Option(metavar="N|N%", help="Move so many tasks at most, or so much of them; else 30%.")
    ] = None,
    yes: Yes = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Also where the block was changed by hand.")] = False,
    dry_run: DryRun = False,
    exit_code: ExitCode = False,
) -> int:
    """Move as few tasks as it takes until the load is level again, by what runs took lately.

    Nothing else ever moves a task. Those of a cron expression stay, and those that were put at full hours.
    """
    from scflows.planner import planning

    out: Output = ctx.obj
    with planning(out.settings, dry_run) as planner:
        plan, found = planner.rebalanced(_moves(max_moves, len(planner.before)))
        gain = f"at most {found.before:.3g} → {found.after:.3g} runs at once (on average {found.mean:.3g};"
        gain += f" a plan from scratch: {found.fresh:.3g})"
        item = {name: round(getattr(found, name), 3) for name in ("before", "after", "mean", "fresh")}
        item["moves"] = len(found.moved)
        if not found.moved:
            empty = {"schema": 1, "dry_run": dry_run, "rebalanced": item, "items": [], "diff": []}
            out.say(f"nothing to move: {gain}", empty)
            return 0
        if not out.json:
            out.say(gain)
        count = len(found.moved)
        if not dry_run and not out.confirm(count, f"move {count} task{'s' if count > 1 else ''}", yes):
            out.say("nothing was moved")
            return 0
        _carry_out(planner, plan, dry_run, overwrite)
    _note_in_log(out, plan, dry_run)
    return _tell(out, plan, dry_run, exit_code, {"rebalanced": item})


def _moves(text: str | None, tasks: int) -> int | None:
    """A number of tasks, or so much of them. Raises UsageError."""
    if text is None:
        return None
    number = text.removesuffix("%")
    if not (number.isascii() and number.isdigit()) or (number != text and int(number) > 100):
        raise UsageError(f"--max-moves {text!r} is neither a number nor a part", "such as 20, or 10%")
    return int(number) if number == text else tasks * int(number) // 100


def repair(ctx: typer.Context, one_line: OneLine = None, dry_run: DryRun = False, exit_code: ExitCode = False) -> int:
    """Write tabfile and crontab block again as the tasks say; no task is changed."""
    from scflows.planner import planning

    with planning(ctx.obj.settings, dry_run, one_line) as planner:
        plan = planner.repaired()
        _carry_out(planner, plan, dry_run, overwrite=True)
    return _tell(ctx.obj, plan, dry_run, exit_code)


def parse_params(given: list[str] | None, may_be_empty: bool = False) -> dict[str, Any]:
    """`K=V` texts as a mapping. Raises UsageError."""
    params: dict[str, Any] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"-p {text!r} is not of the form NAME=VALUE")
        params[name] = None if may_be_empty and not value else value
    return params


def _remove(
    out: Output,
    chosen: Callable[[Planner], list[Change]],
    yes: bool,
    overwrite: bool,
    dry_run: bool,
    exit_code: bool,
) -> int:
    from scflows.planner import planning

    with planning(out.settings, dry_run) as planner:
        removed = chosen(planner)
        count = len(removed)
        if not removed:
            out.say("no task to remove", {"schema": 1, "items": []})
            return 0
        what = f"remove {count} task{'s' if count > 1 else ''}"
        if not dry_run and not out.confirm(count, what, yes):
            out.say("nothing was removed")
            return 0
        plan = planner.change(removed)
        _carry_out(planner, plan, dry_run, overwrite)
    return _tell(out, plan, dry_run, exit_code)


def _switch(out: Output, names: Iterable[str], enabled: bool, overwrite: bool, dry_run: bool, exit_code: bool) -> int:
    from scflows.planner import planning

    with planning(out.settings, dry_run) as planner:
        plan = planner.change([planner.switched(name, enabled) for name in dict.fromkeys(names)])
        _carry_out(planner, plan, dry_run, overwrite)
    return _tell(out, plan, dry_run, exit_code)


def _carry_out(planner: Planner, plan: Plan, dry_run: bool, overwrite: bool) -> None:
    if not dry_run:
        planner.write(plan, overwrite)
        return
    if not overwrite and planner.custody.drift():
        plan.notes.append("the block in the crontab was changed by hand: without --overwrite this would end with 6")
    refused = planner.custody.refused(plan.tabfile, plan.rewritten)
    if refused is not None:
        plan.notes.append(f"this would be refused: {refused}" + (f"; {refused.help}" if refused.help else ""))


def _as_given() -> str:
    """The command line of this process as one that is no dry run."""
    words = [word for word in sys.argv[1:] if word not in ("--dry-run", "--exit-code")]
    return shlex.join(("flows", *words))


def _tell(out: Output, plan: Plan, dry_run: bool, exit_code: bool, more: dict[str, Any] | None = None) -> int:
    """Show what was changed, or with a dry run what would be."""
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
    for note in [*plan.notes, *_clock_notes(plan)]:
        out.warn(note)
    return 10 if dry_run and exit_code and not plan.is_empty else 0


def _clock_notes(plan: Plan) -> list[str]:
    """What coming changes of the clocks do to the tasks that are written anew."""
    from scflows.cron.changes import clock_notes

    notes = []
    for change in plan.changes:
        if change.action in ("add", "replace") and change.task.enabled:
            notes += [f"{change.task.name}: {note}" for note in clock_notes(change.task.schedule, time.time())]
    if len(notes) > MOST_NOTES:
        notes[MOST_NOTES:] = [f"{len(notes) - MOST_NOTES} more like these; flows check tells of them in time"]
    return notes


_DONE = {"add": "added", "replace": "replaced", "remove": "removed", "keep": "kept"}


def _told(change: Change) -> str:
    if change.why in ("paused", "enabled"):
        return f"{change.why} {change.task.name}"
    chosen = "".join(f" ({each})" for each in _chosen(change.task)) if change.action in ("add", "replace") else ""
    return f"{_DONE[change.action]} {change.task.name}: {change.why}{chosen}"


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
    from scflows.cron.changes import clock_notes

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
        "notes": [*_chosen(task), *clock_notes(task.schedule, time.time())] if is_new else [],
    }


def _note_in_log(out: Output, plan: Plan, dry_run: bool) -> None:
    """What was scheduled belongs into the scheduler's log, whoever did it."""
    from scflows.planner import note_in_log

    if not dry_run:
        note_in_log(out.settings, plan)


def _run_first(out: Output, plan: Plan, dry_run: bool) -> int:
    from scflows.first_run import FirstRun, first_runs

    tasks: list[Task] = [change.task for change in plan.of("add")]
    failed: list[FirstRun] = []
    with out.progress() as progress:
        count = sum(1 for task in tasks if task.flow)
        progress.show(f"first runs: 0 of {count}")

        def tell(first: FirstRun, ended: int) -> None:
            progress.clear()
            if first.code != 0:
                failed.append(first)
            out.say(f"first run of {first.task}: {first.told or f'exit status {first.code}'}")
            progress.show(f"first runs: {ended} of {count}")

        first_runs(tasks, out.settings, dry_run, tell)
    return 1 if failed else 0
