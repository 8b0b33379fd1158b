"""Recovery of lines that an interrupted write of the crontab lost: the next command that reads it restores them."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass

from scflows.cron.crontab.block import split
from scflows.cron.crontab.copies import backup_folder, backup_name, backups, content, restore_advice
from scflows.cron.crontab.program import LIMIT, Crontab
from scflows.errors import Busy, Refused
from scflows.storage import discard, open_regular, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.settings import Settings


class Unchanged(Refused):
    """The program failed, and the crontab is unchanged."""


@dataclass(frozen=True)
class _Write:
    """A write of the crontab that was noted before it started and whose end was not noted."""

    backup: str  #: the path of the backup before it
    new: bytes

    def is_torn(self, raw: bytes) -> bool:
        """Return True if the crontab holds less than was written: nothing, or the beginning up to within a line.

        A beginning that ends with a line is what remains when a user deletes the last lines.
        """
        return len(raw) < len(self.new) and (not raw.strip() or (self.new.startswith(raw) and not raw.endswith(b"\n")))


@contextmanager
def write_noted(settings: Settings, backup: str, new: bytes) -> Iterator[int]:
    """Note a write before it begins, and its end if the crontab is then in a known state.

    Yields a descriptor that holds a lock on the note. The crontab program inherits it, so the lock lasts until that
    program has ended, even if this process is killed. Raises Refused if the note cannot be written.
    """
    path = _note_path(settings)
    try:
        replace(path, os.fsencode(os.path.basename(backup)) + b"\n" + new, mode=0o600)
        descriptor = open_regular(path)
    except OSError as error:
        raise Refused(
            f"{path}: cannot be written: {error.strerror}; the crontab is unchanged",
            f"free disk space, or check the owner of {settings.state_path}",
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            yield descriptor
        except Unchanged:
            discard(_note_path(settings))
            raise
        discard(_note_path(settings))
    finally:
        os.close(descriptor)


def _note_path(settings: Settings) -> str:
    return os.path.join(settings.state_path, "crontab-write")


def _noted_write(settings: Settings) -> _Write | None:
    try:
        with open(open_regular(_note_path(settings)), "rb") as file:
            name, newline, new = file.read().partition(b"\n")
    except OSError:
        return None
    return _Write(os.path.join(backup_folder(settings), os.fsdecode(name)), new) if newline else None


def _wait_for_writer(settings: Settings) -> None:
    """Wait until the crontab program that a killed command started has ended. Raises Busy after a minute."""
    try:
        descriptor = open_regular(_note_path(settings))
    except OSError:
        return
    try:
        deadline = time.monotonic() + LIMIT
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Busy(
                        f"a crontab program that an earlier command started has been running for {LIMIT} s",
                        "see: ps -C crontab; end it and try again",
                    ) from None
                time.sleep(0.05)
            except OSError:
                return  # Some network file systems have no locks.
    finally:
        os.close(descriptor)


def read_and_recover(crontab: Crontab, settings: Settings, dry_run: bool = False) -> tuple[bytes, list[str]]:
    """Return the crontab, and what to report about lines that an earlier write lost.

    If that write was interrupted, the crontab before it is restored; with `dry_run` it is only returned.
    Hold `file_lock` unless `dry_run`. Raises Busy, and the errors of `Crontab.read` and `Crontab.write`.
    """
    write = _noted_write(settings)
    if write is None:
        raw = crontab.read()
        return raw, [f"{lost}; {lost.help}" for lost in [lost_lines(raw, settings)] if lost is not None]
    if not dry_run:
        _wait_for_writer(settings)
    raw = crontab.read()
    old = content(write.backup)
    notes = []
    if old is not None and old != raw and write.is_torn(raw):
        name = backup_name(write.backup)
        notes.append(
            "an earlier command was interrupted while it wrote the crontab:"
            f" {'would restore' if dry_run else 'restored'} the {_count(old)} it had before, from the backup {name}"
        )
        if not dry_run:
            crontab.write(old)
            if crontab.read() != old:
                raise Refused(
                    "an earlier command truncated the crontab, and it cannot be restored", restore_advice(write.backup)
                )
        raw = old
    elif old is not None and raw not in (write.new, write.new + b"\n", old):
        notes.append(
            "an earlier command was interrupted while it wrote the crontab, which was changed since;"
            f" {restore_advice(write.backup)}"
        )
    if not dry_run:
        discard(_note_path(settings))
    return raw, notes


def lost_lines(raw: bytes, settings: Settings) -> Refused | None:
    """Return the error if lines of the crontab were lost, or None.

    They were if a write was interrupted, or if the crontab is empty while the newest backup has foreign lines. A
    crontab that lacks only some lines was edited by its user.
    """
    write = _noted_write(settings)
    if write is not None and write.is_torn(raw):
        old = content(write.backup)
        if old is not None and old != raw:
            return Refused(
                f"a command was interrupted while it wrote the crontab: {_count(old)} that it had before are missing",
                "flows repair restores them, and so does every command that changes tasks",
            )
    if raw.strip():
        return None
    for path in backups(settings)[:1]:
        copy = content(path)
        try:
            foreign = b"" if copy is None else split(copy).foreign
        except Refused:
            foreign = copy or b""
        if foreign.strip():
            return Refused(
                f"the crontab is empty, but its newest backup has {_count(foreign)} of your own",
                f"restore them with: flows crontab restore {backup_name(path)}",
            )
    return None


def _count(content: bytes) -> str:
    number = sum(bool(line.strip()) for line in content.split(b"\n"))
    return f"{number} line{'s' if number != 1 else ''}"
