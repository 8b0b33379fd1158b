"""Excel files, with openpyxl: the first sheet, whose first row is the header."""

from __future__ import annotations

import io
from contextlib import contextmanager

from scflows.connectors.tables import Format, OpenTable, check_names, import_optional
from scflows.connectors.tables.delimited import cell_text
from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from scflows.connectors.tables import Row

#: The longest text of a cell; openpyxl silently truncates longer ones.
CELL_CHARACTERS = 32767


class Excel(Format):
    """The Excel format: empty cells are null, dates and times are ISO 8601 text, text is never a formula."""

    @contextmanager
    def open(self, path: str, shown: str) -> Iterator[OpenTable]:
        with open(path, "rb") as file:
            book = _load(file, shown, read_only=True)
            try:
                sheet = book.worksheets[0]
                # The size that a file states may be wrong; the library would drop what is outside of it.
                sheet.reset_dimensions()
                lines = enumerate(sheet.iter_rows(values_only=True), 1)
                header = next((cells for _, cells in lines if any(cell is not None for cell in cells)), None)
                if header is None:
                    raise StepError(f"{shown}: empty, not even a header")
                names = [cell_text(_json(cell)) for cell in _trimmed(header)]
                check_names(names, shown)
                yield OpenTable(names, _rows(names, lines, shown))
            finally:
                book.close()

    def content(self, names: Sequence[str], rows: Sequence[Row], kinds: Mapping[str, str]) -> bytes:
        openpyxl = import_optional("openpyxl", "excel")
        book = openpyxl.Workbook(write_only=True)
        sheet = book.create_sheet()
        lines = [[_cell(sheet, name, name, None) for name in names]]
        lines += [[_cell(sheet, name, row.get(name), kinds.get(name)) for name in names] for row in rows]
        # Append only after all cells are valid, because openpyxl cannot close an unfinished sheet.
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
    openpyxl = import_optional("openpyxl", "excel")
    from zipfile import BadZipFile

    try:
        # For reading, the saved values of formulas; for writing back, the formulas.
        return openpyxl.load_workbook(file, read_only=read_only, data_only=read_only)
    except (BadZipFile, KeyError, ValueError, OSError, openpyxl.utils.exceptions.InvalidFileException) as error:
        raise StepError(f"{shown}: not an Excel file (.xlsx): {error}") from error


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
    """Return cells without the empty ones at the end, of which a sheet may have thousands."""
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
        # Excel has no time zones, so a time with a zone stays text.
        if getattr(moment, "tzinfo", None) is None:
            return moment
    if value is None or isinstance(value, bool | int | float):
        return value
    text = cell_text(value)
    if len(text) > CELL_CHARACTERS:
        raise StepError(f"column {name!r}: the text has {len(text)} characters; a cell can hold {CELL_CHARACTERS}")
    openpyxl = import_optional("openpyxl", "excel")
    try:
        cell = openpyxl.cell.WriteOnlyCell(sheet, text)
    except openpyxl.utils.exceptions.IllegalCharacterError:
        raise StepError(f"column {name!r}: Excel does not support control characters") from None
    # Otherwise a text that begins with `=` would become a formula.
    cell.data_type = "s"
    return cell


def _bytes(book: Any) -> bytes:
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()
