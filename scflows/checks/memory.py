"""What was wrong with devices when they were checked last, so that each thing is told once."""

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
    """A file for each set of devices that is checked together: what one check has told is news to another."""

    def __init__(self, state_path: str, asked: Iterable[int], is_all: bool) -> None:
        numbers = sorted(asked)
        name = "all" if is_all else "-".join(map(str, numbers))
        if len(name) > 60:
            name = hashlib.sha256(name.encode()).hexdigest()[:32]
        self.path = os.path.join(state_path, "checks", f"{name}.json")
        self.devices: dict[str, dict[str, Any]] = self._read()

    def problems(self, device: int) -> dict[str, dict[str, Any]]:
        """Those a device had, by their keys: `since` (ISO 8601), `message`."""
        found = self.devices.get(str(device))
        return dict(found) if isinstance(found, dict) else {}

    def keep(self, device: int, problems: dict[str, dict[str, Any]]) -> None:
        """Those it has now."""
        if problems:
            self.devices[str(device)] = problems
        else:
            self.devices.pop(str(device), None)

    def write(self) -> None:
        """Raises OSError."""
        from scflows.safefile import replace

        value = {"schema": SCHEMA, "devices": self.devices}
        replace(self.path, json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace"))

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            with open(self.path, encoding="utf-8") as file:
                value = json.load(file)
        except (OSError, ValueError):
            return {}  # Then everything that is wrong is told once more.
        devices = value.get("devices") if isinstance(value, dict) and value.get("schema") == SCHEMA else None
        return {key: each for key, each in devices.items() if isinstance(each, dict)} if devices else {}
