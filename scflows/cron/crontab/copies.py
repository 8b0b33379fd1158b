"""The copies of old crontabs: one is kept before each write."""

from __future__ import annotations

import os

from scflows.errors import Refused
from scflows.storage import open_regular, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.settings import Settings

#: How many copies of old crontabs are kept.
KEPT = 20


def backups(settings: Settings) -> list[str]:
    """The paths of the copies of old crontabs, the newest first."""
    folder = backup_folder(settings)
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return [os.path.join(folder, name) for name in sorted(names, reverse=True) if name.endswith(".tab")]


def keep(raw: bytes, settings: Settings) -> str:
    """Keep a copy of a crontab that is about to be written; return its path. Raises Refused."""
    from datetime import UTC, datetime

    folder = backup_folder(settings)
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


def content(path: str) -> bytes | None:
    """Return a copy, or None if it is gone or cannot be read."""
    try:
        with open(open_regular(path), "rb") as file:
            return file.read()
    except OSError:
        return None


def backup_name(backup: str) -> str:
    """Return the name by which `flows crontab restore` knows a copy."""
    return os.path.basename(backup).removesuffix(".tab")


def way_back(backup: str) -> str:
    """Return how to compare the crontab with a copy and put the copy back."""
    # By its name: the next change of the crontab has it be the newest no more.
    return (
        f"compare crontab -l with the copy of the old one, {backup};"
        f" put it back with: flows crontab restore {backup_name(backup)}"
    )


def backup_folder(settings: Settings) -> str:
    """Return the folder of the copies, in the state."""
    return os.path.join(settings.state_path, "crontab-backups")
