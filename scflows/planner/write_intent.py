"""The write intent: which tasks a command is about to write. After a `kill -9`, the next command completes it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from scflows.storage import BROKEN, discard, open_regular, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.settings import Settings


@dataclass(frozen=True)
class WriteIntent:
    """The names of the tasks to write. Each of their files holds the old or the new task, never a part of one."""

    written: frozenset[str] = frozenset()  #: tasks whose files and lines are written
    removed: frozenset[str] = frozenset()

    @property
    def names(self) -> frozenset[str]:
        return self.written | self.removed

    def save(self, settings: Settings) -> None:
        """Write the intent to its file. Raises OSError."""
        content = {"written": sorted(self.written), "removed": sorted(self.removed)}
        replace(intent_file(settings), json.dumps(content).encode(), mode=0o600)


def unfinished_write(settings: Settings) -> WriteIntent:
    """Return the intent of a command that was killed; empty if there is none."""
    try:
        with open(open_regular(intent_file(settings)), "rb") as file:
            values = json.loads(file.read())
        return WriteIntent(frozenset(values["written"]), frozenset(values["removed"]))
    except BROKEN:
        return WriteIntent()


def remove_intent(settings: Settings) -> None:
    """Remove the intent, since the write is complete or undone."""
    discard(intent_file(settings))  # If it remains, the write is repeated with the same result.


def intent_file(settings: Settings) -> str:
    return os.path.join(settings.state_path, "write-intent")
