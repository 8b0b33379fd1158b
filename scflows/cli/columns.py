"""Tables for a terminal: aligned columns under their titles, nothing truncated."""

from __future__ import annotations

from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

BETWEEN = "  "
#: The last column is wrapped only if at least this much width is left; otherwise rows overflow the window.
MIN_WRAP_WIDTH = 24


@dataclass(frozen=True)
class Column:
    """A title and the cells below it, as shown but without colour."""

    title: str
    cells: Sequence[str]
    is_number: bool = False
    paint: Callable[[str], str] | None = None  #: adds colour to a cell


def rows(columns: Sequence[Column], room: int, bold: Callable[[str], str]) -> Iterator[str]:
    """Return the lines of a table for a window `room` characters wide, titles first, without line ends."""
    # Only the last column is wrapped, because a name in pieces cannot be copied.
    widths = [max(map(cell_width, (column.title, *column.cells)), default=0) for column in columns]
    before = sum(widths[:-1]) + len(BETWEEN) * (len(columns) - 1)
    wrap_width = max(room - before, MIN_WRAP_WIDTH, cell_width(columns[-1].title))
    widths[-1] = min(widths[-1], wrap_width)
    yield _row([_padded(each.title, width, each, bold) for each, width in zip(columns, widths, strict=True)])
    for number in range(len(columns[0].cells)):
        cells = [
            _padded(each.cells[number], width, each, each.paint)
            for each, width in zip(columns[:-1], widths[:-1], strict=True)
        ]
        last = columns[-1]
        for text in wrapped(last.cells[number], wrap_width):
            yield _row([*cells, _padded(text, widths[-1], last, last.paint)])
            cells = [" " * width for width in widths[:-1]]


def cell_width(text: str) -> int:
    """Return the number of terminal columns that a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def wrapped(text: str, width: int) -> list[str]:
    """Return a text as lines of at most `width` columns."""
    if cell_width(text) <= width:
        return [text]
    from rich.console import Console
    from rich.text import Text

    return [line.plain.rstrip() for line in Text(text).wrap(Console(), width, overflow="fold")]


def _padded(text: str, width: int, column: Column, paint: Callable[[str], str] | None) -> str:
    room = " " * (width - cell_width(text))
    shown = text if paint is None else paint(text)
    return room + shown if column.is_number else shown + room


def _row(cells: list[str]) -> str:
    return BETWEEN.join(cells).rstrip(" ")
