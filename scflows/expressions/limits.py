"""Limits of what a template creates, so that a few letters cannot fill the memory."""

from __future__ import annotations

from _thread import _local
from itertools import islice

from scflows.expressions.numbers import FLOATS, is_exact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

#: The largest value that one operation of a template may create out of small ones, in characters, items or bits.
MAX_EXPANSION = 10_000_000
#: The most that all operations of one rendering may create, and the longest text that it may render.
MAX_TEXT = 100_000_000
#: The methods that are bounded, see `expansion`; those of texts that pad them to a width, and others.
PADDING = ("center", "ljust", "rjust", "zfill")
EXPANDING = {*PADDING, "replace", "join", "expandtabs", "translate", "to_bytes"}
#: The filters that are bounded in the same way.
EXPANDING_FILTERS = ("batch", "center", "indent", "join", "replace", "slice", "tojson", "urlize", "wordwrap")
#: The filters that make a text of any value.
SHOWING_FILTERS = ("pprint", "string")
#: What holds other values.
CONTAINERS = (list, dict, tuple)
#: How many pieces of a rendering are measured together.
BATCH = 64
#: A conversion in a format such as `%-10.2f`: key, width, precision, kind.
CONVERSION = r"%(?:\((\w*)\))?[-+ #0]*(\*|\d+)?(?:\.(\*|\d+))?[hlL]?([a-zA-Z%])"


class Budget(_local):
    """How much one rendering, in one thread, may create out of small values."""

    spent = 0

    def charge(self, *sizes: Any) -> None:
        """Count what an operation creates. Raises SecurityError if that is too much."""
        for size in sizes:
            if isinstance(size, int):
                limit(size, MAX_EXPANSION)
                self.add(size)

    def add(self, size: int) -> None:
        self.spent += max(size, 0)
        limit(self.spent)


def shown(value: Any) -> Any:
    """Return a value that is about to become a text, unless that would be too long."""
    if type(value) in CONTAINERS:
        limit(measured(value))
    return value


def limit(size: int, most: int = MAX_TEXT) -> None:
    if size > most:
        from jinja2.exceptions import SecurityError

        raise SecurityError(f"the template creates a value of more than {most} characters or items")


def measured(value: Any) -> int:
    """Return about how long the text of a value is; the sum is not continued beyond the limit."""
    size, stack = 0, [value]
    while stack and size <= MAX_TEXT:
        item = stack.pop()
        size += len(item) if isinstance(item, str) else 20
        if isinstance(item, dict):
            stack.extend(item)
            stack.extend(item.values())
        elif isinstance(item, list | tuple):
            # A value may be in many places, so that a short list stands for a long text.
            limit(len(item) + len(stack))
            stack.extend(item)
    return size


def joined(pieces: Iterable[str]) -> str:
    """Do `"".join(pieces)`, but end as soon as the text is too long."""
    iterator, found, size = iter(pieces), [], 0
    while batch := list(islice(iterator, BATCH)):
        size += sum(map(len, batch))
        limit(size)
        found += batch
        if len(batch) < BATCH:
            break
    return "".join(found)


def listed(value: Any) -> Any:
    return value if isinstance(value, str | list | tuple | dict) or not hasattr(value, "__iter__") else list(value)


class Pieces(list[str]):
    """What a macro or a block renders, piece by piece."""

    size = 0

    def append(self, piece: str) -> None:
        self.size += len(piece) + 1
        limit(self.size)
        super().append(piece)

    def extend(self, pieces: Iterable[str]) -> None:
        for piece in pieces:
            self.append(piece)


def bounded_filters(usual: dict[str, Callable[..., Any]], budget: Budget) -> dict[str, Callable[..., Any]]:
    """Return the filters that may create much out of little, with limits."""
    names = (*EXPANDING_FILTERS, *SHOWING_FILTERS, "format")
    return {name: _bounded(name, usual[name], budget) for name in names} | {"map": _counted(usual["map"], budget)}


def _counted(map: Callable[..., Any], budget: Budget) -> Callable[..., Any]:
    """Wrap the filter `map`, which makes a text of each item."""
    from functools import wraps

    @wraps(map)
    def counted(*args: Any, **kwargs: Any) -> Any:
        for item in map(*args, **kwargs):
            budget.add(len(item) if isinstance(item, str) else 0)
            yield item

    return counted


def _bounded(name: str, filter: Callable[..., Any], budget: Budget) -> Callable[..., Any]:
    """Wrap a filter that may create much out of little."""
    from functools import wraps

    # Some filters get the environment or its settings before the value.
    first = 1 if hasattr(filter, "jinja_pass_arg") else 0

    @wraps(filter)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        value = listed(args[first]) if name in ("join", *SHOWING_FILTERS) else args[first]
        others = args[first + 1 :]
        if name in SHOWING_FILTERS:
            shown(value)
        elif name == "format":
            check_format(str(value), kwargs or others, budget)
        else:
            budget.charge(expansion("join items" if name == "join" else name, value, others, kwargs))
        return filter(*args[:first], value, *others, **kwargs)

    return bounded


def expansion(name: str, value: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Return by how many characters or items a method or filter makes its value longer, at most."""
    given = (*args, *kwargs.values())
    largest = max((each for each in given if isinstance(each, int)), default=0)
    texts = sum(len(each) for each in given if isinstance(each, str))
    text = value if isinstance(value, str) else ""
    if name == "replace":
        old, new = (*(str(each) for each in given), "", "")[:2]
        return text.count(old) * (len(new) - len(old)) if old else (len(text) + 1) * len(new)
    if name in ("join", "join items"):
        items, separator = (args[0] if args else (), len(text)) if name == "join" else (value, texts)
        limit(measured(items))
        return len(items) * separator
    if name == "translate":
        table = args[0] if args and isinstance(args[0], dict) else {}
        return len(text) * max((len(each) for each in table.values() if isinstance(each, str)), default=0)
    if name == "expandtabs":
        return text.count("\t") * (largest or 8)
    if name == "indent":
        return (text.count("\n") + 1) * max(largest, texts)
    if name == "wordwrap":
        width = next((each for each in given if isinstance(each, int) and not isinstance(each, bool)), 79)
        return texts * (len(text) // max(width, 1) + text.count("\n") + 1)
    if name == "urlize":
        return texts * (text.count(".") + text.count("@") + text.count(":"))
    if name == "tojson":
        limit(measured(value))
        return largest * measured(value) if largest else 0
    return largest


def check_format(text: str, given: Any, budget: Budget) -> None:
    """Raise an error if `text % given` would be huge, or would round an integer."""
    import re

    from jinja2 import TemplateRuntimeError

    values = list(given) if isinstance(given, tuple) else [given]
    for key, *sizes, kind in re.findall(CONVERSION, text):
        if kind == "%":
            continue
        for size in sizes:
            budget.charge(values.pop(0) if size == "*" and values else int(size) if size.isdigit() else 0)
        value = given.get(key) if key and isinstance(given, dict) else values.pop(0) if values and not key else None
        budget.add(len(value) if isinstance(value, str) else len(str(shown(value))))
        if kind in FLOATS and isinstance(value, int) and not is_exact(value):
            raise TemplateRuntimeError(f"{value} would be rounded by %{kind}; use %d")
