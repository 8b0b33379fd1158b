"""Schedule tasks, or change them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from scflows.cli.decisions import show_decisions
from scflows.cli.parameters import parse_params
from scflows.cli.plan import apply_plan, note_plan, report_plan, run_first, shortened, warn_if_nothing_starts
from scflows.cli.schedule_options import (
    CatchUp,
    DryRun,
    DryTasks,
    EndWithin,
    ExitCode,
    ForceFirstRun,
    MaxActiveRuns,
    NoBalance,
    OneLine,
    Overlap,
    Overwrite,
    Overwriting,
    StartWithin,
)
from scflows.cli.stream import escaped, write
from scflows.errors import Busy, Unreachable, UsageError

if TYPE_CHECKING:
    from scflows.cli.output import Output
    from scflows.planner.plan import Plan


def auto_schedule(
    ctx: typer.Context,
    only: Annotated[
        list[str] | None,
        typer.Argument(metavar="TASK…", help="With --overwrite: replace these tasks, leave all others unchanged."),
    ] = None,
    source: Annotated[list[str] | None, typer.Option(help="Use only this source; may be repeated.")] = None,
    kind: Annotated[
        str | None, typer.Option(metavar="KIND", help="The kind of device tasks: process or backup (default: process).")
    ] = None,
    task: Annotated[str | None, typer.Option("--task", hidden=True)] = None,
    interval_days: Annotated[int, typer.Option(min=1, max=365, help="Search again every N days.")] = 1,
    task_interval_hours: Annotated[
        int | None, typer.Option(min=1, max=8760, help="Run each task every N hours, overriding its flow's schedule.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Do not schedule the search itself.")] = False,
    overwrite: Overwrite = False,
    force_first_run: ForceFirstRun = False,
    dry_tasks: DryTasks = False,
    no_balance: NoBalance = False,
    one_line: OneLine = None,
    dry_run: DryRun = False,
    exit_code: ExitCode = False,
) -> int:
    """Schedule all flows that define a schedule, and all devices.

    Searches the sources: `flows` (all flow files below the flows folder) and, if it is set up, `smartcitizen` (devices
    that request processing). Adds new tasks, removes those whose flow or device is gone, and leaves all others where
    they are. A task with an interval gets the start time with the least load.
    """
    from scflows.planner.auto_schedule import Search, ask_sources, auto_schedule, refused_names
    from scflows.planner.planner import planning

    out: Output = ctx.obj
    if kind is not None and task is not None and kind != task:
        raise UsageError("--task is an alias of --kind and differs from it", "omit --task")
    if only and not overwrite:
        raise UsageError(
            f"{only[0]!r}: a search adds all tasks; name some only to replace them",
            f"flows auto-schedule --overwrite {only[0]}",
        )
    kind = kind or task or "process"
    search = Search(
        sources=tuple(source or ()),
        kind=kind,
        interval_days=interval_days,
        once=once,
        task_interval_hours=task_interval_hours,
        overwrite=overwrite,
        only=tuple(only or ()),
        dry_tasks=dry_tasks,
        balance=not no_balance,
    )
    with out.progress() as progress:
        progress.show("searching")
        answers = ask_sources(out.settings, search, not dry_run, progress.show)
    with planning(out.settings, dry_run, one_line) as planner:
        plan = auto_schedule(planner, search, answers)
        apply_plan(planner, plan, dry_run, overwrite)
    note_plan(out, plan, dry_run)
    show_decisions(out, plan)
    code = _report(out, plan, dry_run, exit_code)
    if force_first_run:
        code = run_first(out, plan, dry_run) or code
    has_problems = _report_problems(plan)
    taken = refused_names(plan)
    if taken:
        raise Busy(f"task names taken by another workspace or source: {', '.join(taken)}", f"flows show {taken[0]}")
    if plan.unreachable:
        raise Unreachable("; ".join(plan.unreachable), "its tasks were not changed")
    return code or (1 if has_problems else 0)


def manual_schedule(
    ctx: typer.Context,
    flow: Annotated[list[str] | None, typer.Argument(metavar="FLOW…", help="Flow files.")] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(help="A device, by number, address or name; FLOW gets it as parameter `device`."),
    ] = None,
    kind: Annotated[str | None, typer.Option(metavar="KIND", help="With --device: process, backup or check.")] = None,
    folder: Annotated[
        str | None,
        typer.Option(
            "--folder", metavar="DIR", help="Run the jobs of a working folder every minute, instead of a flow."
        ),
    ] = None,
    task_file: Annotated[str | None, typer.Option(help="Same as FLOW.")] = None,
    name: Annotated[str | None, typer.Option(help="The task's name (default: derived from the flow's path).")] = None,
    cron: Annotated[str | None, typer.Option(help="A cron expression, e.g. '5 4 * * *'.")] = None,
    every: Annotated[str | None, typer.Option(help="An interval, e.g. 15m, 3h, 1d.")] = None,
    interval_hours: Annotated[int | None, typer.Option(min=1, max=8760, help="An interval in hours.")] = None,
    timezone: Annotated[str | None, typer.Option(help="The time zone of --cron, e.g. Europe/Madrid.")] = None,
    param: Annotated[list[str] | None, typer.Option("-p", "--param", metavar="K=V", help="Set a parameter.")] = None,
    timeout: Annotated[str | None, typer.Option(help="The time limit of a run, e.g. 30m.")] = None,
    catch_up: CatchUp = None,
    overlap: Overlap = None,
    max_active_runs: MaxActiveRuns = None,
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
    """Schedule the given flows or devices.

    Options take precedence over the flow's own schedule; the default is daily.

    With --device and no FLOW, the example flow for its KIND is scheduled, even if `auto-schedule` would skip the
    device; by default every 3 hours (process), 6 (backup) or 3 (check).
    """
    from scflows.cli.times import parse_duration
    from scflows.planner.manual_schedule import Order, manual_schedule, resolve_devices
    from scflows.planner.planner import planning

    out: Output = ctx.obj
    named = (*(flow or ()), *((task_file,) if task_file else ()))
    settings = out.settings
    if folder is not None:
        from scflows.settings import folder_settings

        if named or device:
            raise UsageError("--folder cannot be combined with flows or devices", "schedule them one by one")
        settings = folder_settings(folder)
        named = (settings.config_file,)
    order = Order(
        flows=named,
        devices=tuple(device or ()),
        kind=kind,
        name=name,
        cron=cron,
        every=every,
        interval_hours=interval_hours,
        timezone=timezone,
        params=parse_params(param),
        timeout=None if timeout is None else parse_duration(timeout, "--timeout"),
        catch_up=catch_up,
        overlap=overlap,
        max_active_runs=max_active_runs,
        start_within=start_within,
        end_within=end_within,
        overwrite=overwrite,
        dry_tasks=dry_tasks,
        balance=not no_balance,
    )
    order = resolve_devices(order, settings)
    with planning(settings, dry_run, one_line) as planner:
        plan = manual_schedule(planner, order)
        apply_plan(planner, plan, dry_run, overwrite)
    note_plan(out, plan, dry_run)
    code = _report(out, plan, dry_run, exit_code)
    if force_first_run:
        code = run_first(out, plan, dry_run) or code
    return code or (1 if _report_problems(plan) else 0)


def edit(
    ctx: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task's name.")],
    cron: Annotated[str | None, typer.Option(help="A cron expression, e.g. '5 4 * * *'.")] = None,
    every: Annotated[str | None, typer.Option(help="An interval, e.g. 15m, 3h, 1d.")] = None,
    interval_hours: Annotated[int | None, typer.Option(min=1, max=8760, help="An interval in hours.")] = None,
    timezone: Annotated[str | None, typer.Option(help="The time zone of --cron.")] = None,
    param: Annotated[
        list[str] | None, typer.Option("-p", "--param", metavar="K=V", help="Set a parameter; K= removes it.")
    ] = None,
    timeout: Annotated[str | None, typer.Option(help="The time limit of a run, e.g. 30m.")] = None,
    catch_up: CatchUp = None,
    overlap: Overlap = None,
    max_active_runs: MaxActiveRuns = None,
    start_within: StartWithin = None,
    end_within: EndWithin = None,
    overwrite: Overwriting = False,
    dry_run: DryRun = False,
    exit_code: ExitCode = False,
) -> int:
    """Change a task's schedule, parameters or limits."""
    from scflows.cli.times import parse_duration
    from scflows.planner.manual_schedule import Order, edit_task
    from scflows.planner.planner import planning

    out: Output = ctx.obj
    order = Order(
        flows=(),
        cron=cron,
        every=every,
        interval_hours=interval_hours,
        timezone=timezone,
        params=parse_params(param, may_be_empty=True),
        timeout=None if timeout is None else parse_duration(timeout, "--timeout"),
        catch_up=catch_up,
        overlap=overlap,
        max_active_runs=max_active_runs,
        start_within=start_within,
        end_within=end_within,
    )
    with planning(out.settings, dry_run) as planner:
        change = edit_task(planner, task, order)
        plan = planner.plan_changes([change])
        apply_plan(planner, plan, dry_run, overwrite)
    code = _report(out, plan, dry_run, exit_code)
    return code or (1 if _report_problems(plan) else 0)


