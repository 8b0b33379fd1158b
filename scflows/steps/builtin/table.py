"""Read, write, check, change, join and convert tables."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import StepError
from scflows.steps import Context, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from scflows.connectors.tables.column import Columns
    from scflows.steps.table_work import TableWork

#: As in `connectors.tables.options`, which is not imported to list the step types.
MODES = (
    *("read", "write", "append", "group", "filter"),
    *("add_column", "zscore", "join", "pivot", "validate", "convert"),
)


@dataclass(frozen=True)
class TableStep(Step):
    """Read, write, check, change, join and convert tables: lists of mappings, in files of several formats.

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
    - name: score
      type: table
      table: {mode: zscore, path: input/readings.csv, column: temp, into: score, to: output/scores.csv}
    """

    mode: str = option("read", choices=MODES, help="the operation")
    path: str | None = option(None, template=True, help="a file in DATA_PATH; csv, tsv, jsonl, ndjson, parquet, xlsx")
    format: str | None = option(
        None, choices=("csv", "tsv", "jsonl", "parquet", "excel"), help="of `path`, if its extension does not tell"
    )
    delimiter: str | None = option(
        None, help="between the cells; default for CSV: as in its header, or a comma; for TSV: tab"
    )
    data_key: str | None = option(None, help="the key of the list of mappings, or of a reference to a table")
    to: str | None = option(None, template=True, help="the file to write the new table to, in DATA_PATH")
    result: str = option(
        "auto",
        choices=("auto", "list", "reference"),
        help="a list of mappings, or a reference to a file of the run's folder; auto: a reference from 100,001 rows",
    )
    columns: dict[str, Any] | list[Any] | None = option(
        None,
        help="a mapping of columns to types (text, integer, number, boolean, date, datetime), or a list of the columns "
        "to keep",
    )
    limit: int | None = option(None, minimum=0, help="maximum number of rows, or of mistakes listed (default: 100)")
    missing: str = option("error", choices=("error", "empty"), help="the result for a file that is missing or empty")
    unique: list[Any] | None = option(None, help="columns that identify a row; existing rows are not appended again")
    by: list[Any] | None = option(None, help="columns to group by; [] for a single group")
    values: dict[str, Any] | None = option(
        None, help="result columns, for example mean:temp; count sum mean min max median std first last"
    )
    where: Any = option(None, help="a condition or a list of conditions, on the columns and `row`")

    into: str | None = option(None, help="the new column; default for zscore: z_score_ and the column")
    value: Any = option(None, template=True, help="the value of all rows; for pivot the cells, for example sum:amount")
    expression: str | None = option(None, help="computes the value of each row, from its columns and `row`")
    time: str | None = option(None, choices=("iso", "epoch"), help="the time at which the step began, in all rows")
    column: str | None = option(None, help="the column of numbers")
    ddof: int = option(0, minimum=0, help="the standard deviation is divided by n - ddof")
    on: list[Any] | None = option(None, help="the columns that identify a row, in both tables")
    right: str | None = option(None, template=True, help="the file of the right table")
    right_key: str | None = option(None, help="the key of the right table")
    how: str = option("left", choices=("left", "inner"), help="left keeps rows without a partner")
    defaults: dict[str, Any] | None = option(None, help="values of new columns in rows without a partner")
    duplicates: str = option("last", choices=("last", "first", "error"), help="which of several partners counts")
    combine: dict[str, Any] | None = option(None, help="columns of both tables, with min or max")
    across: str | None = option(None, help="the column whose values become columns")
    rules: dict[str, Any] | None = option(
        None, help="rules by column: type, required, min, max, unique, choices, pattern"
    )

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        from scflows.connectors.tables.options import table_mistakes

        return table_mistakes(options)

    @classmethod
    def for_files(cls, options: Mapping[str, Any], sources: Mapping[str, str], target: str) -> dict[str, Any]:
        """Return the options with which the step makes the file `target` from `sources`, paths by name."""
        paths = list(sources.values())
        second = {"right": paths[1]} if len(paths) > 1 else {}
        return {**options, "path": paths[0], **second, **({} if options.get("mode") == "validate" else {"to": target})}

    def writes(self) -> bool:
        return self.mode in ("write", "append") or self.to is not None

    def intention(self) -> str:
        source = self.path or repr(self.data_key)
        if self.mode == "group":
            return f"aggregate {self.data_key!r}" + (f" by {', '.join(map(str, self.by))}" if self.by else "")
        if self.mode == "append":
            return f"append to {self.path}"
        if self.mode in ("read", "write", "filter", "validate"):
            return f"{self.mode} {source}"
        return f"{self.mode.replace('_', ' ')}: {source}" + (f" to {self.to}" if self.to else "")

    def dry_result(self) -> Any:
        return {"rows": 0, "skipped": 0}

    def run(self, ctx: Context) -> Any:
        from scflows.connectors.tables.column import Columns
        from scflows.steps.table_work import TableWork

        columns = Columns.of(self.columns)
        work = TableWork(self, ctx, columns)
        try:
            if self.mode in ("write", "append"):
                return self._write(ctx, columns, work)
            return work.run()
        except OSError as error:
            raise StepError(f"{work.shown(error)}: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise StepError(f"{self.path}: not UTF-8") from error
        except UnicodeEncodeError as error:
            name = self.to or self.path
            raise StepError(f"{name}: a text contains half a surrogate pair, which UTF-8 cannot encode") from error

    def _write(self, ctx: Context, columns: Columns, work: TableWork) -> dict[str, int]:
        from scflows.connectors.tables import format_name

        assert self.path is not None
        format = format_name(self.path, self.format)
        path = ctx.writable(self.path)
        if self.mode == "append":
            from scflows.connectors.tables.add_rows import add_rows

            rows = work.rows()
            added = add_rows(path, self.path, format, columns, rows, self.unique or (), self.delimiter)
            return {"rows": added, "skipped": len(rows) - added}
        return work.write(path, format)
