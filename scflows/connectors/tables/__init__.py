"""Tables as lists of mappings, stored in files; each format is one module here.

`find_format` returns a format, which reads rows lazily and encodes whole tables as bytes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from scflows.errors import MissingExtra, StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import IO, Any

    Row = dict[str, Any]

#: The formats by file extension.
ENDINGS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".xlsx": "excel",
}
FORMATS = ("csv", "tsv", "jsonl", "parquet", "excel")


@dataclass(frozen=True)
class OpenTable:
    """A table file that is open for reading."""

    names: list[str] | None  #: of its columns; None if only the rows have them
    rows: Iterator[tuple[int, Row]]  #: with the row number that a spreadsheet or an editor shows


class Format:
    """A file format for tables."""

    #: Whether rows can be appended to the file; otherwise it is rewritten.
    grows = False

    def open(self, path: str, shown: str) -> AbstractContextManager[OpenTable]:
        """Open the table in a file, which messages call `shown`.

        Raises StepError for an invalid file, OSError, UnicodeDecodeError; iterating over `rows` raises them as well.
        """
        raise NotImplementedError

    def content(self, names: Sequence[str], rows: Sequence[Row], kinds: Mapping[str, str]) -> bytes:
        """Return the content of a file with these rows; `kinds` are types of columns. Raises StepError."""
        raise NotImplementedError

    def save(self, file: IO[bytes], names: Sequence[str], rows: Iterable[Row], kinds: Mapping[str, str]) -> None:
        """Write a whole table to an empty file; most formats keep no more than a few rows in memory.

        Raises StepError, OSError.
        """
        file.write(self.content(names, list(rows), kinds))

    def addition(self, names: Sequence[str], rows: Sequence[Row]) -> bytes:
        """Return the bytes to append to a file with these columns. Only if the format `grows`."""
        raise NotImplementedError

    def extended(self, old: bytes, names: Sequence[str], rows: Sequence[Row]) -> bytes:
        """Return the content of a file extended by rows. Only if the format does not grow. Raises StepError."""
        raise NotImplementedError


def format_name(path: str, named: str | None = None) -> str:
    """Return the format of a file: as given, otherwise by its extension. Raises StepError."""
    if named is not None:
        return named
    ending = os.path.splitext(path)[1].lower()
    try:
        return ENDINGS[ending]
    except KeyError:
        raise StepError(
            f"{path!r} has none of the known extensions ({', '.join(ENDINGS)}); set format: {', '.join(FORMATS)}"
        ) from None


def find_format(name: str, delimiter: str | None = None) -> Format:
    """Return the format of a name in FORMATS; `delimiter` is that of a CSV or TSV file, if it is known."""
    if name in ("csv", "tsv"):
        from scflows.connectors.tables.delimited import Delimited

        return Delimited(delimiter or ("\t" if name == "tsv" else None))
    if name == "jsonl":
        from scflows.connectors.tables.json_lines import JsonLines

        return JsonLines()
    if name == "parquet":
        from scflows.connectors.tables.parquet import Parquet

        return Parquet()
    from scflows.connectors.tables.excel import Excel

    return Excel()


def import_optional(module: str, extra: str) -> Any:
    """Import and return a module of an optional library. Raises MissingExtra."""
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtra(module.partition(".")[0], extra) from error


def names_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the columns of rows, in order of their first appearance."""
    found: dict[str, None] = {}
    for row in rows:
        if row.keys() != found.keys():
            found.update(dict.fromkeys(row))
    return list(found)


def check_names(names: Sequence[str], shown: str) -> None:
    """Raise StepError if two columns have the same name."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise StepError(f"{shown}: two columns are named {twice!r}")
