"""What an Excel sheet can hold, and how it writes texts that XML would change."""

from __future__ import annotations

import re

from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from scflows.connectors.tables import Row

#: The longest text of a cell; openpyxl silently truncates longer ones.
CELL_CHARACTERS = 32767
#: Larger integers are not exact in a spreadsheet.
MOST_EXACT = 2**53
#: How many rows a sheet has, with the header.
MAX_ROWS = 1048576
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")


def check_row(names: Sequence[str], row: Row) -> None:
    if all(row.get(name) in (None, "") for name in names):
        raise StepError("a row has no values; Excel cannot store an empty row")


def escaped(text: str) -> str:
    """Return a text in which what XML would change, and what looks like an escape, is escaped as in Excel itself."""
    if "_x" in text:
        text = re.sub("_(?=x[0-9A-Fa-f]{4}_)", "_x005F_", text)
    return text.replace("\r", "_x000D_")
