"""CSV and TSV files: a header and rows of text, in UTF-8."""

from __future__ import annotations

import csv
import os
from contextlib import contextmanager

from scflows import documents
from scflows.connectors.tables import Format, OpenTable, check_names
from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import IO, Any

    from scflows.connectors.tables import Row

#: The longest cell. The csv module's own limit of 128 KiB is too short for long texts and JSON values.
CELL_CHARACTERS = 16 * 1024 * 1024
#: How much of a file is searched for the delimiter.
HEADER_CHARACTERS = 64 * 1024
#: How many rows are written together.
BATCH = 500
#: The types that the csv module writes as `cell_text` does.
PLAIN = {str, float, type(None)}
#: Integers beyond may be too long to be written.
LARGE = 1 << 64
DELIMITERS = (",", ";", "\t")


class Delimited(Format):
    """The CSV and TSV formats: cells are unchanged text, null is an empty cell.

    Without a `delimiter`, a file that exists is read with the one that its header has; otherwise it is a comma.
    """

    grows = True

    def __init__(self, delimiter: str | None) -> None:
        self.delimiter = delimiter

    @contextmanager
    def open(self, path: str, shown: str) -> Iterator[OpenTable]:
        csv.field_size_limit(CELL_CHARACTERS)
        with open(path, encoding="utf-8-sig", newline="") as file:
            if self.delimiter is None:
                self.delimiter = _delimiter_of(file.read(HEADER_CHARACTERS))
                file.seek(0)
            # `strict`: an unclosed quote is an error, instead of putting the rest of the file into one cell.
            lines = _lines(csv.reader(file, delimiter=self.delimiter, strict=True), shown)
            number, names = next(lines, (0, []))
            if not number and not os.fstat(file.fileno()).st_size:
                raise StepError(f"{shown}: empty, not even a header")
            check_names(names, shown)
            yield OpenTable(names, _mappings(names, lines, shown))

    def content(self, names: Sequence[str], rows: Sequence[Row], kinds: Mapping[str, str]) -> bytes:
        return self._text(names, rows, True).encode()

    def addition(self, names: Sequence[str], rows: Sequence[Row]) -> bytes:
        return self._text(names, rows, False).encode()

    def _text(self, names: Sequence[str], rows: Sequence[Row], header: bool) -> str:
        import io

        text = io.StringIO()
        self._write(text, names, rows, header)
        return text.getvalue()

    def save(self, file: IO[bytes], names: Sequence[str], rows: Iterable[Row], kinds: Mapping[str, str]) -> None:
        import io

        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        try:
            self._write(text, names, rows, True)
        finally:
            text.detach()

    def _write(self, text: IO[str], names: Sequence[str], rows: Iterable[Row], header: bool) -> None:
        import io
        from itertools import islice

        writer = csv.writer(text, delimiter=self.delimiter or ",", lineterminator="\n")
        # Python before 3.11.9 does not quote a carriage return, and a leading byte order mark needs quotes to be text.
        careful = csv.writer(text, delimiter=self.delimiter or ",", lineterminator="\n", quoting=csv.QUOTE_ALL)
        if header:
            begins_with_mark = bool(names) and names[0].startswith("\ufeff")
            (careful if begins_with_mark or any("\r" in name for name in names) else writer).writerow(names)
        remaining = iter(rows)
        while some := list(islice(remaining, BATCH)):
            lines = [_cells(row, names) for row in some]
            batch = io.StringIO()
            csv.writer(batch, delimiter=self.delimiter or ",", lineterminator="\n").writerows(lines)
            content = batch.getvalue()
            if "\r" not in content:
                text.write(content)
                continue
            for line in lines:
                (careful if any("\r" in cell for cell in line if isinstance(cell, str)) else writer).writerow(line)


def _cells(row: Row, names: Sequence[str]) -> list[Any]:
    """Return the cells of a row as texts, or as values that the csv module writes alike."""
    cells = list(map(row.get, names))
    return cells if PLAIN.issuperset(map(type, cells)) else [cell_text(cell) for cell in cells]


def _delimiter_of(text: str) -> str:
    """Return the first of DELIMITERS that the header has outside of quotes; a comma if it has none."""
    found = set()
    is_quoted = False
    for letter in text.lstrip("\r\n"):
        if letter == '"':
            is_quoted = not is_quoted
        elif not is_quoted:
            if letter in "\r\n":
                break
            found.add(letter)
    return next((each for each in DELIMITERS if each in found), ",")


def cell_text(value: Any) -> str:
    """Return the text of a cell: null is empty, lists and mappings are JSON."""
    if value is None:
        return ""
    # As in JSON, without its cost.
    if (type(value) is float and value - value == 0) or (type(value) is int and abs(value) < LARGE):
        return repr(value)
    return value if isinstance(value, str) else documents.json_text(value)


def _lines(reader: Any, shown: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines that are not blank, with their numbers."""
    number = 1
    try:
        for cells in reader:
            if cells:
                yield number, cells
            number = reader.line_num + 1
    except csv.Error as error:
        raise StepError(f"{shown}: line {number}: {error}") from None


def _mappings(names: list[str], lines: Iterator[tuple[int, list[str]]], shown: str) -> Iterator[tuple[int, Row]]:
    width = len(names)
    for number, cells in lines:
        if len(cells) != width:
            raise StepError(f"{shown}: row {number} has {len(cells)} cells, the header {width}")
        yield number, dict(zip(names, cells, strict=False))
