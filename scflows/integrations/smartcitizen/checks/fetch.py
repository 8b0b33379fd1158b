"""What the platform says of devices, with as few requests as there can be."""

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

#: Up to how many devices are asked for one by one.
FEW = 3
#: After so many in a row that got no answer, the others are not asked for.
MOST_AWAY = 3


def scheduled_devices(settings: Settings) -> list[int]:
    """The devices that have a task here, whatever it does to them."""
    from scflows.cron.task import TaskStore

    found = set()
    for task in TaskStore(settings).read_all()[0]:
        number = str(task.params.get("device", ""))
        if number.isascii() and number.isdigit() and int(number):
            found.add(int(number))
    return sorted(found)


def devices_told(
    client: Client, numbers: Iterable[int], tell: Callable[[str, int, int], None]
) -> Iterator[tuple[int, dict[str, Any] | ScflowsError]]:
    """Each device's JSON, or why there is none; `tell` hears how far it is.

    Pages of a hundred where there are fewer of them than devices, one request for each that is on no page. Raises
    Unreachable when nothing answers any more, Refused for a token that is not taken.
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
            tell("devices", count - len(missing), count)
            if page.pages is not None and page.pages - number > len(missing):
                break
    away = 0
    for done, id in enumerate(list(missing), count - len(missing) + 1):
        try:
            if away >= MOST_AWAY:
                raise Unreachable("not asked for, since the platform does not answer")
            known = client.api(f"devices/{id}")
            away = 0
            if not isinstance(known, dict) or known.get("id") != id:
                raise Unreachable(f"what the platform says of {id} is no device")
            yield id, known
        except (NotFound, Refused, Unreachable) as error:
            away += isinstance(error, Unreachable)
            if count == away:
                raise
            yield id, error
        tell("devices", done, count)
