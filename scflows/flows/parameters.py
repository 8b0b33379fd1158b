"""The parameters of a flow: declared under `params`, checked and converted before its first step."""

from __future__ import annotations

from scflows.errors import StepError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

TYPES = ("text", "integer", "number", "boolean", "date", "datetime", "json")
PROPERTIES = ("type", "required", "default", "choices", "min", "max", "help")
WORDS = {**dict.fromkeys(("true", "yes", "on", "1"), True), **dict.fromkeys(("false", "no", "off", "0"), False)}


def declaration_mistakes(declared: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the mistakes in a `params` block, as (path of keys, message)."""
    if not isinstance(declared, dict):
        yield (), "params must be a mapping of names to properties"
        return
    for name, properties in declared.items():
        if not isinstance(name, str) or not isinstance(properties, dict):
            yield (str(name),), f"param {name!r} must be a mapping of properties, for example {{type: text}}"
            continue
        for key in properties:
            if key not in PROPERTIES:
                yield (name, str(key)), f"param {name!r}: unknown property {key!r}; use {', '.join(PROPERTIES)}"
        kind = properties.get("type", "text")
        if kind not in TYPES:
            yield (name, "type"), f"param {name!r}: unknown type {kind!r}; use one of {', '.join(TYPES)}"
        else:
            yield from _value_mistakes(name, properties, kind)
        for key, wanted, word in (
            ("choices", list, "a list"),
            ("required", bool, "true or false"),
            ("help", str, "text"),
        ):
            if properties.get(key) is not None and not isinstance(properties[key], wanted):
                yield (name, key), f"param {name!r}: {key} must be {word}"


def _value_mistakes(name: str, properties: Mapping[str, Any], kind: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the mistakes in the bounds and the default of a declaration."""
    has_wrong_bound = False
    for bound in ("min", "max"):
        limit = properties.get(bound)
        if limit is not None and _is_invalid(kind, limit):
            has_wrong_bound = True
            yield (name, bound), f"param {name!r}: {bound} {limit!r} is not a valid {kind}"
    if properties.get("default") is not None and not has_wrong_bound:
        try:
            _checked(name, properties, properties["default"])
        except UsageError as error:
            yield (name, "default"), f"default of {error}"


def convert(declared: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a run: given values, converted, and defaults for the others.

    Raises UsageError with every unknown, missing or invalid parameter.
    """
    mistakes = []
    values: dict[str, Any] = {}
    for name in given:
        if name not in declared:
            from scflows.validation import nearest

            known = f"the flow takes {', '.join(declared)}" if declared else "the flow takes none"
            mistakes.append(f"unknown parameter {name!r}; {known}{nearest(name, declared)}")
    for name, properties in declared.items():
        value = given.get(name)
        if value is None:
            if properties.get("required") and properties.get("default") is None:
                hint = f" ({properties['help']})" if properties.get("help") else ""
                mistakes.append(f"parameter {name!r} is required{hint}")
            else:
                default = properties.get("default")
                values[name] = None if default is None else _checked(name, properties, default)
            continue
        try:
            values[name] = _checked(name, properties, value)
        except UsageError as error:
            mistakes.append(str(error))
    if mistakes:
        raise UsageError("; ".join(mistakes), "give parameters as -p NAME=VALUE")
    return values


def _checked(name: str, properties: Mapping[str, Any], value: Any) -> Any:
    kind = properties.get("type", "text")
    if _is_invalid(kind, value):
        raise UsageError(f"parameter {name!r}: {value!r} is not a valid {kind}")
    converted = _convert(kind, value)
    choices = properties.get("choices")
    if choices and converted not in choices and str(converted) not in [str(choice) for choice in choices]:
        options = ", ".join(str(choice) for choice in choices)
        raise UsageError(f"parameter {name!r}: {value!r} is not one of {options}")
    for bound, word in (("min", "less"), ("max", "more")):
        limit = properties.get(bound)
        if limit is None or converted is None:
            continue
        limit = _convert(kind, limit)
        try:
            lower, upper = (limit, converted) if bound == "min" else (converted, limit)
            if _comparable(kind, upper) < _comparable(kind, lower):
                raise UsageError(f"parameter {name!r}: {value!r} is {word} than {limit}")
        except TypeError:
            raise UsageError(f"parameter {name!r}: {value!r} cannot be compared with {bound} {limit!r}") from None
    return converted


def _is_invalid(kind: str, value: Any) -> bool:
    """Return True if a value cannot be converted."""
    try:
        _convert(kind, value)
    except (ValueError, TypeError, OverflowError):
        return True
    return False


def _comparable(kind: str, value: Any) -> Any:
    if kind != "datetime":
        return value
    from datetime import datetime

    # Parsed, because texts with different time zones would sort in the wrong order.
    return datetime.fromisoformat(value)


def _convert(kind: str, value: Any) -> Any:
    if kind == "json":
        return _json(value) if isinstance(value, str) else value
    if kind == "boolean":
        if isinstance(value, bool):
            return value
        word = str(value).strip().lower()
        if word not in WORDS:
            raise ValueError(word)
        return WORDS[word]
    if isinstance(value, bool | list | dict):
        raise ValueError(value)
    if kind == "integer":
        if isinstance(value, str):
            return int(value)
        if value != int(value):
            raise ValueError(value)
        return int(value)
    if kind == "number":
        from scflows.documents import parse_number

        if isinstance(value, str):
            return parse_number(value.strip())
        if value - value != 0:
            raise ValueError(value)
        return value
    if kind in ("date", "datetime"):
        from datetime import date, datetime

        text = str(value).strip().replace(" ", "T")
        moment = datetime.fromisoformat(text)
        return date.fromisoformat(text[:10]).isoformat() if kind == "date" else moment.isoformat()
    return str(value)


def _json(text: str) -> Any:
    from scflows.documents import parse_json

    try:
        return parse_json(text, "it")
    except StepError as error:
        raise ValueError(str(error)) from None
