"""What a command is about to write, noted before it begins: whoever comes after a `kill -9` carries it out."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from scflows.storage import BROKEN, open_regular, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.settings import Settings


@dataclass(frozen=True)
class WriteIntent:
    """Tasks by name. Each of their files holds the old task or the new one, never half of one."""

    written: frozenset[str] = frozenset()  #: whose files and lines are written
    removed: frozenset[str] = frozenset()

    @property
    def names(self) -> frozenset[str]:
        return self.written | self.removed

    def keep(self, settings: Settings) -> None:
        """Raises OSError."""
        content = {"written": sorted(self.written), "removed": sorted(self.removed)}
        replace(intent_file(settings), json.dumps(content).encode(), mode=0o600)


def unfinished_write(settings: Settings) -> WriteIntent:
    """What a command that was cut off had begun; nothing in most cases."""
    try:
        with open(open_regular(intent_file(settings)), "rb") as file:
            values = json.loads(file.read())
        return WriteIntent(frozenset(values["written"]), frozenset(values["removed"]))
    except BROKEN:
        return WriteIntent()


def forget(settings: Settings) -> None:
    """What was begun is done, or taken back."""
    try:
        os.unlink(intent_file(settings))
    except OSError:
        pass  # Where it stays it is carried out once more, to the same end.


def intent_file(settings: Settings) -> str:
    return os.path.join(settings.state_path, "unfinished")
