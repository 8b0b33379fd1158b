"""Tables for a terminal: aligned columns under their titles, wrapped at words to fit, nothing truncated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

BETWEEN = "  "
#: Where the longest words do not fit, the last column alone is wrapped, and not below this width.
MIN_WRAP_WIDTH = 24


@dataclass(frozen=True)
class Column:
    """A title and the cells below it, without colour."""

    title: str
    cells: Sequence[str]
    is_number: bool = False
    paint: Callable[[str], str] | None = None  #: adds colour to a cell


def rows(columns: Sequence[Column], room: int, bold: Callable[[str], str]) -> Iterator[str]:
    """Yield the lines of a table, titles first, for a terminal of `room` columns.

    A table that still does not fit runs over the edge: a name that is cut or wrapped cannot be copied.
    """
    widths = _wrapped_widths(columns, room - len(BETWEEN) * (len(columns) - 1))
    yield _row([_padded(each.title, width, each, bold) for each, width in zip(columns, widths, strict=True)])
    for cells in zip(*(column.cells for column in columns), strict=True):
        lines = [wrapped(cell, width) for cell, width in zip(cells, widths, strict=True)]
        for line in zip_longest(*lines, fillvalue=""):
            yield _row(
                [
                    _padded(cell, width, each, each.paint)
                    for cell, width, each in zip(line, widths, columns, strict=True)
                ]
            )


def cell_width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


@lru_cache(maxsize=1024)
def wrapped(text: str, width: int) -> tuple[str, ...]:
    """Wrap a text at words to lines of at most `width`; break longer words."""
    if cell_width(text) <= width:
        return (text,)
    from rich.console import Console
    from rich.text import Text

    return tuple(line.plain.rstrip() for line in Text(text).wrap(Console(), width, overflow="fold"))


def _wrapped_widths(columns: Sequence[Column], room: int) -> list[int]:
    """Return the width of each column; the widest are narrowed first, as far as they can be wrapped."""
    widths = [max(map(cell_width, (column.title, *column.cells))) for column in columns]
    if sum(widths) <= room:
        return widths
    lowest = max(MIN_WRAP_WIDTH, cell_width(columns[-1].title))
    least = [
        width if each.is_number else max(map(cell_width, (each.title, *" ".join(each.cells).split())))
        for width, each in zip(widths, columns, strict=True)
    ]
    least[-1] = min(least[-1], lowest)
    if sum(least) > room:
        least = [*widths[:-1], min(widths[-1], lowest)]  # It cannot fit: leave the other columns as they are.
    while sum(widths) > room and widths != least:
        widest = max(range(len(widths)), key=lambda index: (widths[index] > least[index], widths[index]))
        widths[widest] -= 1
    return widths


def _padded(text: str, width: int, column: Column, paint: Callable[[str], str] | None) -> str:
    room = " " * (width - cell_width(text))
    shown = text if paint is None else paint(text)
    return room + shown if column.is_number else shown + room


def _row(cells: list[str]) -> str:
    return BETWEEN.join(cells).rstrip(" ")
