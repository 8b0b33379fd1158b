"""Find devices: those that ask for processing, those to back up, one by number, address or name."""

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
    """What a search found."""

    devices: dict[int, Device] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)  #: what could not be read
    is_whole: bool = True  #: whether nothing was missed


def search_devices(
    client: Client, query: list[tuple[str, str]], tell: Callable[[str, int, int], None] = lambda text, done, count: None
) -> Listing:
    """The devices that fit a query, by id; those that stand on two pages once.

    `tell` hears how many pages were read, of how many (0: nobody knows). Raises what `Client.pages` does.
    """
    found = Listing()
    totals = []
    for number, page in enumerate(client.pages("devices", query), 1):
        totals.append(page.total)
        _take(found, page.items)
        tell("pages of the search", number, page.pages or 0)
    _count(found, len(found.devices), totals, "devices")
    return found


def devices_of_researchers(
    client: Client, tell: Callable[[str, int, int], None] = lambda text, done, count: None
) -> Listing:
    """The devices whose owners' role has them backed up; the token must be an admin's."""
    found = Listing()
    totals, users = [], set()
    for number, page in enumerate(client.pages("users", [("q[role_mask_eq]", str(RESEARCHER))]), 1):
        totals.append(page.total)
        for user in page.items:
            owned = user.get("devices") if isinstance(user, dict) else None
            if isinstance(owned, list):
                users.add(str(user.get("id")))
                _take(found, owned)
            else:
                found.is_whole = False
                found.problems.append("a user without a list of devices: no task is removed")
        tell("pages of the search", number, page.pages or 0)
    _count(found, len(users), totals, "users")
    return found


def find_device(client: Client, asked: str) -> int:
    """The id of a device that is named by number, by an address such as https://smartcitizen.me/kits/13486, or by a
    name that one device has.

    A number is not looked up. Raises UsageError for an address of no device and for a name that several have,
    NotFound, and what `Client.pages` does.
    """
    text = asked.strip()
    number = _number_of(text)
    if number is not None:
        return number
    if text.lower().startswith(("http://", "https://")):
        raise UsageError(f"{text!r} is no address of a device", "such as https://smartcitizen.me/kits/13486")
    if not text:
        raise UsageError("the device has no name", "give its number, address or name")
    found = search_devices(client, [("q[name_cont]", text)]).devices.values()
    same = [device for device in found if device.name.lower() == text.lower()] or list(found)
    if not same:
        raise NotFound(f"there is no device named {text!r}", "search with: flows devices search TEXT")
    if len(same) > 1:
        raise UsageError(f"{len(same)} devices are named {text!r}", f"say which by its number: {_listed(same)}")
    return same[0].id


def _number_of(text: str) -> int | None:
    """The number that a text is, or that ends the path of an address of the platform."""
    from urllib.parse import urlsplit

    if text.lower().startswith(("http://", "https://")):
        try:
            words = urlsplit(text).path.strip("/").split("/")
        except ValueError:
            return None
        text = words[1] if len(words) > 1 and words[0] in ("kits", "devices") else words[-1]
    return int(text) if text.isascii() and text.isdigit() and 0 < len(text) < 12 and int(text) else None


def _listed(devices: Iterable[Device]) -> str:
    told = [f"{device.id} ({device.name})" for device in devices]
    return ", ".join(told[:5]) + (", …" if len(told) > 5 else "")


def _count(found: Listing, count: int, totals: list[int | None], what: str) -> None:
    """Whether so many different ones are all that there are, by what each page says of that.

    One that is taken off a page while the next one is read moves all others, so that one of them is on neither. Then
    there are fewer than the first page said.
    """
    known = [total for total in totals if total is not None]
    if len(known) < len(totals):
        told = f"a page of the search does not say how many {what} there are"
    elif count < max(known, default=0):
        told = f"the search returned {count} {what} of {max(known)}"
    else:
        return
    found.is_whole = False
    found.problems.append(f"{told}: no task is removed")


def _take(found: Listing, items: list[Any]) -> None:
    for item in items:
        device = device_of(item)
        if device is None:
            found.is_whole = False
            found.problems.append("a device without a number: no task is removed")
        else:
            found.devices[device.id] = device
