"""Take together what an API gives page by page."""

from __future__ import annotations

from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from scflows.connectors.http.request import Page

    Parameters = list[tuple[str, str]]
    Fetch = Callable[[str, Parameters], Page]
    Filter = Callable[[str, Any], Any]

LINK, PAGE, OFFSET, CURSOR = "link", "page", "offset", "cursor"
#: The required properties of each kind of pagination.
NEEDED = {LINK: (), PAGE: ("param",), OFFSET: ("param",), CURSOR: ("next",)}
PROPERTIES = ("by", "param", "next", "items", "end_status", "max_pages")


def mistakes_of(given: dict[str, Any], check_filter: Callable[[str], Any]) -> Iterator[str]:
    """Yield the mistakes in the `paginate` of a step."""
    from scflows.validation import nearest

    for key in given:
        if key not in PROPERTIES:
            yield f"unknown property {key!r}{nearest(str(key), PROPERTIES) or '; use ' + ', '.join(PROPERTIES)}"
    by = given.get("by")
    if by not in NEEDED if isinstance(by, str) else True:
        yield f"`by` must be one of {', '.join(NEEDED)}"
        return
    for key in NEEDED[str(by)]:
        if given.get(key) is None:
            yield f"`{key}` is missing; pagination by {by} needs it"
    for key in ("param", "next", "items"):
        value = given.get(key)
        if value is not None and (not isinstance(value, str) or not value):
            yield f"`{key}` must be text"
        elif value is not None and key != "param":
            try:
                check_filter(value)
            except StepError as error:
                yield f"`{key}`: {error}"
    statuses = given.get("end_status")
    if statuses is not None and not all(_is_status(each) for each in _list(statuses)):
        yield "`end_status` must be an HTTP status from 400 to 599, or a list of them"
    most = given.get("max_pages")
    if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
        yield "`max_pages` must be an integer of at least 1"


def all_items(given: dict[str, Any], uri: str, parameters: Parameters, fetch: Fetch, filter: Filter) -> list[Any]:
    """Return the items of all pages. Raises StepError for a page without a list and for an endless loop."""
    collected: list[Any] = []
    asked: set[tuple[str, tuple[tuple[str, str], ...]]] = set()
    by, number, fetched = given["by"], 0, 0
    if by != LINK and given.get("param") is not None:
        # Not twice in one request: services differ in which of the two they take.
        uri, parameters = _moved(given["param"], uri, parameters)
    if by in (PAGE, OFFSET):
        number = _first_number(given, parameters)
        parameters = _with(parameters, given["param"], str(number))
    while True:
        here = (uri, tuple(parameters))
        if here in asked:
            raise StepError(f"page {fetched} leads back to an earlier page")
        asked.add(here)
        try:
            page = fetch(uri, parameters)
        except StepError as error:
            # On the first page, such a status is more likely a wrong address than an empty collection.
            if fetched and error.details.get("status_code") in _list(given.get("end_status")):
                return collected
            raise
        fetched += 1
        items = _items(given, page.value, filter, fetched)
        collected.extend(items)
        if fetched == given.get("max_pages"):
            return collected
        if by in (PAGE, OFFSET):
            if not items:
                return collected
            number += len(items) if by == OFFSET else 1
            parameters = _with(parameters, given["param"], str(number))
            continue
        # A page without items may still have a next one, for example if the service filters after it has paged.
        following = page.link if by == LINK else filter(given["next"], page.value)
        if following is None or following is False or following == "":
            return collected
        if by == LINK:
            uri, parameters = str(following), []
        elif not isinstance(following, str | int | float) or isinstance(following, bool):
            raise StepError(f"page {fetched}: `next` must return text or a number, and null at the end")
        elif _is_address(given, following):
            from urllib.parse import urljoin

            uri, parameters = urljoin(page.address, str(following)), []
        else:
            parameters = _with(parameters, given["param"], str(following))


def _is_address(given: dict[str, Any], following: Any) -> bool:
    """Return True if `next` gave the address of the next page, not a value for `param`."""
    if given.get("param") is None:
        return True
    if not isinstance(following, str):
        return False
    # A slash alone does not make a path: it is also a character of base64.
    return following.startswith(("http://", "https://", "?")) or (following.startswith("/") and "?" in following)


def _is_status(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 400 <= value <= 599


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _items(given: dict[str, Any], value: Any, filter: Filter, page: int) -> list[Any]:
    items = filter(given["items"], value) if given.get("items") is not None else value
    if items is None:
        return []
    if not isinstance(items, list):
        problem = "`items` does not return a list" if given.get("items") is not None else "not a list; set `items`"
        raise StepError(f"page {page}: {problem}")
    return items


def _first_number(given: dict[str, Any], parameters: Parameters) -> int:
    """Return the first page or offset: from the query, otherwise page 1 or offset 0."""
    for name, value in parameters:
        if name == given["param"]:
            try:
                return int(value)
            except ValueError:
                raise StepError(f"parameter {name!r} must be a number to start from") from None
    return 1 if given["by"] == PAGE else 0


def _moved(name: str, uri: str, parameters: Parameters) -> tuple[str, Parameters]:
    """Move a parameter from the query of a uri to the others, which take precedence."""
    from urllib.parse import unquote_plus

    address, mark, fragment = uri.partition("#")
    address, question, query = address.partition("?")
    pairs = [pair.partition("=") for pair in query.split("&")]
    found = [unquote_plus(value) for key, _, value in pairs if unquote_plus(key) == name]
    if not found:
        return uri, parameters
    others = "&".join("".join(pair) for pair in pairs if unquote_plus(pair[0]) != name)
    if all(key != name for key, _ in parameters):
        parameters = [*parameters, (name, found[-1])]
    return address + (question + others if others else "") + mark + fragment, parameters


def _with(parameters: Parameters, name: str, value: str) -> Parameters:
    return [each for each in parameters if each[0] != name] + [(name, value)]
