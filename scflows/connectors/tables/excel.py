"""Excel files: the first sheet, whose first row is the header.

python-calamine reads, XlsxWriter writes with few rows in memory, openpyxl appends to a file that exists.
"""

from __future__ import annotations

import io
import os
import re
from contextlib import contextmanager

from scflows.connectors.tables import Format, OpenTable, check_names, import_optional
from scflows.connectors.tables.delimited import cell_text
from scflows.connectors.tables.excel_limits import CELL_CHARACTERS, MOST_EXACT, check_row, escaped
from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import IO, Any

    from scflows.connectors.tables import Row

#: How a text in a workbook writes a character that XML would change.
ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")
#: What calamine reads wrongly: a cell with an error such as #N/A, as blank; an escaped underscore, as it is written.
UNREADABLE = (b't="e"', b"_x005F_")
BLOCK = 1 << 20


class Excel(Format):
    """The Excel format: empty cells are null, dates and times are ISO 8601 text, text is never a formula."""

    @contextmanager
    def open(self, path: str, shown: str) -> Iterator[OpenTable]:
        import_optional("python_calamine", "excel")
        with open(path, "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise StepError(f"{shown}: empty, not even a header")
            reader = _by_openpyxl if _needs_openpyxl(file, shown) else _by_calamine
            with reader(file, shown) as sheet:
                lines = enumerate(sheet, 1)
                header = next((cells for _, cells in lines if any(cell is not None for cell in cells)), None)
                if header is None:
                    raise StepError(f"{shown}: empty, not even a header")
                names = [cell_text(cell) for cell in _trimmed(header)]
                check_names(names, shown)
                yield OpenTable(names, _rows(names, lines, shown))

    def content(self, names: Sequence[str], rows: Sequence[Row], kinds: Mapping[str, str]) -> bytes:
        file = io.BytesIO()
        self.save(file, names, rows, kinds)
        return file.getvalue()

    def save(self, file: IO[bytes], names: Sequence[str], rows: Iterable[Row], kinds: Mapping[str, str]) -> None:
        from scflows.connectors.tables.excel_writer import write_sheet

        if "" in names:
            raise StepError("Excel needs a name for each column; one is empty")
        write_sheet(file, names, rows, kinds)

    def extended(self, old: bytes, names: Sequence[str], rows: Sequence[Row]) -> bytes:
        book = _load(io.BytesIO(old), "the file", read_only=False)
        _keep_digits(book)
        sheet = book.worksheets[0]
        for row in rows:
            check_row(names, row)
            sheet.append([_cell(sheet, name, row.get(name), None) for name in names])
        return _bytes(book)


def _needs_openpyxl(file: IO[bytes], shown: str) -> bool:
    """Return whether a book holds something UNREADABLE. Raises StepError for a file that is not a workbook."""
    from zipfile import BadZipFile, ZipFile

    try:
        with ZipFile(file) as archive:
            for name in archive.namelist():
                if not name.endswith(".xml") or not name.startswith(("xl/worksheets/", "xl/sharedStrings")):
                    continue
                with archive.open(name) as part:
                    rest = b""
                    while block := part.read(BLOCK):
                        if any(each in rest + block for each in UNREADABLE):
                            return True
                        rest = block[-8:]
    except (BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError) as error:
        raise StepError(f"{shown}: not an Excel file (.xlsx): {error}") from error
    finally:
        file.seek(0)
    return False


@contextmanager
def _by_calamine(file: IO[bytes], shown: str) -> Iterator[Iterator[list[Any]]]:
    calamine = import_optional("python_calamine", "excel")
    try:
        book = calamine.CalamineWorkbook.from_filelike(file)
        sheet = book.get_sheet_by_index(0)
    except (calamine.CalamineError, ValueError, IndexError, OSError) as error:
        raise StepError(f"{shown}: not an Excel file (.xlsx): {error}") from error
    try:
        yield ([_value(cell) for cell in cells] for cells in sheet.iter_rows())
    finally:
        book.close()


@contextmanager
def _by_openpyxl(file: IO[bytes], shown: str) -> Iterator[Iterator[list[Any]]]:
    book = _load(file, shown, read_only=True)
    try:
        sheet = book.worksheets[0]
        # The size that a file states may be wrong; the library would drop what is outside of it.
        sheet.reset_dimensions()
        yield ([_json(cell) for cell in cells] for cells in sheet.iter_rows(values_only=True))
    finally:
        book.close()


def _value(cell: Any) -> Any:
    """Return the value of a cell as calamine reads it: an empty text for null, a float for every number."""
    kind = type(cell)
    if kind is str:
        return cell or None
    if kind is float:
        return int(cell) if cell.is_integer() and abs(cell) < MOST_EXACT else cell
    if kind is bool or kind is int:
        return cell
    if hasattr(cell, "isoformat"):
        text: str = cell.isoformat()
        # A date is stored as a time at midnight.
        return text + "T00:00:00" if len(text) == 10 and "-" in text else text
    return str(cell)


def _load(file: Any, shown: str, read_only: bool) -> Any:
    openpyxl = import_optional("openpyxl", "excel")
    from zipfile import BadZipFile

    try:
        # For reading, the saved values of formulas; for writing back, the formulas.
        return openpyxl.load_workbook(file, read_only=read_only, data_only=read_only)
    except (BadZipFile, KeyError, ValueError, OSError, openpyxl.utils.exceptions.InvalidFileException) as error:
        raise StepError(f"{shown}: not an Excel file (.xlsx): {error}") from error


def _rows(names: list[str], lines: Iterator[tuple[int, Sequence[Any]]], shown: str) -> Iterator[tuple[int, Row]]:
    width = len(names)
    for number, cells in lines:
        filled = _trimmed(cells)
        if len(filled) > width:
            raise StepError(f"{shown}: row {number} has {len(filled)} cells, the header {width}")
        if filled:
            values = [*filled, *[None] * (width - len(filled))]
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
    text = escaped(cell_text(value))
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


def _bytes(book: Any) -> bytes:
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()