def _report(out: Output, plan: Plan, dry_run: bool, exit_code: bool) -> int:
    """Report a plan, and what is wrong in the files with settings; return the exit code."""
    from scflows.health.workspace_files import file_mistakes

    for mistake in file_mistakes(out.settings):
        if mistake.severity == "error":
            plan.problems.append(str(mistake))
        else:
            plan.notes.append(f"{mistake.path}:{mistake.line}: {mistake.message}")
    code = report_plan(out, plan, dry_run, exit_code, {"unlimited": plan.unlimited})
    if plan.unlimited and not out.json:
        from scflows.cron.schedule.describe import duration

        names = shortened(plan.unlimited)
        out.say(f"No time limit set: {names}. Runs are stopped after {duration(int(out.settings.timeout_seconds))};")
        out.say("change it with `timeout` in the flow, --timeout or FLOW_TIMEOUT_SECONDS.")
    if plan.tasks:
        warn_if_nothing_starts(out)
    return code


def _report_problems(plan: Plan) -> bool:
    """Print the problems that did not keep the plan from being applied; return whether there are any."""
    for problem in plan.problems:
        # Also with --quiet, because it decides the exit code. An error in a flow starts with its location already.
        message = problem if ": error: " in problem else f"error: {problem}"
        write(sys.stderr, "\n".join(escaped(line) for line in message.splitlines()) + "\n")
    return bool(plan.problems)
