"""A table as people read it on a terminal: columns under their titles, nothing cut."""

from __future__ import annotations

from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

BETWEEN = "  "
#: In a window that is too narrow the rows run on; a last column of words needs so much room to be folded in.
LEAST_FOLDED = 24


@dataclass(frozen=True)
class Column:
    """A title and the cells below it, as they are shown but for their colour."""

    title: str
    cells: Sequence[str]
    is_number: bool = False
    paint: Callable[[str], str] | None = None  #: puts a cell into colour


def rows(columns: Sequence[Column], room: int, bold: Callable[[str], str]) -> Iterator[str]:
    """The lines of a table in a window that is `room` wide, without their ends; the titles first."""
    # Neither cut nor folded: a name in pieces cannot be copied. What does not fit is at the end of a row.
    widths = [max(map(cell_width, (column.title, *column.cells)), default=0) for column in columns]
    before = sum(widths[:-1]) + len(BETWEEN) * (len(columns) - 1)
    fold_at = max(room - before, LEAST_FOLDED, cell_width(columns[-1].title))
    widths[-1] = min(widths[-1], fold_at)
    yield _row([_padded(each.title, width, each, bold) for each, width in zip(columns, widths, strict=True)])
    for number in range(len(columns[0].cells)):
        cells = [
            _padded(each.cells[number], width, each, each.paint)
            for each, width in zip(columns[:-1], widths[:-1], strict=True)
        ]
        last = columns[-1]
        for text in folded(last.cells[number], fold_at):
            yield _row([*cells, _padded(text, widths[-1], last, last.paint)])
            cells = [" " * width for width in widths[:-1]]


def cell_width(text: str) -> int:
    """How many places a text takes on a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def folded(text: str, width: int) -> list[str]:
    """A text in lines of at most so many places."""
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
