"""Parquet files, with pyarrow: typed columns."""

from __future__ import annotations

from contextlib import contextmanager

from scflows.connectors.tables import Format, OpenTable, check_names, import_optional
from scflows.documents import NumberError, parse_finite
from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from scflows.connectors.tables import Row

#: How many rows are converted to Python values at a time.
BATCH = 10_000


class Parquet(Format):
    """The Parquet format: types come from `kinds` or the values; appended rows take the types of the file."""

    @contextmanager
    def open(self, path: str, shown: str) -> Iterator[OpenTable]:
        parquet = import_optional("pyarrow.parquet", "parquet")
        with open(path, "rb") as file:
            try:
                found = parquet.ParquetFile(file)
            except ValueError as error:
                raise StepError(f"{shown}: not a Parquet file: {_line(error)}") from error
            names = list(found.schema_arrow.names)
            check_names(names, shown)
            yield OpenTable(names, _rows(found, shown))

    def content(self, names: Sequence[str], rows: Sequence[Row], kinds: Mapping[str, str]) -> bytes:
        arrow = import_optional("pyarrow", "parquet")
        columns = {}
        for name in names:
            values = [row.get(name) for row in rows]
            kind = kinds.get(name)
            try:
                given = _native(values, kind)
                columns[name] = arrow.array(given, type=_type(arrow, kind, values))
            except (ValueError, TypeError, OverflowError) as error:
                reason = f"column {name!r}: its values have no common type: {_line(error)}"
                raise StepError(reason) from error
            _check_exact(given, columns[name], name)
        try:
            return _bytes(arrow.table(columns))
        except arrow.ArrowException as error:
            raise StepError(f"Parquet cannot hold these rows: {_line(error)}") from error

    def extended(self, old: bytes, names: Sequence[str], rows: Sequence[Row]) -> bytes:
        arrow = import_optional("pyarrow", "parquet")
        parquet = import_optional("pyarrow.parquet", "parquet")
        before = parquet.read_table(arrow.BufferReader(old))
        columns = []
        for field in before.schema:
            values = [row.get(field.name) for row in rows]
            kind = "datetime" if arrow.types.is_timestamp(field.type) else "text"
            kind = "date" if arrow.types.is_date(field.type) else kind
            try:
                given = _native(values, kind)
                columns.append(arrow.array(given, type=field.type))
            except (ValueError, TypeError, OverflowError) as error:
                reason = f"column {field.name!r} is {field.type}: {_line(error)}"
                raise StepError(reason) from error
            _check_exact(given, columns[-1], field.name)
        added = arrow.Table.from_arrays(columns, schema=before.schema)
        return _bytes(arrow.concat_tables([before, added]))


def _rows(found: Any, shown: str) -> Iterator[tuple[int, Row]]:
    number = 1
    try:
        for batch in found.iter_batches(BATCH):
            for row in batch.to_pylist():
                number += 1
                yield number, {name: _json(value) for name, value in row.items()}
    except NumberError as error:
        raise StepError(f"{shown}: row {number}: {error}") from None
    except ValueError as error:
        raise StepError(f"{shown}: damaged after row {number}: {_line(error)}") from error


def _json(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if not hasattr(value, "as_tuple"):
        return str(value)
    return int(value) if value == int(value) else parse_finite(str(value))


def _native(values: list[Any], kind: str | None) -> list[Any]:
    """Return the values of a column, with ISO 8601 texts of date and time columns parsed."""
    if kind not in ("date", "datetime"):
        return values
    from datetime import date, datetime

    parse = date.fromisoformat if kind == "date" else datetime.fromisoformat
    return [parse(value) if isinstance(value, str) else value for value in values]


def _type(arrow: Any, kind: str | None, values: list[Any]) -> Any:
    if kind == "datetime":
        zoned = any(isinstance(value, str) and value[19:].lstrip(".0123456789") for value in values)
        return arrow.timestamp("us", tz="UTC" if zoned else None)
    return {
        "text": arrow.string,
        "integer": arrow.int64,
        "number": arrow.float64,
        "boolean": arrow.bool_,
        "date": arrow.date32,
    }.get(kind or "", lambda: None)()


def _check_exact(values: list[Any], array: Any, name: str) -> None:
    """Raise StepError unless an array has exactly these values."""
    for number, (value, held) in enumerate(zip(values, array.to_pylist(), strict=True), 1):
        if value != held:
            raise StepError(f"column {name!r}: row {number}: {str(value)[:80]} would become {str(held)[:80]}")


def _bytes(table: Any) -> bytes:
    arrow = import_optional("pyarrow", "parquet")
    parquet = import_optional("pyarrow.parquet", "parquet")
    sink = arrow.BufferOutputStream()
    parquet.write_table(table, sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
