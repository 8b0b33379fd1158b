"""Put our block into the user's crontab: read, plan, keep a copy, write, read back, compare."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.cron.crontab.block import Parts, difference, drift, plan, split
from scflows.cron.crontab.copies import backups, keep, way_back
from scflows.cron.crontab.limits import check_limits
from scflows.cron.crontab.program import MAKE_ROOM, Crontab, find_crontab
from scflows.cron.crontab.recovery import Unchanged, lost_lines, read_and_recover, write_noted
from scflows.errors import Busy, Refused, Unreachable
from scflows.storage import open_regular

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from scflows.errors import ScflowsError
    from scflows.settings import Settings

__all__ = [
    "Crontab",
    "Installed",
    "Parts",
    "backups",
    "difference",
    "drift",
    "find_crontab",
    "install",
    "lost_lines",
    "plan",
    "read_and_recover",
    "reinstall",
    "split",
    "taken_apart",
]

#: How often a crontab may change under our hands before we give up.
TRIES = 5


@dataclass(frozen=True)
class Installed:
    """What became of the crontab."""

    changed: bool
    backup: str | None = None  #: the copy of what was there before
    newline_added: bool = False  #: the last line had no newline, without which cron takes no crontab
    problem: str = ""  #: what the program said that failed, and yet had written


def install(
    crontab: Crontab,
    raw: bytes,
    lines: Sequence[str],
    settings: Settings,
    drop: Collection[str] = (),
    spared: Collection[str] = (),
) -> Installed:
    """Make these lines our block in the crontab that was read as `raw`; take out the strays named in `drop`,
    but none of the lines that are `spared`.

    Hold `file_lock` from reading `raw` on. What somebody changed outside of the block since then is kept.
    Raises Busy when the block itself was changed, Refused when the crontab cannot be written, or is not as
    written.
    """
    for _ in range(TRIES):
        new = plan(raw, lines, drop, spared)
        if new == raw:
            return Installed(False)
        check_limits(crontab, raw, new)
        backup = keep(raw, settings)
        # Editors take no lock of ours: look again right before writing.
        now = crontab.read()
        if now == raw:
            break
        if taken_apart(now, settings).lines != split(raw).lines:
            raise Busy("the block in the crontab was changed just now by somebody else", "try again")
        raw = now
    else:
        raise Busy("the crontab is being changed all the time", "try again in a moment")
    return _put(crontab, raw, new, backup, settings)


def reinstall(crontab: Crontab, raw: bytes, new: bytes, settings: Settings) -> Installed:
    """Make `new` the crontab that was read as `raw`. Hold `file_lock`; raises as `install`."""
    if new == raw:
        return Installed(False)
    check_limits(crontab, raw, new)
    backup = keep(raw, settings)
    if crontab.read() != raw:
        raise Busy("the crontab was changed just now by somebody else", "look at it and try again")
    return _put(crontab, raw, new, backup, settings)


def _put(crontab: Crontab, raw: bytes, new: bytes, backup: str, settings: Settings) -> Installed:
    with write_noted(settings, backup, new) as descriptor:
        return _put_either(crontab, raw, new, backup, descriptor)


def _put_either(crontab: Crontab, raw: bytes, new: bytes, backup: str, descriptor: int) -> Installed:
    try:
        return _put_whole(crontab, raw, new, backup, descriptor)
    except Unchanged:
        if not new or new.endswith(b"\n"):
            raise
        # Most crons insist on a newline at the end.
        done = _put_whole(crontab, raw, new + b"\n", backup, descriptor)
        return Installed(True, backup, True, done.problem)


def _put_whole(crontab: Crontab, raw: bytes, new: bytes, backup: str, descriptor: int) -> Installed:
    try:
        crontab.write(new, [descriptor])
    except (Refused, Unreachable) as error:
        # It may have failed when all or half of it was written already.
        found = _found(crontab, backup, error)
        if found == new:
            return Installed(True, backup, problem=str(error))
        if found == raw:
            if isinstance(error, Refused):
                raise Unchanged(str(error), error.help) from error
            raise
        if _put_back(crontab, raw, new, found):
            raise Refused(f"{error}; and wrote but a part of it: the crontab is as it was again", MAKE_ROOM) from error
        raise Refused(f"{error}; and the crontab is neither as it was nor as it was to be", way_back(backup)) from error
    _compare(crontab, raw, new, backup)
    return Installed(True, backup)


def _put_back(crontab: Crontab, raw: bytes, new: bytes, found: bytes) -> bool:
    """Whether the crontab is as it was again, after but the beginning of the new one was written, as on a full disk.

    Anything else that is there now may be what somebody else wrote in this moment, and stays.
    """
    if not new.startswith(found):
        return False
    try:
        crontab.write(raw)
    except (Refused, Unreachable):
        pass  # What counts is what is there now.
    try:
        return crontab.read() == raw
    except (Refused, Unreachable):
        return False


def _found(crontab: Crontab, backup: str, error: ScflowsError) -> bytes:
    try:
        return crontab.read()
    except (Refused, Unreachable) as unread:
        raise Refused(f"{error}; and how it is now cannot be read: {unread}", way_back(backup)) from error


def taken_apart(raw: bytes, settings: Settings) -> Parts:
    """`split`, whose error names the copy to go back to, where there is one."""
    try:
        return split(raw)
    except Refused as error:
        number = _newest_sound(settings)
        if not number:
            raise
        copy = f"flows crontab restore {number}" if number > 1 else "flows crontab restore"
        raise Refused(str(error), f"put the crontab back as it was with: {copy}; or {error.help}") from error


def _newest_sound(settings: Settings) -> int:
    """The number of the newest copy whose marks are right, from 1 on; 0 when there is none."""
    for number, path in enumerate(backups(settings), 1):
        try:
            with open(open_regular(path), "rb") as file:
                split(file.read())
        except (OSError, Refused):
            continue
        return number
    return 0


def _compare(crontab: Crontab, old: bytes, new: bytes, backup: str) -> None:
    """Refuse to believe a program that says all is well."""
    found = crontab.read()
    if found == new:
        return
    if found == old:
        raise Refused(
            f"{crontab.program} said it wrote the crontab, and the crontab is as before",
            "see whether the disk is full, and whether crontab works by hand: crontab -e",
        )
    if _put_back(crontab, old, new, found):
        told = f"{crontab.program} wrote {len(found)} of {len(new)} bytes, and said that all was well"
        raise Refused(f"{told}; the crontab is as it was again", MAKE_ROOM)
    pairs = zip(new.split(b"\n"), found.split(b"\n"), strict=False)
    first = next((number for number, (ours, theirs) in enumerate(pairs, 1) if ours != theirs), 0)
    where = f"from line {first} on" if first else "at its end"
    raise Refused(
        f"the crontab is not as it was written: it differs {where}",
        way_back(backup),
    )
