"""The sensors that a device needs, from its hardware and blueprint files. Each file is fetched once."""

from __future__ import annotations

import re

from scflows.errors import Refused, ScflowsError
from scflows.integrations.smartcitizen.device import parse_date
from scflows.integrations.smartcitizen.hardware import hardware_mistake, hardware_place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from scflows.integrations.smartcitizen.client import Client

#: A slot of a gas sensor: the address of its converter, and the two channels that it is wired to.
SLOT = r"AS_(?P<address>\w+)_(?P<channels>\d\d)"
NAMES = "names/SCDevice.json"


class Blueprints:
    """The hardware and blueprint files."""

    def __init__(self, client: Client, now: float) -> None:
        self.client = client
        self.now = now
        self._files: dict[str, Any] = {}

    def absent(self, known: Mapping[str, Any]) -> list[str] | None:
        """Return the sensors that a device needs but does not have, as `NAME (ID)`.

        None for a device without processing, which needs none. Raises Refused, Unreachable, NotFound for files that
        cannot be fetched.
        """
        asked = known.get("postprocessing")
        if not isinstance(asked, dict) or not (asked.get("hardware_url") or asked.get("blueprint_url")):
            return None
        needed = self._needed(asked)
        data = known.get("data")
        listed = data.get("sensors") if isinstance(data, dict) else None
        present = {each.get("id") for each in listed or () if isinstance(each, dict)}
        return [f"{name} ({number})" for number, name in sorted(needed.items()) if number not in present]

    def _needed(self, asked: Mapping[str, Any]) -> dict[int, str]:
        hardware: dict[str, Any] = {}
        if asked.get("hardware_url"):
            hardware = self._file(hardware_place(asked["hardware_url"], self.client.access))
            mistake = hardware_mistake(hardware)
            if mistake:
                raise Refused(f"hardware {asked['hardware_url']}: {mistake}")
        address = asked.get("blueprint_url") or hardware.get("blueprint_url")
        if not address:
            return {}
        blueprint = self._file(hardware_place(str(address), self.client.access))
        channels = blueprint.get("channels") if isinstance(blueprint, dict) else None
        if not isinstance(channels, list):
            raise Refused(f"blueprint {address}: it has no channels")
        listed = self._file(f"{self.client.access.files_url}{NAMES}")
        numbers = {
            each["name"]: each["id"]
            for each in (listed if isinstance(listed, list) else ())
            if isinstance(each, dict) and isinstance(each.get("name"), str) and isinstance(each.get("id"), int)
        }
        made = {each.get("name") for each in channels if isinstance(each, dict)}
        wanted = {name for each in channels if isinstance(each, dict) for name in _named(each)} - made
        wanted.update(_wired(hardware.get("versions") or (), self.now))
        return {numbers[name]: name for name in wanted if name in numbers}

    def _file(self, url: str) -> Any:
        if url not in self._files:
            try:
                self._files[url] = self.client.file(url)
            except ScflowsError as error:
                self._files[url] = error
        found = self._files[url]
        if isinstance(found, ScflowsError):
            raise found
        return found


def _named(channel: Mapping[str, Any]) -> Iterator[str]:
    """Yield every text in the inputs of a channel."""
    kwargs = channel.get("kwargs")
    for value in (channel.get("depends_on"), *(kwargs.values() if isinstance(kwargs, dict) else ())):
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from (each for each in value if isinstance(each, str))


def _wired(versions: Any, now: float) -> Iterator[str]:
    """Yield the converter channels of gas sensors in the current version."""
    for version in versions:
        try:
            begin, end = parse_date(version.get("from")), parse_date(version.get("to"))
        except ValueError:
            continue
        if (begin is not None and begin > now) or (end is not None and end <= now):
            continue
        for slot in version.get("ids") or ():
            found = re.fullmatch(SLOT, str(slot))
            if found:
                yield from (f"ADC_{found['address']}_{channel}" for channel in found["channels"])
