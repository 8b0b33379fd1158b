"""The user's crontab: as it is, as it was, and back to that."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from scflows.cli.schedule_options import DryRun, ExitCode, Yes
from scflows.cli.times import Moment
from scflows.errors import Refused

if TYPE_CHECKING:
    from scflows.cli.output import Output
    from scflows.planner.restore import Restoration


def show(ctx: typer.Context) -> None:
    """Print the crontab as cron has it: our block between its marks, and all that is not ours."""
    from scflows.cron.crontab.install import find_crontab, taken_apart
    from scflows.cron.crontab.recovery import lost_lines

    out: Output = ctx.obj
    crontab = find_crontab(out.settings.environment)
    if crontab is None:
        raise Refused("there is no crontab program here", "see the tasks with: flows list-tasks")
    raw = crontab.read()
    lost = lost_lines(raw, out.settings)
    if lost is not None:
        out.warn(f"{lost}; {lost.help}")
    if out.json:
        text = raw.decode("utf-8", "replace")
        block = taken_apart(raw, out.settings).lines
        out.object({"user": crontab.user, "program": crontab.program, "crontab": text, "block": block})
        return
    if crontab.by:
        out.warn(f"this is the crontab of {crontab.user}, not of {crontab.by}")
    for line in raw.decode("utf-8", "backslashreplace").removesuffix("\n").split("\n") if raw else ():
        out.line(out.cell(line))
    if not raw:
        out.hint(f"the crontab of {crontab.user} is empty")


def list_backups(ctx: typer.Context) -> None:
    """List the copies that were kept of the crontab: one from before each change, the newest twenty."""
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
    out.hint("put one back with: flows crontab restore NUMBER" if items else "no backups: it was never changed by us")


def restore(
    ctx: typer.Context,
    backup: Annotated[
        str | None,
        typer.Argument(metavar="BACKUP", help="Its number, name or path; without one the newest."),
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    exit_code: ExitCode = False,
) -> int:
    """Put an old crontab back.

    Lines that are not ours become what they were, to the byte. Our block stays what the tasks say today: tasks that
    were removed since do not come back by this. The crontab as it is now is kept as a backup before.
    """
    from scflows.planner.planner import planning
    from scflows.planner.restore import find_backup, plan_restore

    out: Output = ctx.obj
    with planning(out.settings, dry_run, whole=True) as planner:
        found = plan_restore(planner, find_backup(out.settings, backup))
        if dry_run or not found.changes:
            return _tell(out, found, planner.editor.notes, dry_run, exit_code)
        if not out.json and not yes:
            _show_diff(out, found)
        if not out.confirm(1, f"put back the crontab of {_made(out, found)}", yes):
            out.say("nothing was changed")
            return 0
        notes = planner.editor.notes + planner.editor.replace(found.crontab, found.tabfile)
    return _tell(out, found, notes, dry_run, exit_code)


def _tell(out: Output, found: Restoration, notes: list[str], dry_run: bool, exit_code: bool) -> int:
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
        out.say(f"the crontab is as in the backup of {_made(out, found)}")
    elif dry_run:
        _show_diff(out, found)
        out.say(f"this would put back the crontab of {_made(out, found)}")
    else:
        out.say(f"put back the crontab of {_made(out, found)}; undo it with: flows crontab restore")
    if found.gone:
        out.warn(f"tasks that the backup has and that are no more: {', '.join(found.gone)}; schedule them again")
    for note in notes:
        out.warn(note)
    return 10 if dry_run and exit_code and found.changes else 0


def _show_diff(out: Output, found: Restoration) -> None:
    for line in found.diff:
        out.line(out.diff_line(line))


def _made(out: Output, found: Restoration) -> str:
    return out.cell(Moment(found.backup.made, seconds=True))
