"""Turn the values of one column into columns. The whole table is in memory."""

from __future__ import annotations

from scflows.connectors.tables.group import NUMERIC_FUNCTIONS, group_rows
from scflows.connectors.tables.source import check_columns, is_blank, number_in
from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from scflows.connectors.tables import Row
    from scflows.connectors.tables.group import Aggregate
    from scflows.connectors.tables.source import TableSource

#: More columns than Excel and people can use are a mistake in `across`.
MAX_COLUMNS = 16384


def pivoted(source: TableSource, by: Sequence[str], across: str, aggregate: Aggregate) -> tuple[list[str], list[Row]]:
    """Return columns and rows: one row for each combination of `by`, one column for each value of `across`.

    New columns are in the order in which their values first appear; a combination without rows is blank.
    """
    with source.open() as table:
        needed = [*by, across, *([aggregate.column] if aggregate.column else [])]
        check_columns(table.names, needed, source.shown)
        new: dict[str, None] = {}
        rows: list[Row] = []
        for number, row in table.rows:
            if is_blank(row.get(across)):
                raise StepError(f"{source.shown}: row {number}: the column {across!r} is blank")
            name = str(row[across])
            if name in by:
                raise StepError(f"{source.shown}: row {number}: {name!r} is a column of `by` already")
            new[name] = None
            if len(new) > MAX_COLUMNS:
                raise StepError(f"{source.shown}: the column {across!r} has more than {MAX_COLUMNS} different values")
            cells = {column: row.get(column) for column in needed} | {across: name}
            if aggregate.column and aggregate.function in NUMERIC_FUNCTIONS:
                cells[aggregate.column] = number_in(row, aggregate.column, number, source.shown)
            rows.append(cells)
    found: dict[str, dict[str, Any]] = {}
    for group in group_rows(rows, [*by, across], {"value": aggregate}, source.shown):
        key = repr([group[column] for column in by])
        target = found.setdefault(key, {**{column: group[column] for column in by}, **dict.fromkeys(new)})
        target[group[across]] = group["value"]
    return [*by, *new], list(found.values())
