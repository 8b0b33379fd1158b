"""Pause tasks, take them off the crontab, level them anew, write their lines again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from scflows.cli.plan import carry_out, note_plan, tell_plan
from scflows.cli.schedule_options import DryRun, ExitCode, OneLine, Overwriting, Tasks, Yes
from scflows.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scflows.cli.output import Output
    from scflows.planner.plan import Change
    from scflows.planner.planner import Planner


def enable(
    ctx: typer.Context,
    task: Tasks,
    overwrite: Overwriting = False,
    dry_run: DryRun = False,
    exit_code: ExitCode = False,
) -> int:
    """Let paused tasks run again, in the slots they had."""
    return _switch(ctx.obj, task, True, overwrite, dry_run, exit_code)


def disable(
    ctx: typer.Context,
    task: Tasks,
    overwrite: Overwriting = False,
    dry_run: DryRun = False,
    exit_code: ExitCode = False,
) -> int:
    """Pause tasks: they stay paused through every scheduling until `flows enable`."""
    return _switch(ctx.obj, task, False, overwrite, dry_run, exit_code)


def remove_task(
    ctx: typer.Context,
    task: Tasks,
    yes: Yes = False,
    overwrite: Overwriting = False,
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
    overwrite: Overwriting = False,
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
    overwrite: Overwriting = False,
    dry_run: DryRun = False,
    exit_code: ExitCode = False,
) -> int:
    """Move as few tasks as it takes until the load is level again, by what runs took lately.

    Nothing else ever moves a task. Those of a cron expression stay, and those that were put at full hours.
    """
    from scflows.planner.planner import MAX_MOVED_SHARE, planning

    out: Output = ctx.obj
    with planning(out.settings, dry_run) as planner:
        plan, found = planner.plan_rebalance(_moves(max_moves, len(planner.before)))
        gain = f"at most {found.before:.3g} → {found.after:.3g} runs at once (on average {found.mean:.3g};"
        gain += f" a plan from scratch: {found.fresh:.3g})"
        item = {name: round(getattr(found, name), 3) for name in ("before", "after", "mean", "fresh")}
        item["moves"] = len(found.moved)
        if not found.moved:
            empty = {"schema": 1, "dry_run": dry_run, "rebalanced": item, "items": [], "diff": []}
            few = _moves(max_moves, len(planner.before))
            is_bound = (
                few is not None and few < len(planner.before) * MAX_MOVED_SHARE and found.before - found.fresh >= 1
            )
            told = f"so few moves gain nothing, and none is made; more might, see --max-moves: {gain}"
            out.say(told if is_bound else f"nothing to move: {gain}", empty)
            return 0
        if not out.json:
            out.say(gain)
        count = len(found.moved)
        if not dry_run and not out.confirm(count, f"move {count} task{'s' if count > 1 else ''}", yes):
            out.say("nothing was moved")
            return 0
        carry_out(planner, plan, dry_run, overwrite)
    note_plan(out, plan, dry_run)
    return tell_plan(out, plan, dry_run, exit_code, {"rebalanced": item})


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
    from scflows.planner.planner import planning

    with planning(ctx.obj.settings, dry_run, one_line) as planner:
        plan = planner.plan_repair()
        carry_out(planner, plan, dry_run, overwrite=True)
    return tell_plan(ctx.obj, plan, dry_run, exit_code)


def _remove(
    out: Output,
    chosen: Callable[[Planner], list[Change]],
    yes: bool,
    overwrite: bool,
    dry_run: bool,
    exit_code: bool,
) -> int:
    from scflows.planner.planner import planning

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
        plan = planner.plan_changes(removed)
        carry_out(planner, plan, dry_run, overwrite)
    return tell_plan(out, plan, dry_run, exit_code)


def _switch(out: Output, names: Iterable[str], enabled: bool, overwrite: bool, dry_run: bool, exit_code: bool) -> int:
    from scflows.planner.planner import planning

    with planning(out.settings, dry_run) as planner:
        plan = planner.plan_changes([planner.switch(name, enabled) for name in dict.fromkeys(names)])
        carry_out(planner, plan, dry_run, overwrite)
    return tell_plan(out, plan, dry_run, exit_code)
