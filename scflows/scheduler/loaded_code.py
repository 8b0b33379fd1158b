"""Whether the modules of a process are those on the disk: an upgrade replaces files while long-lived processes run.

Modules are imported late. A process that continues with its old modules after an upgrade would mix old and new ones.
"""

from __future__ import annotations

import os
import sys
import time

import scflows

#: For this many seconds nothing must change before an upgrade is taken to be complete.
SETTLED = 2.0


class LoadedCode:
    """The files of the modules of scflows that this process has loaded."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[int, ...]] = {}
        self._look()
        self._seen = self._files
        self._since = 0.0

    def has_changed(self) -> bool:
        """Return whether a module was replaced or removed since it was loaded."""
        self._look()
        seen = {path: _state(path) for path in self._files}
        if seen != self._seen:
            self._seen, self._since = seen, time.monotonic()
        return seen != self._files

    def is_complete(self) -> bool:
        """Return whether the code on the disk can be started: the upgrade that changed it is over."""
        return time.monotonic() - self._since >= SETTLED and all(_state(path) for path in _ENTRY)

    def _look(self) -> None:
        """Take in the modules that were loaded since the last time."""
        for path in _loaded():
            if path not in self._files:
                self._files[path] = _state(path)


def is_outdated() -> bool:
    """Return whether a module was replaced since this process began, or seems so after the clock was changed."""
    began = time.time() - (time.monotonic() - scflows.BEGAN)
    for path in _loaded():
        try:
            if os.stat(path).st_ctime > began:
                return True
        except OSError:
            return True
    return False


def _loaded() -> list[str]:
    """Return the files of the modules that this process has loaded."""
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == "scflows"]
    return [path for path in (getattr(module, "__file__", None) for module in modules) if path]


#: The files without which nothing starts.
_ENTRY = [os.path.join(folder, name) for folder in scflows.__path__ for name in ("__init__.py", "__main__.py")]


def _state(path: str) -> tuple[int, ...]:
    try:
        state = os.stat(path)
    except OSError:
        return ()
    return state.st_mtime_ns, state.st_size, state.st_ino
