"""A reference to a large table: a CSV file in the run's folder that stands in the data for the list of its rows.

`{"__table__": PATH, "rows": N, "columns": [...], "types": {...}}`; a type says what a text in the file was before.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager

from scflows.connectors.tables import OpenTable, find_format
from scflows.connectors.tables.source import TableSource
from scflows.documents import parse_number
from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from scflows.connectors.tables import Row

KEY = "__table__"
#: A result with more rows becomes a reference.
THRESHOLD = 100_000
TEXT, NUMBER, BOOLEAN, JSON, MIXED = "text", "number", "boolean", "json", "mixed"


def is_reference(value: Any) -> bool:
    """Return whether a value of the data is a reference to a table."""
    return isinstance(value, dict) and isinstance(value.get(KEY), str)


def write_reference(path: str, shown: str, names: Sequence[str], rows: Iterable[Row]) -> dict[str, Any]:
    """Write a table to a file and return the reference to it. Raises OSError."""
    from scflows.storage import replacing

    seen: dict[str, set[type]] = {name: set() for name in names}
    count = 0

    def noted() -> Iterator[Row]:
        nonlocal count
        for row in rows:
            count += 1
            for name, value in row.items():
                if value is not None:
                    seen[name].add(type(value))
            yield row

    with replacing(path) as file:
        find_format("csv", ",").save(file, names, noted(), {})
    types = {name: kind for name, found in seen.items() if (kind := _kind(found)) != TEXT}
    return {KEY: shown, "rows": count, "columns": list(names), "types": types}


class ReferenceSource(TableSource):
    """The table of a reference."""

    def __init__(self, reference: dict[str, Any], path: str, key: str) -> None:
        """`path` is the absolute path of its file, `key` the key of the reference in the data."""
        self.reference = reference
        self.path = path
        self.shown = key
        if not os.path.isfile(path):
            problem = f"the file of the table, {reference[KEY]}, no longer exists"
            raise StepError(f"{key}: {problem}; run the flow again from its start")

    @contextmanager
    def open(self) -> Iterator[OpenTable]:
        types = self.reference.get("types")
        parsers = [(name, PARSERS[kind]) for name, kind in (types or {}).items() if kind in PARSERS]
        with find_format("csv", ",").open(self.path, self.shown) as table:
            yield OpenTable(table.names, ((number, _typed(row, parsers)) for number, row in table.rows))

    def size(self) -> int:
        return os.stat(self.path).st_size


def _kind(found: set[type]) -> str:
    if not found or found == {str}:
        return TEXT
    if found <= {int, float}:
        return NUMBER
    if found == {bool}:
        return BOOLEAN
    return JSON if found <= {list, dict} else MIXED


def _mixed(text: str) -> Any:
    try:
        return parse_number(text)
    except ValueError:
        return text


PARSERS: dict[str, Callable[[str], Any]] = {
    NUMBER: parse_number,
    BOOLEAN: lambda text: text == "true",
    JSON: json.loads,
    MIXED: _mixed,
}


def _typed(row: Row, parsers: list[tuple[str, Callable[[str], Any]]]) -> Row:
    result: Row = {name: None if value == "" else value for name, value in row.items()}
    for name, parse in parsers:
        if result[name] is not None:
            result[name] = parse(result[name])
    return result
