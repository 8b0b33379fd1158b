"""Excel files, with openpyxl: the first sheet, whose first row is the header."""

from __future__ import annotations

import io
import re
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
#: How a text in a workbook writes a character that XML would change.
ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")


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
        if "" in names:
            raise StepError("Excel needs a name for each column; one is empty")
        for row in rows:
            _check_row(names, row)
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
        _keep_digits(book)
        sheet = book.worksheets[0]
        for row in rows:
            _check_row(names, row)
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
    if isinstance(value, str):
        return ESCAPED.sub(lambda found: chr(int(found[1], 16)), value) if "_x" in value else value
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _check_row(names: Sequence[str], row: Row) -> None:
    if all(row.get(name) in (None, "") for name in names):
        raise StepError("a row has no values; Excel cannot store an empty row")


def _cell(sheet: Any, name: str, value: Any, kind: str | None) -> Any:
    if isinstance(value, str) and kind in ("date", "datetime"):
        from datetime import date, datetime

        moment = date.fromisoformat(value) if kind == "date" else datetime.fromisoformat(value)
        # Excel has no time zones, no microseconds and nothing before 1900. Such a time stays text.
        if getattr(moment, "tzinfo", None) is None and _is_held(moment):
            return moment
    if value is None or isinstance(value, bool):
        return value
    openpyxl = import_optional("openpyxl", "excel")
    if isinstance(value, int | float):
        return _number(openpyxl, sheet, name, value)
    text = _escaped(cell_text(value))
    if len(text) > CELL_CHARACTERS:
        raise StepError(f"column {name!r}: the text has {len(text)} characters; a cell can hold {CELL_CHARACTERS}")
    try:
        cell = openpyxl.cell.WriteOnlyCell(sheet, text)
    except openpyxl.utils.exceptions.IllegalCharacterError:
        raise StepError(f"column {name!r}: Excel does not support control characters") from None
    if "\ufffe" in text or "\uffff" in text:
        raise StepError(f"column {name!r}: Excel does not support the characters U+FFFE and U+FFFF")
    # Otherwise a text that begins with `=` would become a formula.
    cell.data_type = "s"
    return cell


def _number(openpyxl: Any, sheet: Any, name: str, value: float) -> Any:
    if isinstance(value, int):
        try:
            is_exact = int(float(value)) == value
        except OverflowError:
            is_exact = False
        if not is_exact:
            advice = f"write it as text (columns: {{{name}: text}})"
            raise StepError(f"column {name!r}: Excel would round {str(value)[:60]}; {advice}")
    # The library writes 16 digits, which do not say every number.
    if float(f"{value:.16g}") == value:
        return value
    cell = openpyxl.cell.WriteOnlyCell(sheet, value)
    cell._value = repr(value)
    return cell


def _keep_digits(book: Any) -> None:
    """Have a book that is written back keep all digits of its numbers."""
    for sheet in book.worksheets:
        for row in sheet.iter_rows():
            for cell in row:
                value = cell.value
                if type(value) in (int, float) and float(f"{value:.16g}") != value:
                    cell._value = repr(value)


def _is_held(moment: Any) -> bool:
    from datetime import datetime

    excel_dates = import_optional("openpyxl.utils.datetime", "excel")
    try:
        back = excel_dates.from_excel(excel_dates.to_excel(moment))
    except (ValueError, OverflowError):
        return False
    return bool(back == (moment if isinstance(moment, datetime) else datetime.combine(moment, datetime.min.time())))


def _escaped(text: str) -> str:
    """Return a text in which what XML would change, and what looks like an escape, is escaped as in Excel itself."""
    if "_x" in text:
        text = re.sub("_(?=x[0-9A-Fa-f]{4}_)", "_x005F_", text)
    return text.replace("\r", "_x000D_")


def _bytes(book: Any) -> bytes:
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()
