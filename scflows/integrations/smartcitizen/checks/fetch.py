"""Fetch devices from the platform with as few requests as possible."""

from __future__ import annotations

from scflows.errors import NotFound, Refused, Unreachable
from scflows.integrations.smartcitizen.search import PROCESSING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from scflows.errors import ScflowsError
    from scflows.integrations.smartcitizen.client import Client
    from scflows.settings import Settings

#: The maximum number of devices to fetch one by one.
FEW = 3
#: The number of consecutive failures after which no more devices are requested.
MOST_AWAY = 3


def scheduled_devices(settings: Settings) -> list[int]:
    """Return the devices that have any task on this machine."""
    from scflows.cron.task import TaskStore

    found = set()
    for task in TaskStore(settings).read_all()[0]:
        number = str(task.params.get("device", ""))
        if number.isascii() and number.isdigit() and int(number):
            found.add(int(number))
    return sorted(found)


def devices_told(
    client: Client, numbers: Iterable[int], report: Callable[[str, int, int], None]
) -> Iterator[tuple[int, dict[str, Any] | ScflowsError]]:
    """Yield the JSON of each device, or the error; `report` gets the progress.

    Fetches pages of a hundred devices if that takes fewer requests, and the rest one by one. Raises Unreachable if the
    platform does not respond, Refused for an invalid token.
    """
    missing = dict.fromkeys(numbers)
    count = len(missing)
    if count > FEW:
        for number, page in enumerate(client.pages("devices", PROCESSING), 1):
            for each in page.items:
                id = each.get("id") if isinstance(each, dict) else None
                if id in missing:
                    del missing[id]
                    yield id, each
            report("devices", count - len(missing), count)
            if page.pages is not None and page.pages - number > len(missing):
                break
    away = 0
    for done, id in enumerate(list(missing), count - len(missing) + 1):
        try:
            if away >= MOST_AWAY:
                raise Unreachable("not requested, because the platform does not respond")
            known = client.api(f"devices/{id}")
            away = 0
            if not isinstance(known, dict) or known.get("id") != id:
                raise Unreachable(f"the response of the platform for {id} is not a device")
            yield id, known
        except (NotFound, Refused, Unreachable) as error:
            away += isinstance(error, Unreachable)
            if count == away:
                raise
            yield id, error
        report("devices", done, count)
