"""JSON lines: one mapping a line, values with the types that JSON has."""

from __future__ import annotations

from contextlib import contextmanager

from scflows import documents
from scflows.connectors.tables import Format, OpenTable
from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from scflows.connectors.tables import Row


class JsonLines(Format):
    """The rows know their columns; a line may have other ones than the line before."""

    grows = True

    @contextmanager
    def open(self, path: str, shown: str) -> Iterator[OpenTable]:
        with open(path, encoding="utf-8-sig", newline="\n") as file:
            yield OpenTable(None, _rows(file, shown))

    def content(self, names: Sequence[str], rows: Sequence[Row], kinds: Mapping[str, str]) -> bytes:
        return b"".join(documents.json_bytes(row) + b"\n" for row in rows)

    def addition(self, names: Sequence[str], rows: Sequence[Row]) -> bytes:
        return self.content(names, rows, {})


def _rows(lines: Iterable[str], shown: str) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            row = documents.parse_json(line, f"{shown}: row {number}")
            if not isinstance(row, dict):
                raise StepError(f"{shown}: row {number} is no mapping")
            yield number, row
