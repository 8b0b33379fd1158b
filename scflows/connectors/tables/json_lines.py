"""JSON lines files: one mapping per line, with JSON types."""

from __future__ import annotations

from contextlib import contextmanager

from scflows import documents
from scflows.connectors.tables import Format, OpenTable
from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import IO

    from scflows.connectors.tables import Row


class JsonLines(Format):
    """The JSON lines format: each row has its own columns."""

    grows = True

    @contextmanager
    def open(self, path: str, shown: str) -> Iterator[OpenTable]:
        with open(path, encoding="utf-8-sig", newline="\n") as file:
            yield OpenTable(None, _rows(file, shown))

    def content(self, names: Sequence[str], rows: Sequence[Row], kinds: Mapping[str, str]) -> bytes:
        return b"".join(documents.json_bytes(row) + b"\n" for row in rows)

    def save(self, file: IO[bytes], names: Sequence[str], rows: Iterable[Row], kinds: Mapping[str, str]) -> None:
        for row in rows:
            file.write(documents.json_bytes(row) + b"\n")

    def addition(self, names: Sequence[str], rows: Sequence[Row]) -> bytes:
        return self.content(names, rows, {})


def _rows(lines: Iterable[str], shown: str) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            row = documents.parse_json(line, f"{shown}: row {number}")
            if not isinstance(row, dict):
                raise StepError(f"{shown}: row {number} is not a mapping")
            yield number, row
