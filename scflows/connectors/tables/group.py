"""Rows summed up by the values of some columns."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from scflows.connectors.tables import Row


@dataclass(frozen=True)
class Value:
    """One column of the result: a function over the values of a column."""

    function: str
    column: str | None  #: None: over the rows themselves, to count them

    @classmethod
    def of(cls, said: Any) -> Value:
        """From `mean:temp`, `count` or `{function: mean, column: temp}`. Raises ValueError."""
        if isinstance(said, dict):
            if not set(said) <= {"function", "column"}:
                raise ValueError("it takes `function` and `column`")
            function, column = said.get("function"), said.get("column")
        else:
            function, _, column = str(said).partition(":")
        if function not in FUNCTIONS:
            raise ValueError(f"unknown function {function!r}; there are {', '.join(FUNCTIONS)}")
        if not column and function != "count":
            raise ValueError(f"{function} of which column? write {function}:COLUMN")
        return cls(function, column or None)


def grouped(rows: Sequence[Row], by: Sequence[str], values: Mapping[str, Value], shown: str) -> list[Row]:
    """One row for each combination of the `by` columns, in the order of their values, null last.

    Null is left out of every function. Without `by` there is one row, also for no rows at all. Raises StepError
    for a value that a function cannot take, naming row and column.
    """
    groups: dict[tuple[Any, ...], list[int]] = {} if by else {(): []}
    for index, row in enumerate(rows):
        groups.setdefault(tuple(_key(row.get(name)) for name in by), []).append(index)
    found = []
    for key in sorted(groups):
        members = groups[key]
        result = {name: rows[members[0]].get(name) for name in by}
        for name, value in values.items():
            result[name] = _summed(rows, members, value, shown)
        found.append(result)
    return found


def _key(value: Any) -> tuple[int, Any]:
    """A value as what sorts and tells apart: true is not 1, and texts do not compare with numbers."""
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


def _summed(rows: Sequence[Row], members: list[int], value: Value, shown: str) -> Any:
    if value.column is None:
        return len(members)
    column = value.column
    cells = [rows[index].get(column) for index in members]
    given = [cell for cell in cells if cell is not None]
    if value.function in OF_NUMBERS:
        for index, cell in zip(members, cells, strict=True):
            if cell is not None and not isinstance(cell, int | float):
                told = f"{cell!r} is no number; give the column a type (columns: {{{column}: number}})"
                raise StepError(f"{shown}: row {index + 1}, column {column!r}: {told}")
    try:
        result = FUNCTIONS[value.function](given)
    except TypeError:
        reason = f"texts and numbers, of which there is no {value.function}"
        raise StepError(f"{shown}: column {column!r} mixes {reason}") from None
    except OverflowError:
        raise StepError(f"{shown}: column {column!r}: its {value.function} is too large") from None
    if isinstance(result, float) and result - result != 0:
        raise StepError(f"{shown}: column {column!r}: its {value.function} is too large")
    return result


def _sum(given: list[Any]) -> Any:
    from math import fsum

    return sum(given) if all(isinstance(each, int) for each in given) else fsum(given)


def _mean(given: list[Any]) -> float | None:
    return _sum(given) / len(given) if given else None


def _median(given: list[Any]) -> Any:
    if not given:
        return None
    ordered = sorted(given)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def _std(given: list[Any]) -> float | None:
    """The deviation of a sample (divided by n - 1); null for less than two values."""
    from math import fsum, sqrt

    if len(given) < 2:
        return None
    # The mean of equal values need not be exactly that value, and would leave a spread where there is none.
    if all(each == given[0] for each in given):
        return 0.0
    mean = _sum(given) / len(given)
    return sqrt(fsum((each - mean) ** 2 for each in given) / (len(given) - 1))


FUNCTIONS: dict[str, Callable[[list[Any]], Any]] = {
    "count": len,
    "sum": _sum,
    "mean": _mean,
    "min": lambda given: min(given, default=None),
    "max": lambda given: max(given, default=None),
    "median": _median,
    "std": _std,
    "first": lambda given: given[0] if given else None,
    "last": lambda given: given[-1] if given else None,
}
OF_NUMBERS = ("sum", "mean", "median", "std")
