"""Size limits between two prunings: what a run adds to its log and its folder is checked when it ends."""

from __future__ import annotations

import os

from scflows.locks import locked
from scflows.storage import BROKEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.settings import Settings


def limit_log(path: str, limit: int) -> None:
    """Trim the log of a task to its newer half if it exceeds its limit. Ignores a log that cannot be trimmed."""
    try:
        if os.stat(path).st_size > limit:
            from scflows.history.log_trim import trim_log

            trim_log(path, limit)
    except OSError:
        pass  # A log that is too long is still usable.


def are_folders_too_large(settings: Settings, run: str, limit: int) -> bool:
    """Count the folder of a run that ended, and return whether all run folders together exceed their limit.

    False if the count cannot be written; the daily pruning counts again.
    """
    own = _size(os.path.join(settings.state_path, "runs", run))
    if not own:
        return False
    try:
        with locked(_path(settings)) as descriptor:
            known = os.pread(descriptor, 32, 0)
            is_known = known.strip().isdigit()
            size = int(known) + own if is_known else _size(os.path.join(settings.state_path, "runs"))
            _write(descriptor, size)
        return size > limit
    except OSError:
        return False


def note_size(settings: Settings, size: int) -> None:
    """Note the measured size of all run folders. Ignores a file that cannot be written."""
    try:
        with locked(_path(settings)) as descriptor:
            _write(descriptor, size)
    except OSError:
        pass


def _size(folder: str) -> int:
    """Return the bytes of all files below a folder; 0 if there is none."""
    total = 0
    try:
        with os.scandir(folder) as found:
            for each in found:
                is_folder = each.is_dir(follow_symlinks=False)
                total += _size(each.path) if is_folder else each.stat(follow_symlinks=False).st_size
    except BROKEN:
        pass  # Removed meanwhile.
    return total


def _write(descriptor: int, size: int) -> None:
    os.pwrite(descriptor, f"{size:<20}\n".encode(), 0)


def _path(settings: Settings) -> str:
    return os.path.join(settings.state_path, "run-folders-size")
