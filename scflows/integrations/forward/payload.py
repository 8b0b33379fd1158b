"""Convert payloads: with a jq expression, with a template, or from the notation of Smart Citizen Kits."""

from __future__ import annotations

import json
import re

from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from scflows.expressions.templates import Expressions
    from scflows.integrations.forward.route import Shape

#: One reading of a Smart Citizen Kit: `{t:2026-03-01T10:00:23Z,55:21.3,56:40}`.
KIT_READING = re.compile(r"\{([^{}]*)\}")
#: Stricter than Python, which accepts `1_0`, digits of all scripts, and words such as `nan`.
SENSOR, NUMBER = re.compile(r"[0-9]{1,9}"), re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def shape_by_jq(expression: str, expressions: Expressions, decode: Callable[[bytes], Any]) -> Shape:
    """Return a converter that applies a jq expression to `{payload, topic, names}`; null drops the message.

    Raises StepError for an invalid expression.
    """
    expressions.check_filter(expression)

    def shape(payload: bytes, topic: str, names: Mapping[str, object]) -> bytes | None:
        values = {"payload": decode(payload), "topic": topic, "names": dict(names)}
        return _encoded(expressions.filter(expression, values))

    return shape


def shape_by_template(text: str, expressions: Expressions, decode: Callable[[bytes], Any]) -> Shape:
    """Return a converter that renders a template with `payload`, `topic` and `names`; no text drops the message.

    Raises StepError for an invalid template.
    """
    expressions.check_template(text)

    def shape(payload: bytes, topic: str, names: Mapping[str, object]) -> bytes | None:
        values = {"payload": decode(payload), "topic": topic, "names": dict(names)}
        return expressions.render(text, values).strip().encode() or None

    return shape


def from_json(payload: bytes) -> Any:
    """Parse a JSON payload. Raises StepError."""
    from scflows.documents import parse_json

    try:
        return parse_json(payload.decode(), "payload")
    except UnicodeDecodeError as error:
        raise StepError("payload: not UTF-8") from error


def from_text(payload: bytes) -> str:
    """Decode a payload as text. Raises StepError."""
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise StepError("payload: not UTF-8") from error


def from_kit(payload: bytes) -> dict[str, Any]:
    """Return the readings of a kit as `{"data": [{"recorded_at": TIME, "sensors": [{"id": N, "value": V}]}]}`.

    This is the JSON format of the Smart Citizen platform; a payload in JSON is returned unchanged. The kit's own
    notation, used in the topic `readings/raw`, has each reading in braces, with comma-separated pairs of sensor number
    and value, and `t` for the time. Raises StepError.
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


#: The decoders of payloads, by their names in the schema.
DECODERS: dict[str, Callable[[bytes], Any]] = {"json": from_json, "text": from_text, "kit": from_kit}


def _reading(text: str) -> dict[str, Any]:
    from scflows.documents import NumberError, parse_finite

    moment, sensors = "", []
    for pair in text.split(","):
        name, colon, value = pair.partition(":")
        name, value = name.strip(), value.strip()
        if name == "t" and colon:
            moment = value
        elif value.lower() not in ("null", "nan", ""):
            try:
                number = parse_finite(value) if NUMBER.fullmatch(value) and SENSOR.fullmatch(name) else None
            except NumberError as error:
                raise StepError(f"payload: {pair!r} is not a pair of a sensor and its value: {error}") from None
            if number is None:
                raise StepError(f"payload: {pair!r} is not a pair of a sensor and its value")
            sensors.append({"id": int(name), "value": number})
        elif not colon or not SENSOR.fullmatch(name):
            raise StepError(f"payload: {pair!r} is not a pair of a sensor and its value")
    if not moment:
        raise StepError("payload: a reading has no time")
    return {"recorded_at": moment, "sensors": sensors}


def _encoded(value: Any) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode()
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
