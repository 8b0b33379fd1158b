"""Group rows and aggregate their columns."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import StepError
from scflows.expressions.comparison import MIXED, sort_keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from scflows.connectors.tables import Row

#: Integers up to this are exact as a float.
MOST_EXACT = 2**53


@dataclass(frozen=True)
class Aggregate:
    """One column of the result: a function of the values of a column."""

    function: str
    column: str | None  #: None: count the rows

    @classmethod
    def parse(cls, written: Any) -> Aggregate:
        """Parse `mean:temp`, `count` or `{function: mean, column: temp}`. Raises ValueError."""
        if isinstance(written, dict):
            if not set(written) <= {"function", "column"}:
                raise ValueError("use `function` and `column`")
            function, column = written.get("function"), written.get("column")
        else:
            function, _, column = str(written).partition(":")
        if function not in FUNCTIONS:
            raise ValueError(f"unknown function {function!r}; use one of {', '.join(FUNCTIONS)}")
        if not column and function != "count":
            raise ValueError(f"{function} needs a column; write {function}:COLUMN")
        return cls(function, column or None)


def group_rows(rows: Sequence[Row], by: Sequence[str], values: Mapping[str, Aggregate], shown: str) -> list[Row]:
    """Return one row for each combination of values of the `by` columns, in their order, null last.

    Functions ignore null. Without `by` there is exactly one row, even if there are no rows. Raises StepError with row
    and column for a value that a function does not support.
    """
    groups: dict[tuple[Any, ...], list[int]] = {} if by else {(): []}
    for index, row in enumerate(rows):
        groups.setdefault(tuple(_key(row.get(name)) for name in by), []).append(index)
    found = []
    for key in sorted(groups):
        members = groups[key]
        result = {name: rows[members[0]].get(name) for name in by}
        for name, aggregate in values.items():
            result[name] = _aggregate(rows, members, aggregate, shown)
        found.append(result)
    return found


def _key(value: Any) -> tuple[int, Any]:
    """Return a sort key that distinguishes true from 1 and allows texts and numbers in one column."""
    if value is None:
        return (9, 0)
    if isinstance(value, bool):
        return (0, value)
    if isinstance(value, int | float):
        return (1, value)
    if isinstance(value, str):
        return (2, value)
    import json

    return (3, json.dumps(value, sort_keys=True))


def _aggregate(rows: Sequence[Row], members: list[int], aggregate: Aggregate, shown: str) -> Any:
    if aggregate.column is None:
        return len(members)
    column = aggregate.column
    cells = [rows[index].get(column) for index in members]
    values = [cell for cell in cells if cell is not None]
    if aggregate.function in NUMERIC_FUNCTIONS:
        for index, cell in zip(members, cells, strict=True):
            if cell is not None and not isinstance(cell, int | float):
                problem = f"{cell!r} is not a number; give the column a type (columns: {{{column}: number}})"
                raise StepError(f"{shown}: row {index + 1}, column {column!r}: {problem}")
        _refuse_rounding(values, aggregate.function, shown, column)
    try:
        if aggregate.function in ("min", "max"):
            values = _by_moment(values, aggregate.function)
        result = FUNCTIONS[aggregate.function](values)
    except TypeError as error:
        if str(error) == MIXED:
            raise StepError(f"{shown}: column {column!r}: {MIXED}") from None
        problem = f"{aggregate.function} does not support a mix of texts and numbers"
        raise StepError(f"{shown}: column {column!r}: {problem}") from None
    except OverflowError:
        raise StepError(f"{shown}: column {column!r}: its {aggregate.function} is too large") from None
    if isinstance(result, float) and result - result != 0:
        raise StepError(f"{shown}: column {column!r}: its {aggregate.function} is too large")
    return result


def _by_moment(values: list[Any], function: str) -> list[Any]:
    """Return only the first of the earliest or latest if all are date and time, otherwise the values."""
    keys = sort_keys(values)
    if keys is values or not values:
        return values
    choose = min if function == "min" else max
    return [values[choose(range(len(values)), key=keys.__getitem__)]]


def _refuse_rounding(values: list[Any], function: str, shown: str, column: str) -> None:
    """Raise StepError for integers that a function over floats would round."""
    if function == "sum" and all(isinstance(each, int) for each in values):
        return
    for each in values:
        if isinstance(each, int) and abs(each) > MOST_EXACT:
            raise StepError(f"{shown}: column {column!r}: {function} would round {str(each)[:60]}")


def _sum(values: list[Any]) -> Any:
    from math import fsum

    return sum(values) if all(isinstance(each, int) for each in values) else fsum(values)


def _mean(values: list[Any]) -> float | None:
    return _sum(values) / len(values) if values else None


def _median(values: list[Any]) -> Any:
    if not values:
        return None
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def _std(values: list[Any]) -> float | None:
    """Return the sample standard deviation (divided by n - 1); null for fewer than two values."""
    from math import fsum, sqrt

    if len(values) < 2:
        return None
    # The computed mean of equal values may differ slightly from them, which would give a deviation above zero.
    if all(each == values[0] for each in values):
        return 0.0
    mean = _sum(values) / len(values)
    return sqrt(fsum((each - mean) ** 2 for each in values) / (len(values) - 1))


FUNCTIONS: dict[str, Callable[[list[Any]], Any]] = {
    "count": len,
    "sum": _sum,
    "mean": _mean,
    "min": lambda values: min(values, default=None),
    "max": lambda values: max(values, default=None),
    "median": _median,
    "std": _std,
    "first": lambda values: values[0] if values else None,
    "last": lambda values: values[-1] if values else None,
}
NUMERIC_FUNCTIONS = ("sum", "mean", "median", "std")
