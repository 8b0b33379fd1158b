"""The backups of the crontab: one is made before each write."""

from __future__ import annotations

import os

from scflows.errors import Refused
from scflows.storage import discard, names_in, open_regular, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.settings import Settings

#: How many backups are kept.
MAX_BACKUPS = 20


def backups(settings: Settings) -> list[str]:
    """Return the paths of the backups, the newest first."""
    folder = backup_folder(settings)
    names = sorted(names_in(folder, ".tab"), key=lambda name: (_number(name), name), reverse=True)
    return [os.path.join(folder, name) for name in names]


def back_up(raw: bytes, settings: Settings) -> str:
    """Back up a crontab that is about to be changed; return the path of the backup. Raises Refused."""
    from datetime import UTC, datetime

    folder = backup_folder(settings)
    # By number, because the clock may have been ahead.
    number = max((_number(os.path.basename(each)) for each in backups(settings)), default=0) + 1
    path = os.path.join(folder, f"{number:06d}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tab")
    try:
        replace(path, raw, mode=0o600)
    except OSError as error:
        raise Refused(
            f"{path}: the crontab cannot be backed up: {error.strerror}; it is unchanged",
            f"free disk space, or check the owner of {folder}",
        ) from error
    for old in backups(settings)[MAX_BACKUPS:]:
        discard(old)  # An additional backup does no harm.
    return path


def _number(name: str) -> int:
    """Return the number of a backup, which says in which order they were made."""
    number = name.partition("-")[0]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 16 else 0


def content(path: str) -> bytes | None:
    """Return the content of a backup, or None if it is missing or cannot be read."""
    try:
        with open(open_regular(path), "rb") as file:
            return file.read()
    except OSError:
        return None


def backup_name(backup: str) -> str:
    """Return the name of a backup for `flows crontab restore`."""
    return os.path.basename(backup).removesuffix(".tab")


def restore_advice(backup: str) -> str:
    """Return how to compare the crontab with a backup and restore it."""
    # By its name, because after the next change of the crontab it is no longer the newest one.
    return (
        f"compare crontab -l with the backup of the old one, {backup};"
        f" restore it with: flows crontab restore {backup_name(backup)}"
    )


def backup_folder(settings: Settings) -> str:
    """Return the folder of the backups."""
    return os.path.join(settings.state_path, "crontab-backups")
