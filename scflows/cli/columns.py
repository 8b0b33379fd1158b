"""Tables for a terminal: aligned columns under their titles, no wider than the terminal.

Where there is no room, columns of words are wrapped, then the columns that matter least are left out, and at last long
words are broken. Nothing is cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

BETWEEN = "  "
#: Between the parts of a result or a hint.
DOT = " · "
#: A column of words is not wrapped below this width, or its longest word, while another column can be left out.
MIN_WRAP_WIDTH = 24
#: Where words have to be broken, a column does not become narrower than this.
MIN_FOLD_WIDTH = 8


@dataclass(frozen=True)
class Column:
    """A title and the cells below it, without colour."""

    title: str
    cells: Sequence[str]
    is_number: bool = False
    paint: Callable[[str], str] | None = None  #: adds colour to a cell
    rank: int = 0  #: columns with the highest rank are left out first; 0: never


@dataclass(frozen=True)
class Layout:
    """The columns that fit a terminal, with their widths."""

    columns: Sequence[Column]
    widths: Sequence[int]
    omitted: Sequence[str] = ()  #: the titles of the columns that are left out

    def lines(self, bold: Callable[[str], str]) -> Iterator[str]:
        """Yield the lines of the table, titles first."""
        columns, widths = self.columns, self.widths
        yield from _lines([each.title for each in columns], columns, widths, [bold] * len(columns))
        paints = [each.paint for each in columns]
        for cells in zip(*(column.cells for column in columns), strict=True):
            yield from _lines(cells, columns, widths, paints)


def fit(columns: Sequence[Column], room: int | None) -> Layout:
    """Return the layout of a table for a terminal of `room` columns; None: with all columns, however wide."""
    natural = [max(map(cell_width, (column.title, *column.cells))) for column in columns]
    if room is None or _sum(natural) <= room:
        return Layout(columns, natural)
    words = [_longest_word(column, width) for column, width in zip(columns, natural, strict=True)]
    good = [max(word, min(width, MIN_WRAP_WIDTH)) for word, width in zip(words, natural, strict=True)]
    shown = list(range(len(columns)))
    while _sum([good[each] for each in shown]) > room:
        last = max(shown, key=lambda each: (columns[each].rank, each))
        if not columns[last].rank:
            break
        shown.remove(last)
    broken = [
        width if column.is_number else min(width, MIN_FOLD_WIDTH)
        for column, width in zip(columns, natural, strict=True)
    ]
    fitting = (least for least in (good, words, broken) if _sum([least[each] for each in shown]) <= room)
    least = next(fitting, broken)
    widths = _shrunk([natural[each] for each in shown], [least[each] for each in shown], room)
    omitted = [column.title for each, column in enumerate(columns) if each not in shown]
    return Layout([columns[each] for each in shown], widths, omitted)


def wrapped_text(text: str, first: str, room: int | None) -> Iterator[str]:
    """Yield the lines of a text after `first`, wrapped at words, with the same indent on all lines."""
    indent = cell_width(first)
    if room is None or room - indent < MIN_WRAP_WIDTH:
        yield first + text
        return
    for number, line in enumerate(_unbroken(text.split(" "), " ", room - indent)):
        yield (" " * indent if number else first) + line


def wrapped_parts(text: str, room: int | None) -> Iterator[str]:
    """Yield the lines of a text with parts between middle dots; a part stays whole, so that a command can be copied."""
    if room is None or shown_width(text) <= room:
        yield text
        return
    for line in _unbroken(text.split(DOT), DOT, room):
        yield from [line] if shown_width(line) <= room else _unbroken(line.split(" "), " ", room)


def shown_width(text: str) -> int:
    """Return how many columns of a terminal a text with colours takes."""
    if "\x1b" not in text:
        return cell_width(text)
    first, *others = text.split("\x1b[")
    return cell_width(first) + sum(cell_width(each.partition("m")[2]) for each in others)


def cell_width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def wrapped(text: str, width: int) -> list[str]:
    """Wrap a text at words to lines of at most `width`; break longer words."""
    if cell_width(text) <= width:
        return [text]
    lines: list[str] = []
    for line in _unbroken(text.split(" "), " ", width):
        lines += [line.rstrip()] if cell_width(line) <= width else _broken(line, width)
    return lines


def _broken(text: str, width: int) -> list[str]:
    if text.isascii():
        return [text[start : start + width] for start in range(0, len(text), width)]
    from rich.cells import chop_cells

    return chop_cells(text, width)


def _unbroken(words: Sequence[str], between: str, width: int) -> Iterator[str]:
    """Yield lines of words; one that is too long, such as a path, stays whole."""
    line = ""
    for word in words:
        if line and shown_width(line) + len(between) + shown_width(word) > width:
            yield line
            line = word
        else:
            line = f"{line}{between}{word}" if line else word
    yield line


def _longest_word(column: Column, width: int) -> int:
    """Return the width of the longest word; numbers and their units stay together."""
    if column.is_number:
        return width
    return max(map(cell_width, (column.title, *set(" ".join(column.cells).split()))))


def _sum(widths: Sequence[int]) -> int:
    return sum(widths) + len(BETWEEN) * (len(widths) - 1)


def _shrunk(widths: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Return widths that fit the room, or the least ones; the widest columns are narrowed first."""
    found = [max(low, min(width, room)) for width, low in zip(widths, least, strict=True)]
    while _sum(found) > room:
        widest = max(range(len(found)), key=lambda index: (found[index] > least[index], found[index]))
        if found[widest] <= least[widest]:
            break
        found[widest] -= 1
    return found


def _lines(
    cells: Sequence[str],
    columns: Sequence[Column],
    widths: Sequence[int],
    paints: Sequence[Callable[[str], str] | None],
) -> Iterator[str]:
    """Yield the lines of one row."""
    parts = [wrapped(cell, width) for cell, width in zip(cells, widths, strict=True)]
    for line in zip_longest(*parts, fillvalue=""):
        row = [
            _padded(cell, width, column, paint)
            for cell, width, column, paint in zip(line, widths, columns, paints, strict=True)
        ]
        yield BETWEEN.join(row).rstrip(" ")


def _padded(text: str, width: int, column: Column, paint: Callable[[str], str] | None) -> str:
    room = " " * (width - cell_width(text))
    shown = text if paint is None or not text else paint(text)
    return room + shown if column.is_number else shown + room
