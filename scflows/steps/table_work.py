"""The work of a `table` step: from data, a reference or a file, to data, a reference or a file."""

from __future__ import annotations

import os
from itertools import chain, islice

from scflows.connectors.tables import find_format, format_name, names_of
from scflows.connectors.tables.column import Columns
from scflows.connectors.tables.reference import KEY, THRESHOLD, ReferenceSource, is_reference, write_reference
from scflows.connectors.tables.source import FileSource, RowsSource, TypedSource
from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from scflows.connectors.tables import Row
    from scflows.connectors.tables.source import TableSource
    from scflows.steps.context import Context

    #: The columns and rows of a new table.
    Made = tuple[list[str], Iterator[tuple[int, Row]]]


class TableWork:
    """The work of one step; `step` has the options of the type `table`."""

    def __init__(self, step: Any, ctx: Context, columns: Columns) -> None:
        self.step = step
        self.ctx = ctx
        self.columns = columns
        self._paths: dict[str, str] = {}  #: as written, by absolute path
        self._source: TableSource | None = None

    def run(self) -> Any:
        """Return the result of the step, in all modes that do not write `path`."""
        made: dict[str, Callable[[], Any]] = {
            "read": self._read,
            "group": self._group,
            "filter": self._filter,
            "add_column": lambda: self._finish(*self._add_column()),
            "zscore": lambda: self._finish(*self._zscore()),
            "join": lambda: self._finish(*self._join()),
            "pivot": self._pivot,
            "validate": self._validate,
            "convert": lambda: self._finish(*self._convert()),
        }
        return made[self.step.mode]()

    def shown(self, error: OSError) -> str:
        """Return the path that an error is about, as it was written."""
        return self._paths.get(str(error.filename), self.step.to or self.step.path or str(self.step.data_key))

    def rows(self) -> list[Row]:
        """Return the rows of `data_key` with the types of columns."""
        return [row for _, row in self._typed_rows()]

    def write(self, path: str, format: str) -> dict[str, int]:
        """Write the rows of `data_key` to a file."""
        from scflows.storage import replacing

        step = self.step
        assert step.data_key is not None
        value = self.ctx.peek(step.data_key)
        names = value["columns"] if is_reference(value) else None
        rows: Iterable[Row] = (row for _, row in self._typed_rows())
        if names is None:
            # All are checked before the file is opened, and the columns of all count.
            rows = list(rows)
            names = names_of(rows)
        count = 0

        def counted() -> Iterator[Row]:
            nonlocal count
            for row in rows:
                count += 1
                yield row

        with replacing(path) as file:
            handler = find_format(format, step.delimiter)
            handler.save(file, self.columns.header(names), counted(), self.columns.kinds)
        return {"rows": count, "skipped": 0}

    def _typed_rows(self) -> Iterator[tuple[int, Row]]:
        assert self.step.data_key is not None
        with self._of_data(self.step.data_key).open() as table:
            for number, row in table.rows:
                yield number, self.columns.convert_row(row, self.step.data_key, number)

    def _of_data(self, key: str) -> TableSource:
        value = self.ctx.peek(key)
        if is_reference(value):
            return ReferenceSource(value, self._readable(value[KEY]), key)
        if not isinstance(value, list):
            raise StepError(f"{key!r} is not a list of mappings; put a single row into a list")
        for number, row in enumerate(value, 1):
            if not isinstance(row, dict):
                raise StepError(f"{key!r}: item {number} is not a mapping")
        return RowsSource(value, key)

    def _of_file(self, path: str, format: str | None = None, delimiter: str | None = None) -> FileSource:
        return FileSource(self._readable(path), path, format, delimiter)

    def _readable(self, path: str) -> str:
        full = self.ctx.readable(path)
        self._paths[full] = path
        return full

    def _left(self) -> TableSource:
        step = self.step
        if step.path is not None:
            self._source = self._of_file(step.path, step.format, step.delimiter)
        else:
            assert step.data_key is not None
            self._source = self._of_data(step.data_key)
        return self._source

    def _read(self) -> Any:
        step = self.step
        assert step.path is not None
        path = self._readable(step.path)
        handler = find_format(format_name(step.path, step.format), step.delimiter)
        try:
            # A file that another run has just created is empty until its first rows are written.
            if step.missing == "empty" and os.stat(path).st_size == 0:
                return []
            with handler.open(path, step.path) as table:
                names = table.names
                if names is not None:
                    self.columns.check_known(names, step.path)
                shown, convert = step.path, self.columns.convert_row
                rows = ((number, convert(row, shown, number)) for number, row in islice(table.rows, step.limit))

                def all_names() -> list[str]:
                    return self._with_columns(
                        names if names is not None else _names_of(self._of_file(shown, step.format))
                    )

                return self._result(all_names, rows)
        except FileNotFoundError:
            if step.missing == "empty":
                return []
            raise

    def _with_columns(self, names: Iterable[str]) -> list[str]:
        return list(self.columns.names) if self.columns.only else list(dict.fromkeys((*names, *self.columns.names)))

    def _group(self) -> Any:
        from scflows.connectors.tables.group import Aggregate, group_rows

        step, rows = self.step, self.rows()
        assert step.data_key is not None
        by = step.by or []
        values = {name: Aggregate.parse(each) for name, each in (step.values or {}).items()}
        if rows:
            columns = Columns.of([*by, *(value.column for value in values.values() if value.column)])
            columns.check_known({name: None for row in rows for name in row}, step.data_key)
        groups = group_rows(rows, by, values, step.data_key)
        return self._result(lambda: [*by, *values], iter(enumerate(groups, 1)))

    def _filter(self) -> Any:
        step, ctx = self.step, self.ctx
        assert step.data_key is not None
        with self._of_data(step.data_key).open() as table:
            names = self._with_columns(table.names or ())
        where = step.where if isinstance(step.where, list) else [] if step.where is None else [step.where]
        scope = self._scope(names)

        def matches() -> Iterator[tuple[int, Row]]:
            for number, row in self._typed_rows():
                if all(ctx.expressions.evaluate(condition, scope(row)) for condition in where):
                    yield number, row

        return self._result(lambda: names, islice(matches(), step.limit))

    def _scope(self, names: Iterable[str]) -> Callable[[Row], dict[str, Any]]:
        """Return a function that gives the names for a condition on a row."""
        special = self.ctx.special_variables()
        # A column that some rows lack is null there, even if the data has a key of that name.
        base = {**self.ctx.data, **dict.fromkeys(names)}
        return lambda row: {**base, "row": row, **row, **special}

    def _add_column(self) -> Made:
        from scflows.connectors.tables.add_columns import column_added

        step, source = self.step, self._left()
        assert step.into is not None
        if step.expression is None:
            value = step.value if step.time is None else _now(step.time)
            return column_added(source, step.into, lambda row, number: value)
        expression, convert = step.expression, self.columns.convert_row
        with source.open() as table:
            self.columns.check_known(table.names or (), source.shown)
            scope = self._scope(table.names or ())

        def compute(row: Row, number: int) -> Any:
            try:
                # The types are those that the expression sees; the cells stay as they are written.
                return self.ctx.expressions.compute(expression, scope({**row, **convert(row, source.shown, number)}))
            except StepError as error:
                raise StepError(f"{source.shown}: row {number}: {error}") from None

        return column_added(source, step.into, compute)

    def _zscore(self) -> Made:
        from scflows.connectors.tables.add_columns import zscore_added

        assert self.step.column is not None
        into = self.step.into or f"z_score_{self.step.column}"
        return zscore_added(self._left(), self.step.column, into, self.step.ddof)

    def _join(self) -> Made:
        from scflows.connectors.tables.join import Join, joined

        step, log = self.step, self.ctx.log
        right = self._of_file(step.right) if step.right is not None else self._of_data(step.right_key or "")
        columns = None if step.columns is None else list(step.columns)
        join = Join(step.on or [], step.how, columns, step.defaults or {}, step.duplicates, step.combine or {})
        return joined(self._left(), right, join, log.warning, log.info)

    def _pivot(self) -> Any:
        from scflows.connectors.tables.group import Aggregate
        from scflows.connectors.tables.pivot import pivoted

        step = self.step
        try:
            aggregate = Aggregate.parse(step.value)
        except ValueError as error:
            raise StepError(f"value: {error}") from None
        source = TypedSource(self._left(), self.columns)
        names, rows = pivoted(source, step.by or [], step.across or "", aggregate)
        return self._finish(names, iter(enumerate(rows, 1)))

    def _convert(self) -> Made:
        source = TypedSource(self._left(), self.columns)
        with source.open() as table:
            names = table.names or []

        def rows() -> Iterator[tuple[int, Row]]:
            with source.open() as table:
                yield from table.rows

        return names, rows()

    def _validate(self) -> dict[str, Any]:
        from scflows.connectors.tables.validate import MAX_MISTAKES, validated

        step, source = self.step, self._left()
        limit = MAX_MISTAKES if step.limit is None else step.limit
        found = validated(source, step.rules or {}, step.unique or [], limit)
        if not found.count:
            return {"rows": found.rows, "mistakes": []}
        lines = [f"row {each['row']}, column {each['column']!r}: {each['message']}" for each in found.mistakes]
        more = found.count - len(lines)
        rest = [f"and {more} more" if lines else "not listed"] if more else []
        count = f"{found.count} mistake{'' if found.count == 1 else 's'} in {found.rows} rows"
        raise StepError(
            "\n".join([f"{source.shown}: {count}", *lines, *rest]), mistakes=found.mistakes, count=found.count
        )

    def _finish(self, names: list[str], rows: Iterator[tuple[int, Row]]) -> Any:
        """Write a new table to the file `to`; without one, return it."""
        step = self.step
        if step.to is None:
            return self._result(lambda: names, rows)
        from scflows.storage import replacing

        path = self.ctx.writable(step.to)
        self._paths[path] = step.to
        count = 0

        def counted() -> Iterator[Row]:
            nonlocal count
            for _, row in rows:
                count += 1
                yield row

        with replacing(path) as file:
            self._format_of(step.to).save(file, names, counted(), self.columns.kinds)
        return {"rows": count, "columns": names}

    def _format_of(self, path: str) -> Any:
        """Return the format of the target, which has the delimiter of a CSV source."""
        format, delimiter = format_name(path), None
        if format == "csv" and isinstance(self._source, FileSource) and self._source.format == "csv":
            delimiter = self._source.delimiter
        return find_format(format, delimiter)

    def _result(self, names: Callable[[], list[str]], rows: Iterator[tuple[int, Row]]) -> Any:
        """Return rows as a list, or as a reference to a file in the folder of the run."""
        ctx, kind = self.ctx, self.step.result
        folder = ctx.data.get("__run_folder__")
        if kind == "list" or ctx.dry_run or not isinstance(folder, str):
            return [row for _, row in rows]
        first = [] if kind == "reference" else [row for _, row in islice(rows, THRESHOLD + 1)]
        if kind == "auto" and len(first) <= THRESHOLD:
            return first
        # A step of a loop runs several times in one run.
        path = f"{folder}/tables/{_file_name(ctx.step_name)}-{os.urandom(4).hex()}.csv"
        return write_reference(ctx.writable(path), path, names(), chain(first, (row for _, row in rows)))


def _names_of(source: TableSource) -> list[str]:
    with source.open() as table:
        return table.names or []


def _file_name(step: str) -> str:
    """Return the name of a step as a part of a file name."""
    return "".join(letter if letter.isalnum() else "-" for letter in step)[:40] or "table"


def _now(kind: str) -> int | str:
    import time

    moment = time.time()
    return int(moment) if kind == "epoch" else time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(moment))
