"""Restoring a backup of the crontab: foreign lines as in the backup, our block from the current tasks."""

from __future__ import annotations

import os
from dataclasses import dataclass

from scflows.cron.crontab.block import difference, plan, split
from scflows.cron.crontab.copies import backups
from scflows.cron.crontab.line import parse_line
from scflows.cron.crontab.owner import of_others
from scflows.errors import NotFound, Refused
from scflows.storage import open_regular

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.cron.crontab.tabfile import Tabfile
    from scflows.planner.planner import Planner
    from scflows.settings import Settings


@dataclass(frozen=True)
class Backup:
    """A copy of the crontab from before a change."""

    path: str
    made: float  #: seconds since the epoch
    content: bytes

    @property
    def lines(self) -> int:
        return len(self.content.splitlines())

    @property
    def tasks(self) -> list[str]:
        """The names on our lines; empty if the marks of the block do not match."""
        try:
            parts = split(self.content)
        except Refused:
            return []
        entries = [*(parse_line(line) for line in parts.lines or []), *parts.strays]
        return [entry.name for entry in entries if entry is not None]


@dataclass(frozen=True)
class Restoration:
    """The crontab after restoring a backup."""

    backup: Backup
    crontab: bytes
    changes: bool  #: whether the crontab changes
    tabfile: Tabfile
    diff: list[str]  #: of the whole crontab, as lines of a unified diff
    gone: list[str]  #: tasks in the backup that no longer exist


def all_backups(settings: Settings) -> list[Backup]:
    """Return all backups that can be read, the newest first."""
    copies = []
    for path in backups(settings):
        try:
            copies.append(_read(path))
        except OSError:
            continue
    return copies


def find_backup(settings: Settings, named: str | None) -> Backup:
    """Return a backup by its name, its path or its number; 1 is the newest and the default.

    Raises NotFound, or Refused if the file cannot be read.
    """
    paths = backups(settings)
    help = "list the backups: flows crontab backups"
    if named is None or (named.isdigit() and len(named) < 6):
        number = int(named or 1)
        if not 0 < number <= len(paths):
            if not paths:
                raise NotFound("there is no backup of the crontab yet", "one is made whenever the crontab is changed")
            raise NotFound(f"backup {number} not found; there are {len(paths)}", help)
        path = paths[number - 1]
    else:
        names = {each: path for path in paths for each in (os.path.basename(path), os.path.basename(path)[:-4])}
        path = names.get(named, named)
    try:
        return _read(path)
    except FileNotFoundError as error:
        raise NotFound(f"backup {named!r} not found", help) from error
    except OSError as error:
        raise Refused(f"{path}: cannot be read: {error.strerror}", help) from error


def plan_restore(planner: Planner, backup: Backup) -> Restoration:
    """Return the crontab as it would be after restoring a backup.

    Raises Refused if the marks of the backup do not match, there is no program `crontab`, or the block belongs to
    another state folder.
    """
    editor = planner.editor
    if editor.crontab is None:
        raise Refused("there is no crontab program", "install cron, or run the tasks with: flows cron run")
    tabfile = planner.plan_repair().tabfile
    try:
        parts = split(backup.content)
    except Refused as error:
        message = str(error).replace("the crontab", f"the backup {backup.path}")
        raise Refused(message, "restore another one; list them: flows crontab backups") from error
    editor.check_owner(tabfile.lines)
    other_owners = {entry.text for entry in of_others(parts.strays, editor.settings.state_path)}
    crontab = plan(parts.foreign, tabfile.lines, {entry.name for entry in parts.strays}, other_owners)
    return Restoration(
        backup=backup,
        crontab=crontab,
        changes=crontab != editor.raw,
        tabfile=tabfile,
        diff=difference(_lines(editor.raw), _lines(crontab), "crontab", "restored"),
        gone=[name for name in backup.tasks if name not in planner.before and ":" not in name],
    )


def _lines(content: bytes) -> list[str]:
    return content.decode("utf-8", "backslashreplace").removesuffix("\n").split("\n") if content else []


def _read(path: str) -> Backup:
    with open(open_regular(path), "rb") as file:
        content = file.read()
        changed = os.fstat(file.fileno()).st_mtime
    return Backup(path, changed, content)
