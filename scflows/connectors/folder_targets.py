"""The target of a folder pair: made under a hidden name, then renamed, so that it is there whole or not at all."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager

from scflows.errors import StepError
from scflows.locks import FOLDER, is_locked, open_locked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: The beginning of hidden folders in which targets are made. A folder, so that a target of any length keeps its name,
#: and what a program leaves beside it goes with it.
HIDDEN = ".scflows-"


@contextmanager
def target_folder(path: str, shown_path: str) -> Iterator[None]:
    """Hold the lock of a target folder, made if it is missing, and remove what a killed process left in it.

    Another process that holds it is waited for. The kernel releases the lock when its holder dies. Raises StepError.
    """
    try:
        os.makedirs(path, exist_ok=True)
        descriptor = open_locked(path, how=FOLDER)
    except OSError as error:
        raise StepError(f"{shown_path}: no targets can be made: {error.strerror}") from error
    try:
        _remove_stale(path)
        yield
    finally:
        os.close(descriptor)


def is_at_work(path: str) -> bool:
    """Return whether a process makes targets in a folder."""
    try:
        return is_locked(path, FOLDER)
    except OSError:
        return False


class NewTarget:
    """A target that is being made. It is used as a context manager, which removes what was not kept."""

    def __init__(self, folder: str, name: str) -> None:
        self._folder = folder
        self._name = name
        self._hidden = os.path.join(folder, f"{HIDDEN}{os.urandom(6).hex()}")
        self.path = os.path.join(self._hidden, name)

    def __enter__(self) -> NewTarget:
        os.mkdir(self._hidden)
        return self

    def keep(self, replace: bool) -> None:
        """Move what was made to its name, once it is on the disk; `replace` a target that is there by now.

        Raises StepError if nothing was made, OSError.
        """
        try:
            # A link or a pipe would be there, but not whole.
            kind = os.lstat(self.path).st_mode
        except FileNotFoundError:
            raise StepError("made no target") from None
        if not stat.S_ISREG(kind):
            raise StepError("made something that is not a file as its target")
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        final = os.path.join(self._folder, self._name)
        if replace or not os.path.exists(final):
            os.rename(self.path, final)

    def __exit__(self, *error: object) -> None:
        _remove(self._hidden)


def _remove_stale(path: str) -> None:
    with os.scandir(path) as entries:
        stale = [entry.path for entry in entries if entry.name.startswith(HIDDEN)]
    for each in stale:
        _remove(each)


def _remove(path: str) -> None:
    """Remove a hidden folder with what is in it, if that is possible."""
    try:
        names = os.listdir(path)
        if len(names) > 1 or any(os.path.isdir(os.path.join(path, name)) for name in names):
            from shutil import rmtree

            rmtree(path, ignore_errors=True)
            return
        for name in names:
            os.unlink(os.path.join(path, name))
        os.rmdir(path)
    except OSError:
        pass  # The next process tries again.
