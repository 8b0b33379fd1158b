"""The target files of a step: whether they exist and are complete.

A step that writes its file in place, for example a program, may be interrupted halfway. Therefore a marker in the state
folder exists from before the step until its end is recorded. A target with a marker does not count as complete, and
files that a failed step has changed are removed.
"""

from __future__ import annotations

import os

from scflows.errors import StepError
from scflows.locks import lock_name
from scflows.storage import discard, file_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.steps import Context


class Targets:
    """The targets of one step, with templates rendered."""

    def __init__(self, ctx: Context, target: list[str], sources: list[str]) -> None:
        """Check the paths. Raises StepError for one that steps may not write or read."""
        self.written = target
        self._paths = [ctx.writable(path) for path in target]
        self._sources = [ctx.readable(path) for path in sources]
        self._marks = [os.path.join(ctx.settings.state_path, "targets", lock_name(path)) for path in self._paths]
        self._before: list[tuple[int, int, int] | None] = []

    def are_done(self) -> bool:
        """Return True if all targets are complete and no source is newer than the oldest of them."""
        if any(os.path.lexists(mark) for mark in self._marks):
            return False
        times = [_modified(path) for path in self._paths]
        if not times or None in times:
            return False
        oldest = min(time for time in times if time is not None)
        return all((_modified(path) or 0) <= oldest for path in self._sources)

    def begin(self) -> None:
        """Create the markers. Raises StepError."""
        # A file left behind by an interrupted step is treated as new, so that a failure removes it.
        pairs = zip(self._paths, self._marks, strict=True)
        self._before = [None if os.path.lexists(mark) else file_state(path) for path, mark in pairs]
        for mark in self._marks:
            try:
                os.makedirs(os.path.dirname(mark), mode=0o700, exist_ok=True)
                os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            except OSError as error:
                raise StepError(f"the marker of the target cannot be created: {error.strerror}") from error

    def check_made(self) -> None:
        """Raise StepError if targets are missing after the step."""
        missing = [name for name, path in zip(self.written, self._paths, strict=True) if not os.path.exists(path)]
        if missing:
            raise StepError(f"the step did not create its target {', '.join(repr(name) for name in missing)}")

    def discard(self) -> None:
        """Remove the files that a failed step created or changed, because they may be incomplete."""
        for path, before in zip(self._paths, self._before, strict=True):
            if before != file_state(path):
                try:
                    os.unlink(path)
                except FileNotFoundError:
                    continue
                except OSError:
                    return  # A folder, or not writable: the markers stay, so it does not count as complete.
        self.remove_marks()

    def remove_marks(self) -> None:
        """Remove the markers, once the end of the step is recorded."""
        for mark in self._marks:
            discard(mark)  # The step then runs once more than necessary.


def _modified(path: str) -> int | None:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None
