"""Show the user's crontab; list and restore its backups."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from scflows.cli.parameters import Yes
from scflows.cli.schedule_options import DryRun, ExitCode
from scflows.cli.times import Moment
from scflows.errors import Refused

if TYPE_CHECKING:
    from scflows.cli.output import Output
    from scflows.planner.restore import Restoration


def show(ctx: typer.Context) -> None:
    """Print the complete crontab: scflows block and other lines."""
    from scflows.cron.crontab.install import split_or_advise
    from scflows.cron.crontab.program import find_crontab
    from scflows.cron.crontab.recovery import lost_lines

    out: Output = ctx.obj
    crontab = find_crontab(out.settings.environment)
    if crontab is None:
        raise Refused("no crontab program is installed", "list the tasks with: flows list-tasks")
    raw = crontab.read()
    lost = lost_lines(raw, out.settings)
    if lost is not None:
        out.warn(f"{lost}; {lost.help}")
    if out.json:
        text = raw.decode("utf-8", "replace")
        block = split_or_advise(raw, out.settings).lines
        out.object({"user": crontab.user, "program": crontab.program, "crontab": text, "block": block})
        return
    if crontab.by:
        out.warn(f"this is the crontab of {crontab.user}, not that of {crontab.by}")
    for line in raw.decode("utf-8", "backslashreplace").removesuffix("\n").split("\n") if raw else ():
        out.line(out.cell(line))
    if not raw:
        out.hint(f"the crontab of {crontab.user} is empty")


def list_backups(ctx: typer.Context) -> None:
    """List backups of the crontab, newest first.

    One is made before each change; the newest twenty are kept.
    """
    from scflows.planner.restore import all_backups

    out: Output = ctx.obj
    items = [
        {
            "number": number,
            "name": os.path.basename(backup.path).removesuffix(".tab"),
            "made": Moment(backup.made, seconds=True),
            "lines": backup.lines,
            "tasks": len(backup.tasks),
            "path": backup.path,
        }
        for number, backup in enumerate(all_backups(out.settings), 1)
    ]
    columns = {"NUMBER": "number", "MADE": "made", "LINES": "lines", "TASKS": "tasks", "NAME": "name"}
    out.table(columns, items)
    out.hint(
        "Restore the newest: flows crontab restore 1" if items else "No backups: scflows has never changed the crontab."
    )


def restore(
    ctx: typer.Context,
    backup: Annotated[
        str | None,
        typer.Argument(metavar="BACKUP", help="Its number, name or path (default: the newest)."),
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    exit_code: ExitCode = False,
) -> int:
    """Restore a backup of the crontab.

    All lines outside the scflows block are restored byte for byte. The block itself stays as it is today, so tasks
    removed since the backup do not come back. The current crontab is backed up first.
    """
    from scflows.planner.planner import planning
    from scflows.planner.restore import find_backup, plan_restore

    out: Output = ctx.obj
    with planning(out.settings, dry_run, whole=True) as planner:
        found = plan_restore(planner, find_backup(out.settings, backup))
        if dry_run or not found.changes:
            return _report(out, found, planner.editor.notes, dry_run, exit_code)
        if not out.json and not yes:
            _show_diff(out, found)
        if not out.confirm(1, f"restore the crontab of {_made(out, found)}", yes):
            out.say("Nothing was changed.")
            return 0
        notes = planner.editor.notes + planner.editor.replace(found.crontab, found.tabfile)
    return _report(out, found, notes, dry_run, exit_code)


def _report(out: Output, found: Restoration, notes: list[str], dry_run: bool, exit_code: bool) -> int:
    if out.json:
        out.object(
            {
                "schema": 1,
                "dry_run": dry_run,
                "backup": found.backup.path,
                "made": Moment(found.backup.made, seconds=True),
                "diff": found.diff,
                "gone": found.gone,
            }
        )
    elif not found.changes:
        out.say(f"Nothing was changed: the crontab matches the backup of {_made(out, found)}.")
    elif dry_run:
        _show_diff(out, found)
        out.say(f"Would restore the crontab of {_made(out, found)}.")
    else:
        out.say(f"Restored the crontab of {_made(out, found)}. Undo: flows crontab restore")
    if found.gone:
        out.warn(f"tasks in the backup that no longer exist: {', '.join(found.gone)}; schedule them again")
    for note in notes:
        out.warn(note)
    return 10 if dry_run and exit_code and found.changes else 0


def _show_diff(out: Output, found: Restoration) -> None:
    for line in found.diff:
        out.line(out.diff_line(line))


def _made(out: Output, found: Restoration) -> str:
    return f"{out.cell(Moment(found.backup.made, seconds=True))} {out.settings.timezone}"
