"""Which options of the step type `table` belong to which mode, and mistakes in them."""

from __future__ import annotations

from scflows.connectors.tables import format_name
from scflows.connectors.tables.column import column_mistakes
from scflows.connectors.tables.group import Aggregate
from scflows.connectors.tables.validate import rule_mistakes
from scflows.errors import StepError
from scflows.expressions.templates import Expressions, is_template

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

#: Where the modes that make a new table read and write it.
PLACES = ("path", "data_key", "to", "result", "format", "delimiter")
#: The options of each mode; the required ones come before the bar.
USED = {
    "read": ("path", "|", "format", "delimiter", "columns", "limit", "missing", "result"),
    "write": ("path", "data_key", "|", "format", "delimiter", "columns"),
    "append": ("path", "data_key", "|", "format", "delimiter", "columns", "unique"),
    "group": ("data_key", "by", "values", "|", "columns", "result"),
    "filter": ("data_key", "|", "where", "columns", "limit", "result"),
    "add_column": ("into", "|", *PLACES, "value", "expression", "time", "columns"),
    "zscore": ("column", "|", *PLACES, "into", "ddof"),
    "join": ("on", "|", *PLACES, "right", "right_key", "how", "columns", "defaults", "duplicates", "combine"),
    "pivot": ("by", "across", "value", "|", *PLACES, "columns"),
    "validate": ("|", "path", "data_key", "format", "delimiter", "rules", "unique", "limit"),
    "convert": ("|", *PLACES, "columns"),
}
#: The modes that work on a file as well as on data.
EITHER = ("add_column", "zscore", "join", "pivot", "validate", "convert")


def table_mistakes(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the mistakes in the options: the option, and what is wrong."""
    mode = options.get("mode", "read")
    used = USED[mode]
    for name in used[: used.index("|")]:
        if options.get(name) is None:
            yield name, f"option {name!r} is missing: {mode!r} needs it"
    for name in options:
        if name != "mode" and name not in used:
            yield name, f"option {name!r} has no effect in mode {mode!r}"
    if mode in EITHER:
        yield from _exactly_one(options, mode, "path", "data_key")
    yield from _paths(options)
    if len(options.get("delimiter") or ",") != 1 or options.get("delimiter") in ('"', "\n", "\r"):
        yield "delimiter", "'delimiter' must be one character, for example ';' or \"\\t\""
    yield from column_mistakes(options)
    yield from _values(options)
    yield from _where(options)
    for message in rule_mistakes(options.get("rules")):
        yield "rules", message
    yield from _operation(options, mode)


def _exactly_one(options: Mapping[str, Any], mode: str, *names: str) -> Iterator[tuple[str, str]]:
    named = [name for name in names if options.get(name) is not None]
    if len(named) != 1:
        message = " and ".join(names) + " cannot be combined" if named else f"{mode!r} needs {' or '.join(names)}"
        yield (named or names)[-1], message


def _operation(options: Mapping[str, Any], mode: str) -> Iterator[tuple[str, str]]:
    if mode == "add_column":
        yield from _exactly_one(options, mode, "value", "expression", "time")
        expression = options.get("expression")
        if expression is not None:
            try:
                Expressions().check_expression(expression)
            except StepError as error:
                yield "expression", str(error).replace("condition", "expression", 1)
    if mode == "join":
        yield from _exactly_one(options, mode, "right", "right_key")
        if isinstance(options.get("columns"), dict):
            yield "columns", "'columns' of a join must be a list of columns of the right table"
        for name, function in (options.get("combine") or {}).items():
            if function not in ("min", "max"):
                yield "combine", f"column {name!r}: {function!r} is unknown; use min or max"
    if mode == "pivot" and options.get("value") is not None and not is_template(str(options["value"])):
        try:
            Aggregate.parse(options["value"])
        except ValueError as error:
            yield "value", str(error)
    if mode == "validate" and options.get("rules") is None and options.get("unique") is None:
        yield "rules", "'validate' needs rules or unique"


def _paths(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("path", "right", "to"):
        path = options.get(name)
        if isinstance(path, str) and not is_template(path):
            try:
                format = format_name(path, options.get("format") if name == "path" else None)
                if name == "path" and options.get("delimiter") is not None and format not in ("csv", "tsv"):
                    yield "delimiter", f"option 'delimiter' has no effect in format {format!r}"
            except StepError as error:
                yield name, str(error)


def _values(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in (options.get("values") or {}).items():
        try:
            Aggregate.parse(value)
        except ValueError as error:
            yield "values", f"{name!r}: {error}"


def _where(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
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
