"""Find devices: those with processing, those to back up, or one by number, address or name."""

from __future__ import annotations

from dataclasses import dataclass, field

from scflows.errors import NotFound, UsageError
from scflows.integrations.smartcitizen.device import Device, device_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from scflows.integrations.smartcitizen.client import Client

#: The role whose devices are backed up.
RESEARCHER = 4
PROCESSING = [("q[postprocessing_id_not_null]", "1")]


@dataclass
class Listing:
    """The result of a search."""

    devices: dict[int, Device] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)  #: what could not be read
    is_whole: bool = True  #: whether it is complete


def search_devices(
    client: Client,
    query: list[tuple[str, str]],
    report: Callable[[str, int, int], None] = lambda text, done, count: None,
) -> Listing:
    """Return the devices that match a query, by id, without duplicates.

    `report` gets the number of pages read and their total (0: unknown). Raises the errors of `Client.pages`.
    """
    found = Listing()
    totals = []
    for number, page in enumerate(client.pages("devices", query), 1):
        totals.append(page.total)
        _add_items(found, page.items)
        report("pages of the search", number, page.pages or 0)
    _check_count(found, len(found.devices), totals, "devices")
    return found


def devices_of_researchers(
    client: Client, report: Callable[[str, int, int], None] = lambda text, done, count: None
) -> Listing:
    """Return the devices of researchers, which are backed up; this needs an admin's token."""
    found = Listing()
    totals, users = [], set()
    for number, page in enumerate(client.pages("users", [("q[role_mask_eq]", str(RESEARCHER))]), 1):
        totals.append(page.total)
        for user in page.items:
            owned = user.get("devices") if isinstance(user, dict) else None
            if isinstance(owned, list):
                users.add(str(user.get("id")))
                _add_items(found, owned)
            else:
                found.is_whole = False
                found.problems.append("a user without a list of devices: no task is removed")
        report("pages of the search", number, page.pages or 0)
    _check_count(found, len(users), totals, "users")
    return found


def find_device(client: Client, asked: str) -> int:
    """Return the id of a device by number, by address such as https://smartcitizen.me/kits/13486, or by unique name.

    A number is not verified. Raises UsageError for an invalid address or an ambiguous name, NotFound, and the errors of
    `Client.pages`.
    """
    text = asked.strip()
    number = _number_of(text)
    if number is not None:
        return number
    if text.lower().startswith(("http://", "https://")):
        raise UsageError(
            f"{text!r} is not the address of a device", "use for example https://smartcitizen.me/kits/13486"
        )
    if not text:
        raise UsageError("the device is empty", "give its number, address or name")
    found = search_devices(client, [("q[name_cont]", text)]).devices.values()
    same = [device for device in found if device.name.lower() == text.lower()] or list(found)
    if not same:
        raise NotFound(f"device {text!r} not found", "list devices: flows devices search")
    if len(same) > 1:
        raise UsageError(f"{len(same)} devices are named {text!r}", f"use one of their numbers: {_listed(same)}")
    return same[0].id


def _number_of(text: str) -> int | None:
    """Return the number in a text or at the end of an address."""
    from urllib.parse import urlsplit

    if text.lower().startswith(("http://", "https://")):
        try:
            words = urlsplit(text).path.strip("/").split("/")
        except ValueError:
            return None
        text = words[1] if len(words) > 1 and words[0] in ("kits", "devices") else words[-1]
    return int(text) if text.isascii() and text.isdigit() and 0 < len(text) < 12 and int(text) else None


def _listed(devices: Iterable[Device]) -> str:
    names = [f"{device.id} ({device.name})" for device in devices]
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def _check_count(found: Listing, count: int, totals: list[int | None], noun: str) -> None:
    """Mark the result as incomplete if there are fewer items than the pages announced.

    If an item is removed from a page while the next one is fetched, the others move up and one of them is missed.
    """
    known = [total for total in totals if total is not None]
    if len(known) < len(totals):
        problem = f"a page of the search does not say how many {noun} there are"
    elif count < max(known, default=0):
        problem = f"the search returned {count} {noun} of {max(known)}"
    else:
        return
    found.is_whole = False
    found.problems.append(f"{problem}: no task is removed")


def _add_items(found: Listing, items: list[Any]) -> None:
    for item in items:
        device = device_of(item)
        if device is None:
            found.is_whole = False
            found.problems.append("a device without a number: no task is removed")
        else:
            found.devices[device.id] = device
