"""Files that a step makes: are they there, and did the step that made them end well.

A step that makes its file in place, such as a program, may be cut off in the middle of it. So a mark lies in the
state folder from before the step until after its end was recorded: what has a mark is not taken as done, and what a
failed step has touched is removed.
"""

from __future__ import annotations

import os

from scflows.errors import StepError
from scflows.locks import lock_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.steps import Context

    State = tuple[int, int, int] | None


class Targets:
    """The targets of one step, its templates rendered."""

    def __init__(self, ctx: Context, target: list[str], sources: list[str]) -> None:
        """Raises StepError for a path that no step may write or read."""
        self.written = target
        self._paths = [ctx.writable(path) for path in target]
        self._sources = [ctx.readable(path) for path in sources]
        self._marks = [os.path.join(ctx.settings.state_path, "targets", lock_name(path)) for path in self._paths]
        self._before: list[State] = []

    def are_done(self) -> bool:
        """Whether all are there and whole, and none of the sources is newer than the oldest of them."""
        if any(os.path.lexists(mark) for mark in self._marks):
            return False
        times = [_modified(path) for path in self._paths]
        if not times or None in times:
            return False
        oldest = min(time for time in times if time is not None)
        return all((_modified(path) or 0) <= oldest for path in self._sources)

    def begin(self) -> None:
        """Mark them as being made. Raises StepError."""
        # What was being made when somebody else was cut off is nobody's file.
        pairs = zip(self._paths, self._marks, strict=True)
        self._before = [None if os.path.lexists(mark) else _state(path) for path, mark in pairs]
        for mark in self._marks:
            try:
                os.makedirs(os.path.dirname(mark), mode=0o700, exist_ok=True)
                os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            except OSError as error:
                raise StepError(f"the target cannot be noted as being made: {error.strerror}") from error

    def check_made(self) -> None:
        """Raises StepError that names the targets that are missing after the step."""
        missing = [name for name, path in zip(self.written, self._paths, strict=True) if not os.path.exists(path)]
        if missing:
            raise StepError(f"the step did not make its target {', '.join(repr(name) for name in missing)}")

    def discard(self) -> None:
        """After a step that failed: remove what it made or changed, since that may be half of a file."""
        for path, before in zip(self._paths, self._before, strict=True):
            if before != _state(path):
                try:
                    os.unlink(path)
                except FileNotFoundError:
                    continue
                except OSError:
                    return  # A folder, or not ours: the marks stay, so it is not taken as done.
        self.settle()

    def settle(self) -> None:
        """Take the marks away, once the end of the step is recorded."""
        for mark in self._marks:
            try:
                os.unlink(mark)
            except OSError:
                pass  # Then the step is run once more than needed.


def _modified(path: str) -> int | None:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


def _state(path: str) -> State:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
