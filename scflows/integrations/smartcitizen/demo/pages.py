"""Paginate a list like the platform, with the total and the next page in the headers."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    Item = TypeVar("Item")

PER_PAGE = 25


def page_of(
    items: list[Item], query: dict[str, str], link: Callable[[dict[str, str]], str], overlap: int = 0
) -> tuple[list[Item], dict[str, str]]:
    """Return the items of the requested page and the headers, repeating `overlap` items of the page before."""
    size = max(1, _number(query.get("per_page"), PER_PAGE))
    page = max(1, _number(query.get("page"), 1))
    last = max(1, -(-len(items) // size))
    start = (page - 1) * size
    if "q[s]" not in query and page > 1:
        overlap = max(overlap, 1)  # Without an order, pages overlap.
    links = [f'<{link({**query, "page": str(last)})}>; rel="last"']
    if page < last:
        links.append(f'<{link({**query, "page": str(page + 1)})}>; rel="next"')
    headers = {"Total": str(len(items)), "Per-Page": str(size), "Link": ", ".join(links)}
    return items[max(0, start - overlap if page > 1 else start) : start + size], headers


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isdigit() else default
