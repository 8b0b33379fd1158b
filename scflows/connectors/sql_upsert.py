"""Insert rows into a table of a database, or update those whose key is there already."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from sqlalchemy import Connection

    from scflows.connectors.sql import Database

    Rows = Callable[[], Iterable[tuple[int, dict[str, Any]]]]

#: How many rows are sent together.
CHUNK = 1000


@dataclass(frozen=True)
class Target:
    """A table that rows are written to."""

    table: str
    schema: str | None
    names: tuple[str, ...]  #: the columns of the rows
    key: tuple[str, ...]  #: the columns that identify a row
    converters: dict[str, Callable[[Any], Any]]  #: for columns whose values are written differently


@dataclass
class Written:
    """What an upsert has written."""

    rows: int = 0
    repeated: int = 0  #: how many rows had the key of an earlier one, which they replaced


def upsert(database: Database, table: str, key: Sequence[str], names: Sequence[str], rows: Rows, shown: str) -> Written:
    """Insert or update rows in one transaction; of rows with the same key the last one holds.

    `rows` gives numbers and rows each time it is called; `shown` is what messages call their source.
    Raises StepError with the number of the row where that is known.
    """

    def write(connection: Connection) -> Written:
        target = _target(connection, database, table, key, names)
        statement = _statement(database, target)
        written = Written()
        seen: set[tuple[Any, ...]] = set()
        for chunk in _chunks(target, rows(), shown, seen, written):
            try:
                connection.execute(statement, list(chunk.values()))
            except _data_errors() as error:
                _find_refused(database, statement, chunk, shown, error)
                raise
        return written

    result: Written = database.run(write)
    return result


def _data_errors() -> tuple[type[Exception], ...]:
    from sqlalchemy.exc import DataError, IntegrityError, OperationalError, ProgrammingError

    return DataError, IntegrityError, OperationalError, ProgrammingError, OverflowError, ValueError


def _find_refused(
    database: Database, statement: Any, chunk: dict[int, dict[str, Any]], shown: str, error: Exception
) -> None:
    """Raise StepError with the number of the first row that the database refuses alone, if there is one."""
    from scflows.connectors.sql import _is_conflict

    if _is_conflict(error):
        return
    refused: StepError | None = None

    class Undo(Exception):
        pass

    try:
        with database.transaction() as connection:
            for number, row in chunk.items():
                try:
                    connection.execute(statement, [row])
                except _data_errors() as failed:
                    if not _is_conflict(failed):
                        refused = StepError(f"{shown}: row {number}: {database.failure(failed)}")
                    raise Undo from failed
            raise Undo
    except Undo:
        pass
    if refused is not None:
        raise refused from error


def _chunks(
    target: Target,
    rows: Iterable[tuple[int, dict[str, Any]]],
    shown: str,
    seen: set[tuple[Any, ...]],
    written: Written,
) -> Iterator[dict[int, dict[str, Any]]]:
    """Yield up to CHUNK rows by number, each key once, in the order of their keys so that two runs do not deadlock."""
    chunk: dict[tuple[Any, ...], tuple[int, dict[str, Any]]] = {}
    for number, row in rows:
        values = {name: row.get(name) for name in target.names}
        for name, convert in target.converters.items():
            try:
                values[name] = convert(values[name])
            except (ValueError, TypeError) as error:
                raise StepError(f"{shown}: row {number}, column {name!r}: {error}") from error
        identity = tuple(values[name] for name in target.key)
        for name, value in zip(target.key, identity, strict=True):
            if value is None or value == "":
                raise StepError(f"{shown}: row {number}: column {name!r} is part of the key and must not be empty")
        if identity in seen:
            written.repeated += 1
        seen.add(identity)
        chunk[identity] = (number, values)
        written.rows = len(seen)
        if len(chunk) == CHUNK:
            yield _ordered(chunk)
            chunk = {}
    if chunk:
        yield _ordered(chunk)


def _ordered(chunk: dict[tuple[Any, ...], tuple[int, dict[str, Any]]]) -> dict[int, dict[str, Any]]:
    return dict(chunk[identity] for identity in sorted(chunk, key=lambda each: [str(value) for value in each]))


def _target(
    connection: Connection, database: Database, written: str, key: Sequence[str], names: Sequence[str]
) -> Target:
    """Check table, columns and key against the database. Raises StepError."""
    from sqlalchemy import inspect
    from sqlalchemy.exc import NoSuchTableError

    schema, _, table = written.rpartition(".")
    inspector = inspect(connection)
    try:
        columns = {each["name"]: each["type"] for each in inspector.get_columns(table, schema=schema or None)}
    except NoSuchTableError:
        known = ", ".join(sorted(inspector.get_table_names(schema=schema or None))[:20])
        raise StepError(
            f"{database.shown}: table {written!r} does not exist; the tables are {known or 'none'}"
        ) from None
    for name in dict.fromkeys((*names, *key)):
        if name not in columns:
            raise StepError(
                f"{database.shown}: table {written!r} has no column {name!r}; its columns are {', '.join(columns)}"
            )
    for name in key:
        if name not in names:
            raise StepError(f"the rows have no column {name!r}, which is part of the key")
    unique = _unique_columns(inspector, table, schema or None)
    if set(key) not in unique:
        listed = ", ".join(key)
        raise StepError(
            f"{database.shown}: table {written!r} has no primary key or unique index on ({listed}), so a row could be "
            f"stored twice; create one: create unique index {table}_key on {written} ({listed})"
        )
    if database.kind == "mariadb":
        for other in unique:
            if other != set(key) and other <= set(names):
                raise StepError(
                    f"{database.shown}: table {written!r} has a second unique index on ({', '.join(sorted(other))}); "
                    "MariaDB would update the row that it finds by that"
                )
    converters = {name: convert for name in names if (convert := _converter(database, columns[name]))}
    return Target(table, schema or None, tuple(names), tuple(key), converters)


def _unique_columns(inspector: Any, table: str, schema: str | None) -> list[set[str]]:
    found = [set(inspector.get_pk_constraint(table, schema=schema)["constrained_columns"])]
    found += [set(each["column_names"]) for each in inspector.get_unique_constraints(table, schema=schema)]
    for each in inspector.get_indexes(table, schema=schema):
        partial = any(
            name.endswith("_where") and value is not None for name, value in each.get("dialect_options", {}).items()
        )
        if each["unique"] and not partial:
            found.append(set(each["column_names"]))
    return [columns for columns in found if columns and None not in columns]


def _converter(database: Database, kind: Any) -> Callable[[Any], Any] | None:
    """Return what converts a value for a column, or None if the driver does."""
    from sqlalchemy import types

    is_text = isinstance(kind, types.String | types.Enum | types.LargeBinary)
    is_time = isinstance(kind, types.DateTime) and database.kind == "mariadb"

    def convert(value: Any) -> Any:
        if isinstance(value, dict | list):
            from scflows.documents import json_text

            return json_text(value)
        if value == "" and not is_text:
            return None
        if isinstance(value, bool) and is_text:
            return "true" if value else "false"
        if isinstance(value, int | float) and not isinstance(value, bool) and is_text:
            return str(value)
        if is_time and isinstance(value, str):
            return utc_text(value)
        return value

    return convert


def utc_text(value: str) -> str:
    """Return an ISO 8601 time as MariaDB takes it: in UTC, without a zone. Raises ValueError."""
    from datetime import UTC, datetime

    moment = datetime.fromisoformat(value)
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return moment.isoformat(" ")


def _statement(database: Database, target: Target) -> Any:
    from sqlalchemy import column, table

    written = table(target.table, *(column(name) for name in target.names), schema=target.schema)
    others = [name for name in target.names if name not in target.key]
    if database.kind == "mariadb":
        from sqlalchemy.dialects.mysql import insert as insert_mariadb

        statement = insert_mariadb(written)
        updated = others or [target.key[0]]
        return statement.on_duplicate_key_update({name: statement.inserted[name] for name in updated})
    new: Any
    if database.kind == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as insert_sqlite

        new = insert_sqlite(written)
    else:
        from sqlalchemy.dialects.postgresql import insert as insert_postgres

        new = insert_postgres(written)
    if not others:
        return new.on_conflict_do_nothing(index_elements=list(target.key))
    return new.on_conflict_do_update(
        index_elements=list(target.key), set_={name: new.excluded[name] for name in others}
    )
