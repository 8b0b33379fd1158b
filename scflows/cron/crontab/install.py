"""Installing our block in the user's crontab: read, plan, back up, write, read back, compare."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from scflows.cron.crontab.block import Parts, plan, split
from scflows.cron.crontab.copies import back_up, backups, content, restore_advice
from scflows.cron.crontab.limits import check_limits
from scflows.cron.crontab.program import MAKE_ROOM, Crontab
from scflows.cron.crontab.recovery import Unchanged, write_noted
from scflows.errors import Busy, Refused, ScflowsError, Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from scflows.settings import Settings

#: How often the crontab may change meanwhile before the write is given up.
TRIES = 5


@dataclass(frozen=True)
class Installed:
    """The result of a write."""

    changed: bool
    backup: str | None = None  #: the backup of the crontab before the write
    newline_added: bool = False  #: whether the last line had no newline, which cron requires
    problem: str = ""  #: the error of a program that failed although it had written the crontab


def install(
    crontab: Crontab,
    raw: bytes,
    lines: Sequence[str],
    settings: Settings,
    drop: Collection[str] = (),
    spared: Collection[str] = (),
) -> Installed:
    """Write these lines as our block to the crontab that was read as `raw`.

    Strays named in `drop` are removed, except lines in `spared`. Hold `file_lock` since reading `raw`. Changes that a
    user made outside the block since then are kept. Raises Busy if the block itself was changed, or Refused if the
    crontab cannot be written or differs after the write.
    """
    for _ in range(TRIES):
        new = plan(raw, lines, drop, spared)
        if new == raw:
            return Installed(False)
        check_limits(crontab, raw, new)
        backup = back_up(raw, settings)
        # Other editors do not use our lock, so read the crontab again right before writing.
        current = crontab.read()
        if current == raw:
            break
        if split_or_advise(current, settings).lines != split(raw).lines:
            raise Busy("the block in the crontab was changed by another program just now", "try again")
        raw = current
    else:
        raise Busy("the crontab keeps changing", "try again in a moment")
    return _put(crontab, raw, new, backup, settings)


def reinstall(crontab: Crontab, raw: bytes, new: bytes, settings: Settings) -> Installed:
    """Replace the crontab that was read as `raw` with `new`. Hold `file_lock`. Raises the same as `install`."""
    if new == raw:
        return Installed(False)
    check_limits(crontab, raw, new)
    backup = back_up(raw, settings)
    if crontab.read() != raw:
        raise Busy("the crontab was changed by another program just now", "check it and try again")
    return _put(crontab, raw, new, backup, settings)


def _put(crontab: Crontab, raw: bytes, new: bytes, backup: str, settings: Settings) -> Installed:
    with write_noted(settings, backup, new) as descriptor:
        try:
            return _put_once(crontab, raw, new, backup, descriptor)
        except Unchanged:
            if not new or new.endswith(b"\n"):
                raise
            # Most crons require a newline at the end.
            done = _put_once(crontab, raw, new + b"\n", backup, descriptor)
            return Installed(True, backup, True, done.problem)


def _put_once(crontab: Crontab, raw: bytes, new: bytes, backup: str, descriptor: int) -> Installed:
    try:
        crontab.write(new, [descriptor])
    except (Refused, Unreachable) as error:
        # The program may have failed after it wrote all or a part of the crontab.
        found = _read_after_failure(crontab, backup, error)
        if found == new:
            return Installed(True, backup, problem=str(error))
        if found == raw:
            if isinstance(error, Refused):
                raise Unchanged(str(error), error.help) from error
            raise
        if _restore(crontab, raw, new, found):
            raise Refused(f"{error}; it wrote only a part of the crontab, which was restored", MAKE_ROOM) from error
        raise Refused(f"{error}; the crontab is neither the old nor the new one", restore_advice(backup)) from error
    _compare(crontab, raw, new, backup)
    return Installed(True, backup)


def _restore(crontab: Crontab, raw: bytes, new: bytes, found: bytes) -> bool:
    """Restore the crontab if only the beginning of the new one was written, for example on a full disk.

    Return whether the old crontab is in place. Any other content may have been written by another program meanwhile,
    so it is not changed.
    """
    if not new.startswith(found):
        return False
    try:
        crontab.write(raw)
    except (Refused, Unreachable):
        pass  # The next read decides.
    try:
        return crontab.read() == raw
    except (Refused, Unreachable):
        return False


def _read_after_failure(crontab: Crontab, backup: str, error: ScflowsError) -> bytes:
    try:
        return crontab.read()
    except (Refused, Unreachable) as unread:
        raise Refused(f"{error}; and the crontab cannot be read: {unread}", restore_advice(backup)) from error


def split_or_advise(raw: bytes, settings: Settings) -> Parts:
    """Split a crontab as `split` does, with an error that names a backup to restore, if there is one."""
    try:
        return split(raw)
    except Refused as error:
        number = _newest_sound(settings)
        if not number:
            raise
        command = f"flows crontab restore {number}" if number > 1 else "flows crontab restore"
        raise Refused(str(error), f"restore the crontab with: {command}; or {error.help}") from error


def _newest_sound(settings: Settings) -> int:
    """Return the number of the newest backup whose marks match, counted from 1; 0 if there is none."""
    for number, path in enumerate(backups(settings), 1):
        copy = content(path)
        with suppress(Refused):
            if copy is not None and split(copy):
                return number
    return 0


def _compare(crontab: Crontab, old: bytes, new: bytes, backup: str) -> None:
    """Check that the crontab is the new one, although the program reported success."""
    found = crontab.read()
    if found == new:
        return
    if found == old:
        raise Refused(
            f"{crontab.program} reported success, but the crontab is unchanged",
            "check whether the disk is full, and whether this works: crontab -e",
        )
    if _restore(crontab, old, new, found):
        message = f"{crontab.program} reported success, but wrote only {len(found)} of {len(new)} bytes"
        raise Refused(f"{message}; the crontab was restored", MAKE_ROOM)
    pairs = zip(new.split(b"\n"), found.split(b"\n"), strict=False)
    first = next((number for number, (written, actual) in enumerate(pairs, 1) if written != actual), 0)
    where = f"from line {first}" if first else "at its end"
    raise Refused(f"the crontab differs from what was written {where}", restore_advice(backup))
