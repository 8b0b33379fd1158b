"""Put our block into the user's crontab: read, plan, keep a copy, write, read back, compare."""

from __future__ import annotations

import os
from dataclasses import dataclass

from scflows.cron.block import Parts, difference, drift, plan, split
from scflows.cron.limits import check_limits
from scflows.cron.program import Crontab, find_crontab
from scflows.errors import Busy, Refused
from scflows.safefile import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

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
    "plan",
    "reinstall",
    "split",
]

#: How many copies of old crontabs are kept.
KEPT = 20
#: How often a crontab may change under our hands before we give up.
TRIES = 5


@dataclass(frozen=True)
class Installed:
    """What became of the crontab."""

    changed: bool
    backup: str | None = None  #: the copy of what was there before
    newline_added: bool = False  #: the last line had no newline, without which cron takes no crontab


def install(
    crontab: Crontab, raw: bytes, lines: Sequence[str], settings: Settings, drop: Collection[str] = ()
) -> Installed:
    """Make these lines our block in the crontab that was read as `raw`; take out the strays named in `drop`.

    Hold `file_lock` from reading `raw` on. What somebody changed outside of the block since then is kept.
    Raises Busy when the block itself was changed, Refused when the crontab cannot be written, or is not as
    written.
    """
    for _ in range(TRIES):
        new = plan(raw, lines, drop)
        if new == raw:
            return Installed(False)
        check_limits(crontab, raw, new)
        backup = _keep(raw, settings)
        # Editors take no lock of ours: look again right before writing.
        now = crontab.read()
        if now == raw:
            break
        if split(now).lines != split(raw).lines:
            raise Busy("the block in the crontab was changed just now by somebody else", "try again")
        raw = now
    else:
        raise Busy("the crontab is being changed all the time", "try again in a moment")
    return _put(crontab, raw, new, backup)


def reinstall(crontab: Crontab, raw: bytes, new: bytes, settings: Settings) -> Installed:
    """Make `new` the crontab that was read as `raw`. Hold `file_lock`; raises as `install`."""
    if new == raw:
        return Installed(False)
    check_limits(crontab, raw, new)
    backup = _keep(raw, settings)
    if crontab.read() != raw:
        raise Busy("the crontab was changed just now by somebody else", "look at it and try again")
    return _put(crontab, raw, new, backup)


def _put(crontab: Crontab, raw: bytes, new: bytes, backup: str) -> Installed:
    written = _write(crontab, new)
    _compare(crontab, raw, written, backup)
    return Installed(True, backup, written != new)


def backups(settings: Settings) -> list[str]:
    """The paths of the copies of old crontabs, the newest first."""
    folder = os.path.join(settings.state_path, "crontab-backups")
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return [os.path.join(folder, name) for name in sorted(names, reverse=True) if name.endswith(".tab")]


def _keep(raw: bytes, settings: Settings) -> str:
    from datetime import UTC, datetime

    folder = os.path.join(settings.state_path, "crontab-backups")
    path = os.path.join(folder, f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.tab")
    try:
        replace(path, raw, mode=0o600)
    except OSError as error:
        raise Refused(
            f"{path}: no copy of the crontab can be kept: {error.strerror}; the crontab is unchanged",
            f"make room, or see who owns {folder}",
        ) from error
    for old in backups(settings)[KEPT:]:
        try:
            os.unlink(old)
        except OSError:
            pass  # one copy too many harms nobody
    return path


def _write(crontab: Crontab, new: bytes) -> bytes:
    """What was written: `new`, or with the newline at its end that most crons insist on."""
    try:
        crontab.write(new)
    except Refused:
        if not new or new.endswith(b"\n"):
            raise
        new += b"\n"
        crontab.write(new)
    return new


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
    pairs = zip(new.split(b"\n"), found.split(b"\n"), strict=False)
    first = next((number for number, (ours, theirs) in enumerate(pairs, 1) if ours != theirs), 0)
    where = f"from line {first} on" if first else "at its end"
    # Not put back by us: it may be what somebody else wrote in this moment.
    raise Refused(
        f"the crontab is not as it was written: it differs {where}",
        f"compare crontab -l with the copy of the old one, {backup}; it is put back with: flows crontab restore",
    )
