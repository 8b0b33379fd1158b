"""Write an Excel file with XlsxWriter, which keeps one row in memory."""

from __future__ import annotations

from scflows.connectors.tables import import_optional
from scflows.connectors.tables.delimited import cell_text
from scflows.connectors.tables.excel_limits import CELL_CHARACTERS, CONTROL, MAX_ROWS, MOST_EXACT, check_row, escaped
from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import IO, Any

    from scflows.connectors.tables import Row

FORMATS = {"date": "yyyy-mm-dd", "datetime": "yyyy-mm-dd hh:mm:ss"}
#: The first day that all programs number alike.
FIRST = "1900-03-01"


def write_sheet(file: IO[bytes], names: Sequence[str], rows: Iterable[Row], kinds: Mapping[str, str]) -> None:
    """Write a header and rows to a new book. Raises StepError for a value that a sheet cannot hold."""
    xlsxwriter = import_optional("xlsxwriter", "excel")
    book = xlsxwriter.Workbook(file, {"constant_memory": True})
    try:
        sheet = book.add_worksheet(worksheet_class=_exact_sheet())
        formats = {kind: book.add_format({"num_format": text}) for kind, text in FORMATS.items()}
        for column, name in enumerate(names):
            sheet.write_string(0, column, _text(name, name))
        for number, row in enumerate(rows, 1):
            if number >= MAX_ROWS:
                raise StepError(f"more than {MAX_ROWS - 1} rows; an Excel sheet cannot hold them")
            check_row(names, row)
            for column, name in enumerate(names):
                value: Any = row.get(name)
                kind = type(value)
                if kind is int or kind is float:
                    sheet.write_number(number, column, _number(name, value))
                elif kind is bool:
                    sheet.write_boolean(number, column, value)
                elif kind is str and kinds.get(name) in FORMATS and (moment := _moment(kinds[name], value)) is not None:
                    sheet.write_datetime(number, column, moment, formats[kinds[name]])
                elif value is not None and value != "":
                    sheet.write_string(number, column, _text(name, cell_text(value)))
    finally:
        # Also after an error: it removes the temporary files.
        try:
            book.close()
        except xlsxwriter.exceptions.FileCreateError as error:
            cause = error.args[0] if error.args else None
            raise cause if isinstance(cause, OSError) else StepError(str(error)) from error


def _exact_sheet() -> Any:
    worksheet = import_optional("xlsxwriter.worksheet", "excel")

    class ExactSheet(worksheet.Worksheet):  # type: ignore[misc, name-defined]
        """A sheet that keeps numbers and texts exactly."""

        def _xml_number_element(self, number: Any, attributes: Any = None) -> None:
            # The library writes 16 digits.
            text = "".join(f' {key}="{value}"' for key, value in attributes or [])
            self.fh.write(f"<c{text}><v>{number!r}</v></c>")

        def _xml_rich_inline_string(self, string: str, attributes: Any = None) -> None:
            # The library takes a text that begins with <r> for markup.
            self._xml_inline_string(string, True, attributes)

        @staticmethod
        def _escape_control_characters(data: Any) -> Any:
            return escaped(data) if isinstance(data, str) else data

    return ExactSheet


def _number(name: str, value: float) -> float:
    if type(value) is int and abs(value) > MOST_EXACT and int(_float(value)) != value:
        advice = f"write it as text (columns: {{{name}: text}})"
        raise StepError(f"column {name!r}: Excel would round {str(value)[:60]}; {advice}")
    return value


def _float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return 0.0


def _moment(kind: str, value: str) -> Any:
    """Return a date or time; None for one that Excel cannot hold, which stays text."""
    from datetime import date, datetime

    moment = date.fromisoformat(value) if kind == "date" else datetime.fromisoformat(value)
    # Excel has no time zones and no microseconds.
    if value < FIRST or (isinstance(moment, datetime) and (moment.tzinfo is not None or moment.microsecond)):
        return None
    return moment


def _text(name: str, text: str) -> str:
    if len(text) > CELL_CHARACTERS:
        raise StepError(f"column {name!r}: the text has {len(text)} characters; a cell can hold {CELL_CHARACTERS}")
    if CONTROL.search(text):
        raise StepError(f"column {name!r}: Excel does not support control characters")
    if "\ufffe" in text or "\uffff" in text:
        raise StepError(f"column {name!r}: Excel does not support the characters U+FFFE and U+FFFF")
    return text
