"""Arithmetic of templates: exact, or an error."""

from __future__ import annotations

from scflows.expressions.comparison import sort_keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: Integers up to this are exact as a float.
MOST_EXACT = 2**53
#: The kinds of a format that show a number as a float.
FLOATS = "eEfFgG"


def refuse_rounding(operator: str, left: Any, right: Any) -> None:
    """Raise for an operation that makes a float of an integer that a float cannot hold."""
    if isinstance(left, float) or isinstance(right, float) or operator == "/":
        for value in (left, right):
            if isinstance(value, int) and not -MOST_EXACT <= value <= MOST_EXACT and not is_exact(value):
                from jinja2 import TemplateRuntimeError

                advice = "; // divides integers" if operator == "/" else ""
                raise TemplateRuntimeError(f"{_shown(value)} would be rounded by {operator}{advice}")


def is_exact(value: int) -> bool:
    try:
        return int(float(value)) == value
    except OverflowError:
        return False


def _shown(value: int) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:39] + "…"


def exact_filters(usual: dict[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """Return filters that do not round, and that compare times as instants."""
    from jinja2 import TemplateRuntimeError, pass_environment
    from jinja2.filters import ignore_case, make_attrgetter, make_multi_attrgetter

    from scflows.documents import parse_finite

    def to_integer(value: Any, default: int = 0, base: int = 10) -> Any:
        if isinstance(value, str) and base == 10 and len(value) > 15:
            from decimal import Decimal, InvalidOperation

            try:
                number = Decimal(value.strip())
                # The same digits that `int` takes, but for those of an exponent.
                return int(number) if number.is_finite() and abs(number.adjusted()) < 400 else default
            except InvalidOperation:
                return default
        return usual["int"](value, default, base)

    def to_float(value: Any, default: float = 0.0) -> Any:
        if isinstance(value, int) and not is_exact(value):
            raise TemplateRuntimeError(f"{_shown(value)} would be rounded by the filter float")
        if isinstance(value, str) and len(value) > 15:
            try:
                float(value)
            except ValueError:
                return default
            return parse_finite(value.strip())
        return usual["float"](value, default)

    @pass_environment
    def total(environment: Any, value: Any, attribute: Any = None, start: Any = 0) -> Any:
        items = value if attribute is None else map(make_attrgetter(environment, attribute), value)
        for item in items:
            start = environment.call_binop(None, "+", start, item)
        return start

    def rounded(value: Any, precision: int = 0, method: str = "common") -> Any:
        if isinstance(value, int) and precision >= 0 and abs(value) > MOST_EXACT:
            return value
        return usual["round"](value, precision, method)

    def extreme(choose: Callable[..., Any], environment: Any, value: Any, case_sensitive: bool, attribute: Any) -> Any:
        items = list(value)
        if not items:
            return environment.undefined("No aggregated item, sequence was empty.")
        key = make_attrgetter(environment, attribute, None if case_sensitive else ignore_case)
        keys = sort_keys([key(item) for item in items])
        return items[choose(range(len(items)), key=keys.__getitem__)]

    @pass_environment
    def least(environment: Any, value: Any, case_sensitive: bool = False, attribute: Any = None) -> Any:
        return extreme(min, environment, value, case_sensitive, attribute)

    @pass_environment
    def greatest(environment: Any, value: Any, case_sensitive: bool = False, attribute: Any = None) -> Any:
        return extreme(max, environment, value, case_sensitive, attribute)

    @pass_environment
    def in_order(
        environment: Any, value: Any, reverse: bool = False, case_sensitive: bool = False, attribute: Any = None
    ) -> Any:
        items = list(value)
        key = make_multi_attrgetter(environment, attribute, None if case_sensitive else ignore_case)
        columns = [sort_keys(column) for column in zip(*map(key, items), strict=True)]
        keys = list(zip(*columns, strict=True))
        return [items[index] for index in sorted(range(len(items)), key=keys.__getitem__, reverse=reverse)]

    return {
        "int": to_integer,
        "float": to_float,
        "round": rounded,
        "sum": total,
        "min": least,
        "max": greatest,
        "sort": in_order,
    }
