"""Tables as lists of mappings, and the files that hold them; each format is one file here.

`find_format` gives the one for a path. A format reads rows lazily and says the bytes of a whole table.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from scflows.errors import MissingExtra, StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import Any

    Row = dict[str, Any]

#: The formats by the endings of file names.
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
    """A file that is being read."""

    names: list[str] | None  #: of its columns; None where only the rows know them
    rows: Iterator[tuple[int, Row]]  #: with the number that a spreadsheet or an editor shows


class Format:
    """One way to hold a table in a file."""

    #: Whether rows can be added to the file's end; else it is made anew with them.
    grows = False

    def open(self, path: str, shown: str) -> AbstractContextManager[OpenTable]:
        """The table in a file; messages name it as `shown`.

        Raises StepError for what is no such table, OSError, UnicodeDecodeError; all of them also from `rows`.
        """
        raise TypeError(f"{type(self).__name__} has no open()")

    def content(self, names: Sequence[str], rows: Sequence[Row], kinds: Mapping[str, str]) -> bytes:
        """The bytes of a whole file. `kinds` are the types of columns that have one. Raises StepError."""
        raise TypeError(f"{type(self).__name__} has no content()")

    def addition(self, names: Sequence[str], rows: Sequence[Row]) -> bytes:
        """The bytes that add rows to a file that has these columns. Only where it `grows`."""
        raise TypeError(f"{type(self).__name__} has no addition()")

    def extended(self, old: bytes, names: Sequence[str], rows: Sequence[Row]) -> bytes:
        """The bytes of a file with rows added to it. Only where it does not grow. Raises StepError."""
        raise TypeError(f"{type(self).__name__} has no extended()")


def format_name(path: str, named: str | None = None) -> str:
    """The name of a file's format: the one that is named, else by its ending. Raises StepError."""
    if named is not None:
        return named
    ending = os.path.splitext(path)[1].lower()
    try:
        return ENDINGS[ending]
    except KeyError:
        raise StepError(
            f"{path!r} ends like no table ({', '.join(ENDINGS)}): name its format: {', '.join(FORMATS)}"
        ) from None


def find_format(name: str) -> Format:
    if name in ("csv", "tsv"):
        from scflows.connectors.tables.delimited import Delimited

        return Delimited("," if name == "csv" else "\t")
    if name == "jsonl":
        from scflows.connectors.tables.json_lines import JsonLines

        return JsonLines()
    if name == "parquet":
        from scflows.connectors.tables.parquet import Parquet

        return Parquet()
    from scflows.connectors.tables.excel import Excel

    return Excel()


def needed(module: str, extra: str) -> Any:
    """A module of a library that only an extra brings. Raises MissingExtra."""
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtra(module.partition(".")[0], extra) from error


def names_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns of rows, in the order in which they are first met."""
    found: dict[str, None] = {}
    for row in rows:
        if row.keys() != found.keys():
            found.update(dict.fromkeys(row))
    return list(found)


def check_names(names: Sequence[str], shown: str) -> None:
    """Raises StepError when two columns have one name."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise StepError(f"{shown}: two columns have the name {twice!r}")
