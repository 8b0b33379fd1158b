"""Check a table against rules: types, ranges, uniqueness, required cells. Every mistake has its row and column."""

from __future__ import annotations

import re

from scflows.connectors.tables.column import KINDS, convert
from scflows.connectors.tables.source import check_columns, is_blank
from scflows.documents import NumberError, parse_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from scflows.connectors.tables.source import TableSource

RULES = ("type", "required", "min", "max", "unique", "choices", "pattern")
#: How many mistakes are listed by default.
MAX_MISTAKES = 100


class Validation:
    """What became of a check."""

    def __init__(self) -> None:
        self.rows = 0
        self.count = 0  #: of all mistakes
        self.mistakes: list[dict[str, Any]] = []  #: the first of them: `row`, `column`, `message`


def validated(
    source: TableSource, rules: Mapping[str, Mapping[str, Any]], unique: Sequence[str], limit: int
) -> Validation:
    """Check all rows and return the mistakes, of which at most `limit` are listed.

    A column that is missing raises StepError. Memory grows only with the keys that must be unique.
    """
    result = Validation()
    keys: dict[tuple[str, ...], dict[tuple[str, ...], int]] = {
        each: {} for each in [(name,) for name, rule in rules.items() if rule.get("unique")] + [tuple(unique)] if each
    }
    checks = [(name, _Check(rule)) for name, rule in rules.items()]
    with source.open() as table:
        check_columns(table.names, [*rules, *unique], source.shown)
        for number, row in table.rows:
            result.rows += 1
            found = [(name, message) for name, check in checks for message in check.mistakes(row.get(name))]
            for columns, seen in keys.items():
                key = tuple(str(row.get(name)).strip() for name in columns)
                if any(is_blank(row.get(name)) for name in columns):
                    continue
                first = seen.setdefault(key, number)
                if first != number:
                    found.append((", ".join(columns), f"{' '.join(key)[:80]!r} is in row {first} already"))
            result.count += len(found)
            for name, message in found[: max(0, limit - len(result.mistakes))]:
                result.mistakes.append({"row": number, "column": name, "message": message})
    return result


def rule_mistakes(rules: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield the mistakes in the option `rules`."""
    for name, rule in (rules or {}).items():
        title = f"column {name!r}"
        if not isinstance(rule, dict):
            yield f"{title}: the rules of a column must be a mapping, for example {{type: number, min: 0}}"
            continue
        for key, value in rule.items():
            if key not in RULES:
                yield f"{title}: unknown rule {key!r}; use {', '.join(RULES)}"
            elif key == "type" and value not in KINDS:
                yield f"{title}: unknown type {value!r}; use one of {', '.join(KINDS)}"
            elif key in ("required", "unique") and not isinstance(value, bool):
                yield f"{title}: {key!r} must be true or false"
            elif key == "choices" and not isinstance(value, list):
                yield f"{title}: 'choices' must be a list"
            elif key in ("min", "max") and (isinstance(value, bool) or not isinstance(value, int | float | str)):
                yield f"{title}: {key!r} must be a number, or a date as text"
            elif key == "pattern":
                try:
                    re.compile(value)
                except (re.error, TypeError) as error:
                    yield f"{title}: {value!r} is not a valid regular expression: {error}"


class _Check:
    """The rules of one column."""

    def __init__(self, rule: Mapping[str, Any]) -> None:
        self.kind = rule.get("type")
        self.is_required = bool(rule.get("required"))
        self.least, self.most = rule.get("min"), rule.get("max")
        self.choices = None if rule.get("choices") is None else [str(each) for each in rule["choices"]]
        self.pattern = None if rule.get("pattern") is None else re.compile(rule["pattern"])

    def mistakes(self, value: Any) -> Iterator[str]:
        if is_blank(value):
            if self.is_required:
                yield "is required and blank"
            return
        text = value if isinstance(value, str) else str(value)
        shown = repr(text[:80])
        if self.kind is not None:
            try:
                value = convert(self.kind, value)
            except NumberError as error:
                yield str(error)
                return
            except (ValueError, TypeError, OverflowError):
                yield f"{shown} is not a valid {self.kind}"
                return
        if self.least is not None or self.most is not None:
            yield from self._range(value, shown)
        if self.choices is not None and text.strip() not in self.choices:
            yield f"{shown} is not one of {', '.join(self.choices)[:200]}"
        if self.pattern is not None and not self.pattern.fullmatch(text):
            yield f"{shown} does not match {self.pattern.pattern!r}"

    def _range(self, value: Any, shown: str) -> Iterator[str]:
        if isinstance(value, str) and isinstance(self.least if self.least is not None else self.most, int | float):
            try:
                value = parse_number(value.strip())
            except (ValueError, OverflowError):
                yield f"{shown} is not a number"
                return
        try:
            if self.least is not None and value < self.least:
                yield f"{shown} is less than {self.least}"
            if self.most is not None and value > self.most:
                yield f"{shown} is greater than {self.most}"
        except TypeError:
            yield f"{shown} cannot be compared with {self.least if self.least is not None else self.most}"
