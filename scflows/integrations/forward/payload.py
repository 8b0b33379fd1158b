"""Another payload from a message's: by a jq expression, by a template, or read from a kit's own notation."""

from __future__ import annotations

import json
import math
import re

from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from scflows.expressions import Expressions
    from scflows.integrations.forward.route import Shape

#: One reading of a Smart Citizen Kit: `{t:2026-03-01T10:00:23Z,55:21.3,56:40}`.
KIT_READING = re.compile(r"\{([^{}]*)\}")
#: Python's own would take `1_0`, the digits of all scripts, and words for what is no number.
SENSOR, NUMBER = re.compile(r"[0-9]{1,9}"), re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def shape_by_jq(expression: str, expressions: Expressions, decode: Callable[[bytes], Any]) -> Shape:
    """A payload from a jq expression over `{payload, topic, names}`; null leaves the message out.

    Raises StepError for an expression that does not compile.
    """
    expressions.check_filter(expression)

    def shape(payload: bytes, topic: str, names: Mapping[str, object]) -> bytes | None:
        given = {"payload": decode(payload), "topic": topic, "names": dict(names)}
        return _encoded(expressions.filter(expression, given))

    return shape


def shape_by_template(text: str, expressions: Expressions, decode: Callable[[bytes], Any]) -> Shape:
    """A payload from a template that sees `payload`, `topic` and `names`; an empty one leaves the message out.

    Raises StepError for a template that does not compile.
    """
    expressions.check_template(text)

    def shape(payload: bytes, topic: str, names: Mapping[str, object]) -> bytes | None:
        given = {"payload": decode(payload), "topic": topic, "names": dict(names)}
        return expressions.render(text, given).strip().encode() or None

    return shape


def from_json(payload: bytes) -> Any:
    """The value of a JSON payload. Raises StepError."""
    from scflows.documents import parse_json

    try:
        return parse_json(payload.decode(), "payload")
    except UnicodeDecodeError as error:
        raise StepError("payload: not UTF-8") from error


def from_text(payload: bytes) -> str:
    """The text of a payload. Raises StepError."""
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise StepError("payload: not UTF-8") from error


def from_kit(payload: bytes) -> dict[str, Any]:
    """The readings of a kit as `{"data": [{"recorded_at": TIME, "sensors": [{"id": N, "value": V}]}]}`.

    This is what the Smart Citizen platform itself takes as JSON; a payload that is JSON already stays so. The kit's
    own notation is that of the topic `readings/raw`: comma-separated pairs of a sensor's number and value, `t` for
    the time, each reading in braces. Raises StepError.
    """
    text = from_text(payload).strip()
    if text.startswith(('{"', "{ ", "[")):
        value = from_json(payload)
        if isinstance(value, dict):
            return value
        raise StepError("payload: no readings")
    found = [_reading(each) for each in KIT_READING.findall(text)]
    if not found:
        raise StepError("payload: no readings")
    return {"data": found}


#: How a payload can be read, by the words of a schema.
DECODERS: dict[str, Callable[[bytes], Any]] = {"json": from_json, "text": from_text, "kit": from_kit}


def _reading(text: str) -> dict[str, Any]:
    moment, sensors = "", []
    for pair in text.split(","):
        name, colon, value = pair.partition(":")
        name, value = name.strip(), value.strip()
        if name == "t" and colon:
            moment = value
        elif value.lower() not in ("null", "nan", ""):
            number = float(value) if NUMBER.fullmatch(value) else math.inf
            if not SENSOR.fullmatch(name) or math.isinf(number):
                raise StepError(f"payload: {pair!r} is no pair of a sensor and its value")
            sensors.append({"id": int(name), "value": number})
        elif not colon or not SENSOR.fullmatch(name):
            raise StepError(f"payload: {pair!r} is no pair of a sensor and its value")
    if not moment:
        raise StepError("payload: a reading without its time")
    return {"recorded_at": moment, "sensors": sensors}


def _encoded(value: Any) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode()
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
