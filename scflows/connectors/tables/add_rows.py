"""Append rows to a table file: below its header, each key once, all of them or none."""

from __future__ import annotations

from scflows.connectors.tables import find_format, names_of
from scflows.connectors.tables.append_file import FileAppender
from scflows.connectors.tables.delimited import cell_text
from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from scflows.connectors.tables import Row
    from scflows.connectors.tables.column import Columns


def add_rows(
    path: str,
    shown: str,
    format: str,
    columns: Columns,
    rows: list[Row],
    unique: Sequence[str] = (),
    delimiter: str | None = None,
) -> int:
    """Append rows and return how many were added.

    With `unique`, a row is skipped if the file or an earlier row has the same values in those columns. The file is
    locked meanwhile. Raises StepError if the rows do not fit the file; then nothing is written.
    """
    if not rows:
        return 0
    names = columns.header(names_of(rows))
    _check_key(unique, names, "the rows have")
    handler = find_format(format, delimiter)
    with FileAppender(path) as file:
        known: list[str] | None = None
        keys: set[tuple[str, ...]] = set()
        if file.size:
            with handler.open(path, shown) as table:
                known = table.names or None
                if known is not None:
                    _check_header(names, known, shown)
                    _check_key(unique, known, f"{shown} has")
                if unique:
                    keys = {_key(row, unique, columns, shown, number) for number, row in table.rows}
        new = []
        for index, row in enumerate(rows, 1):
            key = _key(row, unique, columns, "the rows", index)
            if not unique or key not in keys:
                keys.add(key)
                new.append(row)
        if not new:
            return 0
        if file.size and not handler.grows:
            file.replace(handler.extended(file.read(), known or names, new))
        elif known is None and format != "jsonl":
            file.add(handler.content(names, new, columns.kinds))
        else:
            file.add((b"" if file.ends_with_newline else b"\n") + handler.addition(known or names, new))
    return len(new)


def _key(row: Row, unique: Sequence[str], columns: Columns, shown: str, number: int) -> tuple[str, ...]:
    # Compared as text, because in a CSV file the number 1 and the text 1 are the same.
    return tuple(cell_text(columns.value(name, row.get(name), shown, number)) for name in unique)


def _check_header(names: Sequence[str], known: Sequence[str], shown: str) -> None:
    for name in names:
        if name not in known:
            raise StepError(f"{shown} has no column {name!r}; its columns are {', '.join(known)}")


def _check_key(unique: Sequence[str], known: Sequence[str], owner: str) -> None:
    for name in unique:
        if name not in known:
            raise StepError(f"unique: {owner} no column {name!r}; the columns are {', '.join(known)}")
