"""The problems found by the last check, so that each one is reported once."""

from __future__ import annotations

import hashlib
import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

SCHEMA = 1


class Memory:
    """The file with the known problems of a set of devices that are checked together."""

    def __init__(self, state_path: str, asked: Iterable[int], is_all: bool) -> None:
        numbers = sorted(asked)
        name = "all" if is_all else "-".join(map(str, numbers))
        if len(name) > 60:
            name = hashlib.sha256(name.encode()).hexdigest()[:32]
        self.path = os.path.join(state_path, "checks", f"{name}.json")
        self.problem = ""  #: why the known problems cannot be used
        self.devices: dict[str, dict[str, Any]] = self._read()

    def problems(self, device: int) -> dict[str, dict[str, Any]]:
        """Return the known problems of a device by key, each with `since` (ISO 8601) and `message`."""
        found = self.devices.get(str(device))
        return dict(found) if isinstance(found, dict) else {}

    def keep(self, device: int, problems: dict[str, dict[str, Any]]) -> None:
        """Store the current problems of a device."""
        if problems:
            self.devices[str(device)] = problems
        else:
            self.devices.pop(str(device), None)

    def write(self) -> None:
        """Write the file. Raises OSError."""
        from scflows.storage import replace

        value = {"schema": SCHEMA, "devices": self.devices}
        replace(self.path, json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace"))

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            with open(self.path, encoding="utf-8") as file:
                value = json.load(file)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            return self._forget(str(error.strerror) if isinstance(error, OSError) else "not valid JSON")
        if not isinstance(value, dict) or value.get("schema") != SCHEMA:
            return self._forget("written by another version")
        if not _is_memory(value.get("devices")):
            return self._forget("invalid content")
        found: dict[str, dict[str, Any]] = value["devices"]
        return found

    def _forget(self, why: str) -> dict[str, dict[str, Any]]:
        self.problem = f"{self.path}: {why}; it is replaced, and all problems are reported again"
        return {}


def _is_memory(devices: Any) -> bool:
    return isinstance(devices, dict) and all(
        isinstance(problems, dict)
        and all(
            isinstance(entry, dict) and all(isinstance(text, str) for text in entry.values())
            for entry in problems.values()
        )
        for problems in devices.values()
    )
