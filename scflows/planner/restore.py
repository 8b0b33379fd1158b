"""Put an old crontab back: the lines that are not ours as they were, our block as the tasks say."""

from __future__ import annotations

import os
from dataclasses import dataclass

from scflows.cron.crontab.block import difference, plan, split
from scflows.cron.crontab.install import backups
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
    """A copy of a crontab from before it was written."""

    path: str
    made: float  #: seconds since the epoch
    content: bytes

    @property
    def lines(self) -> int:
        return len(self.content.splitlines())

    @property
    def tasks(self) -> list[str]:
        """The names on lines of ours; empty also where the marks of the block are no pair."""
        try:
            parts = split(self.content)
        except Refused:
            return []
        found = [*(parse_line(line) for line in parts.lines or []), *parts.strays]
        return [entry.name for entry in found if entry is not None]


@dataclass(frozen=True)
class Restoration:
    """What the crontab would be."""

    backup: Backup
    crontab: bytes
    changes: bool  #: whether it is not so already
    tabfile: Tabfile
    diff: list[str]  #: of the whole crontab, as unified diff lines
    gone: list[str]  #: tasks that the copy names and that are no more


def all_backups(settings: Settings) -> list[Backup]:
    """The copies that are kept, the newest first; those that cannot be read are left out."""
    found = []
    for path in backups(settings):
        try:
            found.append(_read(path))
        except OSError:
            continue
    return found


def find_backup(settings: Settings, named: str | None) -> Backup:
    """The copy of a name, a path or a number, 1 being the newest, which is also meant without one.

    Raises NotFound, and Refused for a file that cannot be read.
    """
    paths = backups(settings)
    known = "see them with: flows crontab backups"
    if named is None or (named.isdigit() and len(named) < 6):
        number = int(named or 1)
        if not 0 < number <= len(paths):
            what = f"there is no backup {number} of the crontab, of {len(paths)}" if paths else "there is no backup yet"
            raise NotFound(what, known if paths else "one is made whenever the crontab is changed")
        path = paths[number - 1]
    else:
        names = {each: path for path in paths for each in (os.path.basename(path), os.path.basename(path)[:-4])}
        path = names.get(named, named)
    try:
        return _read(path)
    except FileNotFoundError as error:
        raise NotFound(f"there is no backup {named!r}", known) from error
    except OSError as error:
        raise Refused(f"{path}: cannot be read: {error.strerror}", known) from error


def restoration(planner: Planner, backup: Backup) -> Restoration:
    """What restoring a copy would make of the crontab.

    Raises Refused for one whose marks are no pair or that cannot be written as it is, where there is no program
    `crontab`, and where the block is that of another state folder.
    """
    custody = planner.custody
    if custody.crontab is None:
        raise Refused("there is no crontab program here", "install cron; the tasks run with: flows cron run")
    tabfile = planner.repaired().tabfile
    try:
        parts = split(backup.content)
    except Refused as error:
        told = str(error).replace("the crontab", f"the backup {backup.path}")
        raise Refused(told, "put another one back; see them with: flows crontab backups") from error
    custody.check_owner(tabfile.lines)
    spared = {entry.text for entry in of_others(parts.strays, custody.settings.state_path)}
    crontab = plan(parts.foreign, tabfile.lines, {entry.name for entry in parts.strays}, spared)
    return Restoration(
        backup=backup,
        crontab=crontab,
        changes=crontab != custody.raw,
        tabfile=tabfile,
        diff=difference(_lines(custody.raw), _lines(crontab), "crontab", "restored"),
        gone=[name for name in backup.tasks if name not in planner.before and ":" not in name],
    )


def _lines(content: bytes) -> list[str]:
    return content.decode("utf-8", "backslashreplace").removesuffix("\n").split("\n") if content else []


def _read(path: str) -> Backup:
    with open(open_regular(path), "rb") as file:
        content = file.read()
        changed = os.fstat(file.fileno()).st_mtime
    return Backup(path, changed, content)
