"""Hardware files: their addresses and their validation; each is fetched once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed

from scflows.errors import Refused, ScflowsError, Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from scflows.integrations.smartcitizen.access import Access
    from scflows.integrations.smartcitizen.client import Client

#: The number of parallel requests.
AT_ONCE = 8
#: Files of this repository, in any branch, as raw file or web page, are fetched from the configured file host, as the
#: connector 1.5.9 does (`to_base_url`).
REPOSITORY = (
    r"^https?://(?:raw\.githubusercontent\.com/fablabbcn/smartcitizen-data/.+?"
    r"|github\.com/fablabbcn/smartcitizen-data/(?:blob|raw)/.+?)"
    r"/(?P<folder>hardware|blueprints)/(?P<name>[^/?#]+?)(?:\.json)?$"
)
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"


def hardware_place(written: str | None, access: Access) -> str:
    """Return the address of a device's hardware file. Raises Refused, with the reason, if there is none."""
    import re
    from urllib.parse import urlsplit

    text = (written or "").strip()
    if not text:
        raise Refused("no hardware_url")
    if not text.lower().startswith(("http://", "https://")):
        if not re.fullmatch(NAME, text) or ".." in text:
            raise Refused(f"hardware {text[:60]!r} is neither an address nor a name")
        return f"{access.files_url}hardware/{text}.json"
    known = re.match(REPOSITORY, text)
    if known:
        return f"{access.files_url}{known['folder']}/{known['name']}.json"
    try:
        host = (urlsplit(text).hostname or "").lower()
    except ValueError:
        raise Refused(f"hardware {text[:60]!r} is not a valid address") from None
    if not access.is_file_host(text):
        raise Refused(f"hardware on {host}, which is not among SC_ALLOWED_HOSTS")
    return text


def hardware_mistake(value: Any) -> str:
    """Return the first mistake in a hardware file; "" if there is none."""
    if not isinstance(value, dict):
        return "it is not a mapping"
    for key in ("blueprint_url", "description", "forwarding"):
        if not isinstance(value.get(key), str | None):
            return f"its {key} is not text"
    versions = value.get("versions")
    if not isinstance(versions, list | None):
        return "its versions are not a list"
    for version in versions or ():
        if not isinstance(version, dict) or not isinstance(version.get("ids"), dict | None):
            return "a version has no ids"
        for key in ("from", "to"):
            if not _is_date(version.get(key)):
                return f"a version's {key} is not a date"
    return ""


def hardware_problems(
    written: Iterable[str | None], client: Client, report: Callable[[int, int], None] = lambda done, count: None
) -> tuple[dict[str | None, str], list[str]]:
    """Return why each hardware_url cannot be used ("" if it can), and the files that were unreachable.

    Every file is fetched once. After the first outage there are no more retries. `report` gets the number of files done
    and their total.
    """
    places: dict[str | None, str] = {}
    problems: dict[str | None, str] = {}
    for each in set(written):
        try:
            places[each] = hardware_place(each, client.access)
        except Refused as error:
            problems[each] = str(error)
    addresses = sorted(set(places.values()))
    found: dict[str, str] = {}
    outages: list[str] = []

    def look(address: str) -> str:
        try:
            mistake = hardware_mistake(client.file(address, is_patient=not outages))
        except Unreachable as error:
            outages.append(address)
            return str(error)
        except ScflowsError as error:
            return str(error)
        return f"{address}: {mistake}" if mistake else ""

    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            asked = {pool.submit(look, address): address for address in addresses}
            for done, future in enumerate(as_completed(asked), 1):
                found[asked[future]] = future.result()
                report(done, len(addresses))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    problems.update((each, found[place]) for each, place in places.items())
    return problems, sorted(outages)


def _is_date(value: Any) -> bool:
    from scflows.integrations.smartcitizen.device import parse_date

    if isinstance(value, int | float) and not isinstance(value, bool):
        return True
    try:
        parse_date(value)
    except ValueError:
        return False
    return True
