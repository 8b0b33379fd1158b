"""Pause, remove and rebalance tasks; rewrite their crontab lines."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from scflows.cli.parameters import Yes
from scflows.cli.plan import apply_plan, note_plan, report_plan
from scflows.cli.schedule_options import (
    DryRun,
    Everywhere,
    ExitCode,
    OneLine,
    Overwriting,
    Selected,
    Tasks,
)
from scflows.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from scflows.cli.output import Output
    from scflows.planner.plan import Change
    from scflows.planner.planner import Planner


def enable(
    ctx: typer.Context,
    task: Selected = None,
    everywhere: Everywhere = False,
    overwrite: Overwriting = False,
    dry_run: DryRun = False,
    exit_code: ExitCode = False,
) -> int:
    """Resume paused tasks, at the times they had before."""
    from scflows.planner.planner import planning
    from scflows.planner.switch import resumed, selected

    out: Output = ctx.obj
    given = _given(task, everywhere, "enable")
    with planning(out.settings, dry_run) as planner:
        plan = planner.plan_changes([resumed(planner, name) for name in selected(planner, given, everywhere)])
        apply_plan(planner, plan, dry_run, overwrite)
    return report_plan(out, plan, dry_run, exit_code)


def disable(
    ctx: typer.Context,
    task: Selected = None,
    everywhere: Everywhere = False,
    duration: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="Resume after this time, e.g. 30m, 2h or 3d.")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME", help="Resume at this time, e.g. 18:30 or 2026-11-20T06:00."),
    ] = None,
    overwrite: Overwriting = False,
    dry_run: DryRun = False,
    exit_code: ExitCode = False,
) -> int:
    """Pause tasks, until `flows enable` or for a time.

    `auto-schedule` and `manual-schedule` do not resume them. Slots in the meantime are not run later. With --for and
    --until the crontab lines stay; they do nothing before that time.
    """
    from scflows.planner.planner import planning
    from scflows.planner.switch import paused, selected

    out: Output = ctx.obj
    given = _given(task, everywhere, "disable")
    end = _pause_end(out, duration, until)
    with planning(out.settings, dry_run) as planner:
        names = selected(planner, given, everywhere)
        plan = planner.plan_changes([paused(planner, name, end) for name in names])
        apply_plan(planner, plan, dry_run, overwrite)
    words = ["flows", "enable", *(["--all"] if everywhere else []), *(task or ())]
    return report_plan(out, plan, dry_run, exit_code, hint=f"Resume: {shlex.join(words)}")


def _given(task: list[str] | None, everywhere: bool, command: str) -> list[str]:
    """Return the names and patterns to select by. Raise UsageError if nothing is named."""
    if not task and not everywhere:
        raise UsageError("missing argument TASK", f"name tasks, or all of this workspace: flows {command} '*'")
    return task or ["*"]


def _pause_end(out: Output, duration: str | None, until: str | None) -> float:
    """Return when a pause ends, in seconds since the epoch; 0 if it does not. Raise UsageError."""
    from scflows.cli.times import parse_coming, parse_duration

    if duration is not None and until is not None:
        raise UsageError("--for and --until cannot be combined")
    if duration is not None:
        return float(int(out.now + parse_duration(duration, "--for")))
    return 0.0 if until is None else parse_coming(until, "--until", out.settings.timezone, out.now)


def remove_task(
    ctx: typer.Context,
    task: Tasks,
    everywhere: Annotated[bool, typer.Option("--all", help="Patterns match the tasks of all workspaces.")] = False,
    yes: Yes = False,
    overwrite: Overwriting = False,
    dry_run: DryRun = False,
    exit_code: ExitCode = False,
) -> int:
    """Remove tasks from the crontab; keep their logs and history."""
    from scflows.cron.task_selection import is_pattern

    out: Output = ctx.obj

    def select(planner: Planner) -> list[Change]:
        from scflows.planner.switch import selected

        return [planner.removal(name) for name in selected(planner, task, everywhere)]

    return _remove(out, select, yes or (len(task) == 1 and not is_pattern(task[0])), overwrite, dry_run, exit_code)


def clear_tasks(
    ctx: typer.Context,
    pattern: Annotated[
        str, typer.Argument(metavar="GLOB", help="Only tasks with matching names, e.g. 'backup-*'.")
    ] = "*",
    everywhere: Annotated[bool, typer.Option("--all", help="Remove the tasks of all workspaces.")] = False,
    yes: Yes = False,
    overwrite: Overwriting = False,
    dry_run: DryRun = False,
    exit_code: ExitCode = False,
) -> int:
    """Remove all tasks of this workspace from the crontab.

    Tasks of other workspaces stay, and so do your own lines.
    """
    from scflows.planner.switch import removals

    out: Output = ctx.obj
    whose = " of all workspaces" if everywhere else f" of {out.settings.home}"

    def select(planner: Planner) -> list[Change]:
        return removals(planner, pattern, everywhere)

    return _remove(out, select, yes, overwrite, dry_run, exit_code, whose)


def rebalance(
    ctx: typer.Context,
    max_moves: Annotated[
        str | None, typer.Option(metavar="N|N%", help="Move at most N tasks, or N% of them (default: 30%).")
    ] = None,
    yes: Yes = False,
    overwrite: Overwriting = False,
    dry_run: DryRun = False,
    exit_code: ExitCode = False,
) -> int:
    """Move as few tasks as necessary to even out the load.

    The load is estimated from the durations of recent runs. No other command moves a task. Tasks with a cron
    expression and tasks scheduled with --no-balance are not moved.
    """
    from scflows.planner.planner import MAX_MOVED_SHARE, planning

    out: Output = ctx.obj
    with planning(out.settings, dry_run) as planner:
        plan, found = planner.plan_rebalance(_moves(max_moves, len(planner.before)))
        gain = f"Peak concurrency: {found.before:.3g} → {found.after:.3g} (mean {found.mean:.3g};"
        gain += f" {found.fresh:.3g} if all tasks were placed from scratch)"
        item = {name: round(getattr(found, name), 3) for name in ("before", "after", "mean", "fresh")}
        item["moves"] = len(found.moved)
        if not found.moved:
            empty = {"schema": 1, "dry_run": dry_run, "rebalanced": item, "items": [], "diff": []}
            limit = _moves(max_moves, len(planner.before))
            is_bound = (
                limit is not None and limit < len(planner.before) * MAX_MOVED_SHARE and found.before - found.fresh >= 1
            )
            message = (
                "Moved no task: --max-moves is too low to reduce the peak."
                if is_bound
                else "No task was moved: the load is even."
            )
            out.say(f"{message} {gain}.", empty)
            return 0
        if not out.json:
            out.say(gain)
        count = len(found.moved)
        if not dry_run and not out.confirm(count, f"move {count} task{'s' if count > 1 else ''}", yes):
            out.say("No task was moved.")
            return 0
        apply_plan(planner, plan, dry_run, overwrite)
    note_plan(out, plan, dry_run)
    return report_plan(out, plan, dry_run, exit_code, {"rebalanced": item})


def _moves(text: str | None, tasks: int) -> int | None:
    """Return a number of tasks from `20`, or from `10%` of them. Raise UsageError."""
    if text is None:
        return None
    number = text.removesuffix("%")
    if not (number.isascii() and number.isdigit()) or (number != text and int(number) > 100):
        raise UsageError(f"--max-moves must be a number or a percentage, not {text!r}", "for example 20 or 10%")
    return int(number) if number == text else tasks * int(number) // 100


def repair(ctx: typer.Context, one_line: OneLine = None, dry_run: DryRun = False, exit_code: ExitCode = False) -> int:
    """Rewrite tabfile and crontab block from the task files. Tasks stay unchanged.

    If the time zone of the machine's cron has changed, tasks move to the new one.
    """
    from scflows.cron.machine_zone import find_zone, is_same_zone, keep_zone, kept_zone, use_zone
    from scflows.planner.planner import planning

    settings = ctx.obj.settings
    before, zone = kept_zone(settings.state_path), find_zone(settings)
    use_zone(zone)
    with planning(settings, dry_run, one_line) as planner:
        plan = planner.plan_repair()
        apply_plan(planner, plan, dry_run, overwrite=True)
        if before and not is_same_zone(before, zone):
            if not dry_run:
                keep_zone(settings, zone)
            plan.notes.append(f"the time zone of the tasks: {before} → {zone}")
    return report_plan(ctx.obj, plan, dry_run, exit_code)


def _remove(
    out: Output,
    select: Callable[[Planner], list[Change]],
    yes: bool,
    overwrite: bool,
    dry_run: bool,
    exit_code: bool,
    whose: str = "",
) -> int:
    from scflows.planner.planner import planning

    with planning(out.settings, dry_run) as planner:
        removed = select(planner)
        count = len(removed)
        if not removed:
            out.say(f"No task was removed: there are none{whose}.", {"schema": 1, "items": []})
            others = len(planner.before)
            if others:
                out.hint(f"{others} of other workspaces: flows list-tasks --all")
            return 0
        action = f"remove {count} task{'s' if count > 1 else ''}{whose}"
        if not dry_run and not out.confirm(count, action, yes):
            out.say("No task was removed.")
            return 0
        plan = planner.plan_changes(removed)
        apply_plan(planner, plan, dry_run, overwrite)
    return report_plan(out, plan, dry_run, exit_code, whose=whose)
