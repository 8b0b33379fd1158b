"""Query and change SQL databases."""

from __future__ import annotations

import re
from dataclasses import dataclass

from scflows.errors import StepError, UsageError
from scflows.expressions.templates import is_template
from scflows.steps import Context, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from sqlalchemy import BindParameter, Connection

    from scflows.connectors.sql import Database
    from scflows.connectors.sql_upsert import Rows

#: Seconds that a transaction may take if neither the step nor its flow has a limit.
TIMEOUT = 3600.0
READING = ("rows", "one", "value")
#: The options of each mode; the required ones come before the bar.
USED = {
    "rows": ("query", "|", "params", "limit"),
    "one": ("query", "|", "params"),
    "value": ("query", "|", "params"),
    "execute": ("query", "|", "params"),
    "many": ("query", "data_key", "|"),
    "upsert": ("table", "key", "|", "data_key", "path", "format", "delimiter", "columns"),
}
#: How many rows are fetched or sent together.
CHUNK = 1000
SELECT = re.compile(r"\s*(select|with|values|table)\b", re.IGNORECASE)
PARAMETER = re.compile(r"(?<![:\w\\]):(\w+)(?!:)")


@dataclass(frozen=True)
class DatabaseStep(Step):
    """Query and change a PostgreSQL, MariaDB or SQLite database.

    The secret has `url` (for example `postgresql://host/name`), or `host` and `database`; optionally `username`,
    `password`, `port` and `ca`. `sqlite` names a file in DATA_PATH instead. Each step is one transaction. Values go
    into the query as parameters (`:day`); the query is not a template. The result depends on the mode: `rows` returns
    a list of mappings, `one` the only row or null, `value` its only value, `execute` and `many` `{rows: N}`, `upsert`
    `{rows: N, repeated: N}`.

    - name: load
      type: database
      database:
        secret: warehouse
        query: select * from readings where day = :day
        params: {day: "{{ params.day }}"}
    - name: save
      type: database
      database: {secret: warehouse, mode: upsert, table: readings, key: [station, day], data_key: load}
    """

    mode: str = option("rows", choices=tuple(USED), help="the operation")
    secret: str | None = option(None, help="name of the secret with the server and credentials")
    sqlite: str | None = option(None, template=True, help="a SQLite file in DATA_PATH, in place of a secret")
    query: str | None = option(None, help="one SQL statement, with parameters such as `:day`")
    params: dict[str, Any] | None = option(
        None, template=True, help="the values of the parameters; a list fits `in :names`"
    )
    limit: int = option(100_000, minimum=1, help="`rows` fails if there are more rows")
    data_key: str | None = option(None, help="the key of the list of mappings for `many` and `upsert`")
    table: str | None = option(None, help="the table that `upsert` writes to; `SCHEMA.TABLE` is possible")
    key: list[Any] | str | None = option(None, help="the columns that identify a row for `upsert`")
    path: str | None = option(None, template=True, help="a table file for `upsert`, in place of data_key")
    format: str | None = option(
        None, choices=("csv", "tsv", "jsonl", "parquet", "excel"), help="of `path`, if the extension does not tell"
    )
    delimiter: str | None = option(None, help="of `path`, as for the step type table")
    columns: dict[str, Any] | list[Any] | None = option(None, help="of `upsert`, as for the step type table")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        mode = options.get("mode", "rows")
        used = USED[mode]
        for name in used[: used.index("|")]:
            if options.get(name) is None:
                yield name, f"option {name!r} is missing: {mode!r} needs it"
        for name in options:
            if name not in ("mode", "secret", "sqlite") and name not in used:
                yield name, f"option {name!r} has no effect in mode {mode!r}"
        if (options.get("secret") is None) == (options.get("sqlite") is None):
            yield "secret", "set either 'secret' or 'sqlite'"
        if mode == "upsert":
            yield from _check_upsert(options)
        elif isinstance(options.get("query"), str):
            yield from _check_query(mode, options)

    def writes(self) -> bool:
        return self.mode not in READING

    def intention(self) -> str:
        place = self.sqlite or f"the database of {self.secret!r}"
        if self.mode == "upsert":
            return f"upsert {self.data_key or self.path} into {self.table} of {place}"
        words = " ".join((self.query or "").split())
        return f"{self.mode}: {words if len(words) <= 60 else words[:59] + '…'} in {place}"

    def dry_result(self) -> Any:
        return {"rows": 0, "repeated": 0} if self.mode == "upsert" else {"rows": 0}

    def run(self, ctx: Context) -> Any:
        if self.mode == "upsert":
            return self._upsert(ctx)
        items = self._items(ctx) if self.mode == "many" else []
        from scflows.connectors.sql import import_sqlalchemy

        import_sqlalchemy()
        from sqlalchemy import bindparam, text

        statement = text(self.query or "")
        params = self.params or {}
        expanding: list[BindParameter[Any]] = [
            bindparam(name, expanding=True) for name, value in params.items() if isinstance(value, list)
        ]
        statement = statement.bindparams(*expanding)
        if self.mode == "many":
            return self._connect(ctx).run(lambda connection: _execute_many(ctx, connection, statement, items))
        if self.mode == "execute":
            return self._connect(ctx).run(lambda connection: _execute(connection, statement, params))
        return self._connect(ctx).run(lambda connection: self._fetch(ctx, connection, statement, params))

    def _connect(self, ctx: Context) -> Database:
        from scflows.connectors.sql import Database, database_url

        def remaining() -> float:
            return ctx.call_timeout(TIMEOUT)

        read_only = not self.writes()
        if self.sqlite is None:
            secret = ctx.secret(str(self.secret))
            try:
                url, scheme = database_url(secret)
                if scheme != "sqlite":
                    return Database.at_server(secret, read_only, remaining, ctx.sleep)
            except UsageError as error:
                raise StepError(f"secret {self.secret!r}: {error}") from error
            shown = url.database or ""
        else:
            shown = self.sqlite
        path = ctx.readable(shown) if read_only else ctx.writable(shown, is_artifact=False)
        return Database.in_file(path, shown, read_only, remaining, lambda: ctx.sleep(0), ctx.sleep)

    def _fetch(self, ctx: Context, connection: Connection, statement: Any, params: dict[str, Any]) -> Any:
        # A cursor on the server, which only queries have, so that not all rows are in memory twice.
        streamed = self.mode == "rows" and SELECT.match(self.query or "")
        options: dict[str, Any] = {"stream_results": True, "yield_per": CHUNK} if streamed else {}
        result = connection.execute(statement, params, execution_options=options)
        if not result.returns_rows:
            raise StepError(f"the query returns no rows; use mode: execute instead of {self.mode!r}")
        names = list(result.keys())
        _check_names(names)
        if self.mode == "rows":
            return _all_rows(ctx, result, names, self.limit)
        rows = result.fetchmany(2)
        result.close()
        if len(rows) > 1:
            raise StepError(f"the query returns more than one row; mode {self.mode!r} expects one")
        if self.mode == "one":
            return _row(names, rows[0], 1) if rows else None
        if len(names) != 1:
            raise StepError(f"the query returns {len(names)} columns; mode 'value' expects one")
        return _value(names[0], rows[0][0], 1) if rows else None

    def _items(self, ctx: Context) -> list[dict[str, Any]]:
        """Return the parameters of each item. Raises StepError for an item without one of them."""
        names = PARAMETER.findall(self.query or "")
        found = []
        for number, item in enumerate(_mappings(ctx, self.data_key), 1):
            for name in names:
                if name not in item:
                    raise StepError(f"{self.data_key!r}: item {number} has no key {name!r}, which the query uses")
            found.append({name: _bound(item[name]) for name in names})
        return found

    def _upsert(self, ctx: Context) -> dict[str, int]:
        from scflows.connectors.sql_upsert import upsert

        shown = repr(self.data_key) if self.data_key is not None else str(self.path)
        key = [self.key] if isinstance(self.key, str) else list(self.key or [])
        try:
            names, rows = self._rows_of_data(ctx, shown) if self.path is None else self._rows_of_file(ctx, shown)
            if not names and self.path is None:
                return {"rows": 0, "repeated": 0}
            written = upsert(self._connect(ctx), str(self.table), key, names, rows, shown)
        except OSError as error:
            raise StepError(f"{shown}: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise StepError(f"{shown}: not UTF-8") from error
        if written.repeated:
            ctx.log.warning(f"{shown}: {written.repeated} rows have the key of an earlier row; the last one holds")
        return {"rows": written.rows, "repeated": written.repeated}

    def _rows_of_data(self, ctx: Context, shown: str) -> tuple[list[str], Rows]:
        from scflows.connectors.tables import names_of
        from scflows.connectors.tables.column import Columns

        rows, columns = _mappings(ctx, self.data_key), Columns.of(self.columns)

        def read() -> Iterator[tuple[int, dict[str, Any]]]:
            for number, row in enumerate(rows, 1):
                _breathe(ctx, number)
                yield number, columns.convert_row(row, shown, number)

        return columns.header(names_of(rows)) if rows else [], read

    def _rows_of_file(self, ctx: Context, shown: str) -> tuple[list[str], Rows]:
        from scflows.connectors.tables import find_format, format_name
        from scflows.connectors.tables.column import Columns

        columns = Columns.of(self.columns)
        handler = find_format(format_name(shown, self.format), self.delimiter)
        path = ctx.readable(shown)
        with handler.open(path, shown) as table:
            found = dict.fromkeys(table.names or (name for _, row in table.rows for name in row))
        columns.check_known(found, shown)

        def read() -> Iterator[tuple[int, dict[str, Any]]]:
            with handler.open(path, shown) as table:
                for number, row in table.rows:
                    _breathe(ctx, number)
                    yield number, columns.convert_row(row, shown, number)

        return columns.header(found), read


def _check_upsert(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if (options.get("data_key") is None) == (options.get("path") is None):
        yield "data_key", "set either 'data_key' or 'path': the rows"
    if options.get("key") == []:
        yield "key", "'key' must name at least one column"
    from scflows.connectors.tables.column import column_mistakes

    yield from column_mistakes(options)


def _check_query(mode: str, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    query = options["query"]
    if is_template(query):
        yield "query", "'query' is not a template; write :name, and set the value in 'params'"
    params = options.get("params")
    if mode == "many" or not isinstance(params, dict | None):
        return
    used, given = set(PARAMETER.findall(query)), set(params or {})
    for name in sorted(used - given):
        yield "params", f"the query uses :{name}, which 'params' lacks (write \\:{name} for a text with a colon)"
    for name in sorted(given - used):
        yield "params", f"the query does not use the parameter {name!r}"


def _mappings(ctx: Context, data_key: str | None) -> list[dict[str, Any]]:
    rows = ctx.peek(str(data_key))
    if not isinstance(rows, list):
        raise StepError(f"{data_key!r} is not a list of mappings; put a single row into a list")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise StepError(f"{data_key!r}: item {number} is not a mapping")
    return rows


def _breathe(ctx: Context, number: int) -> None:
    """Let the step be interrupted now and then."""
    if number % CHUNK == 0:
        ctx.sleep(0)


def _bound(value: Any) -> Any:
    """Return the value of a parameter: lists and mappings go into the database as JSON."""
    if isinstance(value, dict | list):
        from scflows.documents import json_text

        return json_text(value)
    return value


def _execute(connection: Connection, statement: Any, params: dict[str, Any]) -> dict[str, Any]:
    values = {name: value if isinstance(value, list) else _bound(value) for name, value in params.items()}
    result = connection.execute(statement, values)
    if not result.returns_rows:
        return {"rows": max(0, result.rowcount)}
    names = list(result.keys())
    _check_names(names)
    returned = [_row(names, row, number) for number, row in enumerate(result, 1)]
    return {"rows": len(returned), "returned": returned}


def _execute_many(ctx: Context, connection: Connection, statement: Any, items: list[dict[str, Any]]) -> dict[str, int]:
    for start in range(0, len(items), CHUNK):
        connection.execute(statement, items[start : start + CHUNK])
        ctx.sleep(0)
    return {"rows": len(items)}


def _all_rows(ctx: Context, result: Any, names: list[str], limit: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for part in result.partitions(CHUNK):
        for row in part:
            if len(rows) == limit:
                result.close()
                raise StepError(f"the query returns more than {limit:,} rows; select fewer, or set a higher `limit`")
            rows.append(_row(names, row, len(rows) + 1))
        ctx.sleep(0)
    return rows


def _check_names(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise StepError(f"the query returns two columns named {name!r}; rename one with `as`")


def _row(names: list[str], row: Any, number: int) -> dict[str, Any]:
    return {name: _value(name, value, number) for name, value in zip(names, row, strict=True)}


def _value(name: str, value: Any, number: int) -> Any:
    """Return a value of a row for the flow's data. Raises StepError for one that the data cannot hold."""
    if value is None or isinstance(value, str | int | bool | dict | list):
        return value
    try:
        return _converted(value)
    except (ValueError, StepError) as error:
        raise StepError(f"row {number}, column {name!r}: {error}; select it as text, with cast(… as char)") from error


def _converted(value: Any) -> Any:
    from datetime import timedelta
    from decimal import Decimal
    from uuid import UUID

    from scflows.steps.values import json_value

    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError(f"{value} is not a number that JSON can hold")
        from scflows.documents import parse_number

        return parse_number(f"{value:f}" if value.adjusted() < 400 else str(value))
    if isinstance(value, timedelta):
        # A column of type TIME or INTERVAL, in seconds.
        return value.total_seconds()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, memoryview | bytearray):
        value = bytes(value)
    return json_value(value)
