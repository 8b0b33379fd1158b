"""Read, write, append to, aggregate and filter tables."""

from __future__ import annotations

import os
from dataclasses import dataclass

from scflows.errors import StepError
from scflows.expressions.templates import Expressions, is_template
from scflows.steps import Context, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from scflows.connectors.tables.column import Columns

#: The options of each mode; the required ones come before the bar.
USED = {
    "read": ("path", "|", "format", "delimiter", "columns", "limit", "missing"),
    "write": ("path", "data_key", "|", "format", "delimiter", "columns"),
    "append": ("path", "data_key", "|", "format", "delimiter", "columns", "unique"),
    "group": ("data_key", "by", "values", "|", "columns"),
    "filter": ("data_key", "|", "where", "columns", "limit"),
}


@dataclass(frozen=True)
class TableStep(Step):
    """Read, write, append to, aggregate and filter tables: lists of mappings, in files of several formats.

    - name: readings
      type: table
      table:
        path: input/readings.csv
        columns: {time: datetime, temp: number}
    - name: warm
      type: table
      table: {mode: filter, data_key: readings, where: "temp is not none and temp > 20"}
    - name: months
      type: table
      table:
        mode: group
        data_key: readings
        by: [station]
        values: {readings: count, mean: "mean:temp", highest: "max:temp"}
    - name: keep
      type: table
      table: {mode: append, path: output/warm.csv, data_key: warm, unique: [station, time]}
    """

    mode: str = option("read", choices=tuple(USED), help="the operation; filter and group need no file")
    path: str | None = option(None, template=True, help="a file in DATA_PATH; csv, tsv, jsonl, ndjson, parquet, xlsx")
    format: str | None = option(
        None, choices=("csv", "tsv", "jsonl", "parquet", "excel"), help="if the file extension does not tell"
    )
    delimiter: str | None = option(
        None, help="between the cells; default for CSV: as in its header, or a comma; for TSV: tab"
    )
    data_key: str | None = option(None, help="the key of the list of mappings")
    columns: dict[str, Any] | list[Any] | None = option(
        None,
        help="a mapping of columns to types (text, integer, number, boolean, date, datetime), or a list of the columns "
        "to keep",
    )
    limit: int | None = option(None, minimum=0, help="maximum number of rows")
    missing: str = option("error", choices=("error", "empty"), help="the result for a file that is missing or empty")
    unique: list[Any] | None = option(None, help="columns that identify a row; existing rows are not appended again")
    by: list[Any] | None = option(None, help="columns to group by; [] for a single group")
    values: dict[str, Any] | None = option(
        None, help="result columns, for example mean:temp; count sum mean min max median std first last"
    )
    where: Any = option(None, help="a condition or a list of conditions, on the columns and `row`")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        from scflows.connectors.tables.column import column_mistakes

        mode = options.get("mode", "read")
        used = USED[mode]
        for name in used[: used.index("|")]:
            if options.get(name) is None:
                yield name, f"option {name!r} is missing: {mode!r} needs it"
        for name in options:
            if name != "mode" and name not in used:
                yield name, f"option {name!r} has no effect in mode {mode!r}"
        yield from _check_path(options)
        if len(options.get("delimiter") or ",") != 1 or options.get("delimiter") in ('"', "\n", "\r"):
            yield "delimiter", "'delimiter' must be one character, for example ';' or \"\\t\""
        yield from column_mistakes(options)
        yield from _check_values(options)
        yield from _check_where(options)

    def writes(self) -> bool:
        return self.mode in ("write", "append")

    def intention(self) -> str:
        if self.mode == "group":
            return f"aggregate {self.data_key!r}" + (f" by {', '.join(map(str, self.by))}" if self.by else "")
        if self.mode == "filter":
            return f"filter {self.data_key!r}"
        return f"append to {self.path}" if self.mode == "append" else f"{self.mode} {self.path}"

    def dry_result(self) -> Any:
        return {"rows": 0, "skipped": 0}

    def run(self, ctx: Context) -> Any:
        from scflows.connectors.tables.column import Columns

        columns = Columns.of(self.columns)
        try:
            if self.mode == "read":
                return self._read(ctx, columns)
            rows = self._rows(ctx, columns)
            if self.mode == "group":
                return self._group(rows)
            if self.mode == "filter":
                return self._filter(ctx, rows)
            return self._write(ctx, columns, rows)
        except OSError as error:
            raise StepError(f"{self.path}: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise StepError(f"{self.path}: not UTF-8") from error
        except UnicodeEncodeError as error:
            raise StepError(f"{self.path}: a text contains half a surrogate pair, which UTF-8 cannot encode") from error

    def _read(self, ctx: Context, columns: Columns) -> list[dict[str, Any]]:
        from itertools import islice

        from scflows.connectors.tables import find_format, format_name

        assert self.path is not None
        handler = find_format(format_name(self.path, self.format), self.delimiter)
        path = ctx.readable(self.path)
        try:
            # A file that another run has just created is empty until its first rows are written.
            if self.missing == "empty" and os.stat(path).st_size == 0:
                return []
            with handler.open(path, self.path) as table:
                if table.names is not None:
                    columns.check_known(table.names, self.path)
                rows = islice(table.rows, self.limit)
                return [columns.convert_row(row, self.path, number) for number, row in rows]
        except FileNotFoundError:
            if self.missing == "empty":
                return []
            raise

    def _rows(self, ctx: Context, columns: Columns) -> list[dict[str, Any]]:
        assert self.data_key is not None
        rows = ctx.peek(self.data_key)
        if not isinstance(rows, list):
            raise StepError(f"{self.data_key!r} is not a list of mappings; put a single row into a list")
        for number, row in enumerate(rows, 1):
            if not isinstance(row, dict):
                raise StepError(f"{self.data_key!r}: item {number} is not a mapping")
        return [columns.convert_row(row, self.data_key, number) for number, row in enumerate(rows, 1)]

    def _write(self, ctx: Context, columns: Columns, rows: list[dict[str, Any]]) -> dict[str, int]:
        from scflows.connectors.tables import find_format, format_name, names_of

        assert self.path is not None
        format = format_name(self.path, self.format)
        path = ctx.writable(self.path)
        if self.mode == "append":
            from scflows.connectors.tables.add_rows import add_rows

            added = add_rows(path, self.path, format, columns, rows, self.unique or (), self.delimiter)
            return {"rows": added, "skipped": len(rows) - added}
        from scflows.storage import replace

        replace(path, find_format(format, self.delimiter).content(columns.header(names_of(rows)), rows, columns.kinds))
        return {"rows": len(rows), "skipped": 0}

    def _group(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        from scflows.connectors.tables.column import Columns
        from scflows.connectors.tables.group import Aggregate, group_rows

        assert self.data_key is not None
        by = self.by or []
        values = {name: Aggregate.parse(each) for name, each in (self.values or {}).items()}
        if rows:
            columns = Columns.of([*by, *(value.column for value in values.values() if value.column)])
            columns.check_known({name: None for row in rows for name in row}, self.data_key)
        return group_rows(rows, by, values, self.data_key)

    def _filter(self, ctx: Context, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        from scflows.connectors.tables import names_of

        conditions = self.where if isinstance(self.where, list) else [] if self.where is None else [self.where]
        special = ctx.special_variables()
        # A column that some rows lack is null there, even if the data has a key of that name.
        base = {**ctx.data, **dict.fromkeys(names_of(rows))}
        matches: list[dict[str, Any]] = []
        for row in rows:
            if len(matches) == self.limit:
                break
            names = {**base, "row": row, **row, **special}
            if all(ctx.expressions.evaluate(condition, names) for condition in conditions):
                matches.append(row)
        return matches


def _check_path(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    from scflows.connectors.tables import format_name

    path = options.get("path")
    if isinstance(path, str) and not is_template(path):
        try:
            format = format_name(path, options.get("format"))
            if options.get("delimiter") is not None and format not in ("csv", "tsv"):
                yield "delimiter", f"option 'delimiter' has no effect in format {format!r}"
        except StepError as error:
            yield "path", str(error)


def _check_values(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    from scflows.connectors.tables.group import Aggregate

    for name, value in (options.get("values") or {}).items():
        try:
            Aggregate.parse(value)
        except ValueError as error:
            yield "values", f"{name!r}: {error}"


def _check_where(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    where = options.get("where")
    expressions = Expressions()
    for condition in where if isinstance(where, list) else [where]:
        if condition is not None and not isinstance(condition, str | bool | int | float):
            yield "where", "a condition must be text, for example `temp > 20`"
            continue
        try:
            expressions.check_condition(condition)
            if doubt := expressions.doubt_condition(condition):
                yield "where", f"where: {condition!r} {doubt}"
        except StepError as error:
            yield "where", str(error)
