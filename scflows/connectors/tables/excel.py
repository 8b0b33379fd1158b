"""Excel, by openpyxl: the first sheet, its first row the header."""

from __future__ import annotations

import io
from contextlib import contextmanager

from scflows.connectors.tables import Format, OpenTable, check_names, needed
from scflows.connectors.tables.delimited import cell_text
from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from scflows.connectors.tables import Row

#: What a cell can hold; openpyxl cuts longer texts without a word.
CELL_CHARACTERS = 32767


class Excel(Format):
    """Empty cells are null, dates and times ISO 8601 text; texts are never taken for formulas."""

    @contextmanager
    def open(self, path: str, shown: str) -> Iterator[OpenTable]:
        with open(path, "rb") as file:
            book = _load(file, shown, read_only=True)
            try:
                lines = enumerate(book.worksheets[0].iter_rows(values_only=True), 1)
                header = next((cells for _, cells in lines if any(cell is not None for cell in cells)), None)
                if header is None:
                    raise StepError(f"{shown}: empty, without even a header")
                names = [cell_text(_json(cell)) for cell in _trimmed(header)]
                check_names(names, shown)
                yield OpenTable(names, _rows(names, lines, shown))
            finally:
                book.close()

    def content(self, names: Sequence[str], rows: Sequence[Row], kinds: Mapping[str, str]) -> bytes:
        openpyxl = needed("openpyxl", "excel")
        book = openpyxl.Workbook(write_only=True)
        sheet = book.create_sheet()
        lines = [[_cell(sheet, name, name, None) for name in names]]
        lines += [[_cell(sheet, name, row.get(name), kinds.get(name)) for name in names] for row in rows]
        # Only now: a sheet that is begun and not finished leaves a file that its library cannot close.
        for line in lines:
            sheet.append(line)
        return _bytes(book)

    def extended(self, old: bytes, names: Sequence[str], rows: Sequence[Row]) -> bytes:
        book = _load(io.BytesIO(old), "the file", read_only=False)
        sheet = book.worksheets[0]
        for row in rows:
            sheet.append([_cell(sheet, name, row.get(name), None) for name in names])
        return _bytes(book)


def _load(file: Any, shown: str, read_only: bool) -> Any:
    openpyxl = needed("openpyxl", "excel")
    from zipfile import BadZipFile

    try:
        # The values that formulas had when the file was saved; to write it back, the formulas themselves.
        return openpyxl.load_workbook(file, read_only=read_only, data_only=read_only)
    except (BadZipFile, KeyError, ValueError, OSError, openpyxl.utils.exceptions.InvalidFileException) as error:
        raise StepError(f"{shown}: no Excel file (.xlsx): {error}") from error


def _rows(names: list[str], lines: Iterator[tuple[int, Any]], shown: str) -> Iterator[tuple[int, Row]]:
    width = len(names)
    for number, cells in lines:
        filled = _trimmed(cells)
        if len(filled) > width:
            raise StepError(f"{shown}: row {number} has {len(filled)} cells, the header {width}")
        if filled:
            values = [_json(cell) for cell in filled] + [None] * (width - len(filled))
            yield number, dict(zip(names, values, strict=True))


def _trimmed(cells: Sequence[Any]) -> Sequence[Any]:
    """Without the empty cells at the end, of which a sheet may have thousands."""
    width = len(cells)
    while width and cells[width - 1] is None:
        width -= 1
    return cells[:width]


def _json(value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)


def _cell(sheet: Any, name: str, value: Any, kind: str | None) -> Any:
    if isinstance(value, str) and kind in ("date", "datetime"):
        from datetime import date, datetime

        moment = date.fromisoformat(value) if kind == "date" else datetime.fromisoformat(value)
        # A sheet knows no time zones: what has one stays text.
        if getattr(moment, "tzinfo", None) is None:
            return moment
    if value is None or isinstance(value, bool | int | float):
        return value
    text = cell_text(value)
    if len(text) > CELL_CHARACTERS:
        raise StepError(f"column {name!r}: a text of {len(text)} characters; a cell holds {CELL_CHARACTERS}")
    openpyxl = needed("openpyxl", "excel")
    try:
        cell = openpyxl.cell.WriteOnlyCell(sheet, text)
    except openpyxl.utils.exceptions.IllegalCharacterError:
        raise StepError(f"column {name!r}: control characters, which Excel cannot hold") from None
    # Else a text that begins with `=` would be a formula.
    cell.data_type = "s"
    return cell


def _bytes(book: Any) -> bytes:
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()
