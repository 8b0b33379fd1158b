"""The JSON Schema of flow files, for completion and validation in editors.

Draft 2020-12, https://json-schema.org/draft/2020-12/json-schema-core
"""

from __future__ import annotations

from scflows.flows.properties import (
    FLOW_PROPERTIES,
    INNER_PROPERTIES,
    PARAM_PROPERTIES,
    RETRY_PROPERTIES,
    SCHEDULE_PROPERTIES,
    STEP_PROPERTIES,
    Property,
)
from scflows.flows.step_types import StepType, all_step_types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from scflows.steps import Option

    Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
#: The name of the schema file in a flows folder; the first line of each example flow refers to it.
SCHEMA_FILE = "flow.schema.json"
WORDS = {
    "text": "string",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "list": "array",
    "mapping": "object",
    "null": "null",
    "duration": "number",
}
#: A number of seconds, or a text such as 15m.
DURATION = r"^\s*[0-9]+(\.[0-9]+)?\s*[smhdwSMHDW]?\s*$"
INNER_STEP = {"$ref": "#/$defs/inner_step"}


def _closed(properties: Mapping[str, Any], *required: str) -> Schema:
    closed = {"type": "object", "properties": dict(properties), "required": list(required)}
    return {**closed, "additionalProperties": False}


#: Additional constraints on values, by step type and option.
SHAPES: dict[tuple[str, str], Schema] = {
    ("switch", "cases"): {
        "items": _closed(
            {
                "when": {
                    "description": "a regular expression that must match at the start of the value's text",
                    "type": ["string", "number", "boolean", "null"],
                },
                "step": INNER_STEP,
            },
            "when",
            "step",
        )
    },
    ("switch", "default"): INNER_STEP,
    ("rest", "authentication"): _closed(
        {
            "type": {"enum": ["basic", "token", "api-key", "api_key"]},
            "secret": {"description": "the name of the secret", "type": "string"},
            "bearer": {"description": "the prefix of the token", "type": "string", "default": "Bearer"},
        },
        "type",
        "secret",
    ),
    ("rest", "paginate"): _closed(
        {
            "by": {"enum": ["link", "page", "offset", "cursor"]},
            "param": {"description": "the query parameter for the page", "type": "string"},
            "next": {
                "description": "a jq program that returns the next value of `param`, or the address of the next page",
                "type": "string",
            },
            "items": {"description": "a jq program that returns the items of a page", "type": "string"},
            "end_status": {
                "description": "HTTP statuses that mean, after the first page, that there are no more pages",
                "type": ["integer", "array"],
                "minimum": 400,
                "maximum": 599,
                "items": {"type": "integer", "minimum": 400, "maximum": 599},
            },
            "max_pages": {"type": "integer", "minimum": 1},
        },
        "by",
    ),
    ("table", "columns"): {
        "additionalProperties": {"enum": ["text", "integer", "number", "boolean", "date", "datetime"]},
        "items": {"type": "string"},
    },
    ("table", "unique"): {"items": {"type": "string"}},
    ("table", "by"): {"items": {"type": "string"}},
    ("shell", "command"): {"items": {"type": ["string", "number"]}, "minItems": 1, "minLength": 1},
}


def flow_schema(types: Iterable[StepType] | None = None) -> Schema:
    """Return the schema of flow files with these step types (default: all installed types)."""
    known = [each for each in (all_step_types() if types is None else types) if not each.problem]
    top = _properties(FLOW_PROPERTIES)
    top["steps"]["items"] = {"$ref": "#/$defs/step"}
    top["schedule"] |= {"properties": _properties(SCHEDULE_PROPERTIES), "additionalProperties": False}
    top["params"]["additionalProperties"] = {"$ref": "#/$defs/param"}
    inner = {name: each for name, each in _step(known).items() if name in INNER_PROPERTIES}
    return {
        "$schema": DIALECT,
        "title": "A flow of scflows",
        **_closed(top, *_required(FLOW_PROPERTIES)),
        "$defs": {
            "step": {
                "type": "object",
                "properties": _step(known),
                "required": _required(STEP_PROPERTIES),
                "allOf": [{"$ref": "#/$defs/options"}],
                "unevaluatedProperties": False,
            },
            "inner_step": {
                "type": "object",
                "properties": inner,
                "required": ["type"],
                "allOf": [{"$ref": "#/$defs/options"}],
                "unevaluatedProperties": False,
            },
            "options": {"allOf": [_block(each) for each in known]},
            "param": {"type": "object", "properties": _properties(PARAM_PROPERTIES), "additionalProperties": False},
            **{f"type.{each.name}": _options(each) for each in known},
        },
    }


def _step(known: list[StepType]) -> Schema:
    properties = _properties(STEP_PROPERTIES)
    properties["type"] |= {
        "enum": [each.name for each in known],
        # Not part of the standard, but editors show it with each completion.
        "enumDescriptions": [each.summary for each in known],
    }
    properties["retry"] |= {"properties": _properties(RETRY_PROPERTIES), "additionalProperties": False}
    return properties


def _block(kind: StepType) -> Schema:
    """Return the schema for the block of a step type. Blocks of other types are ignored, so they are not allowed."""
    return {
        "if": {"properties": {"type": {"const": kind.name}}, "required": ["type"]},
        "then": {"properties": {kind.name: {"$ref": f"#/$defs/type.{kind.name}"}}, "required": [kind.name]},
    }


def _options(kind: StepType) -> Schema:
    properties = {each.name: _value(each) | SHAPES.get((kind.name, each.name), {}) for each in kind.options}
    required = [each.name for each in kind.options if each.required]
    description = "\n\n".join(part for part in (kind.summary, kind.more, kind.example) if part)
    options = {"description": description, **_closed(properties, *required)}
    return options if required else {**options, "type": ["object", "null"]}


def _properties(table: Mapping[str, Property]) -> dict[str, Schema]:
    found = {}
    for name, each in table.items():
        value: Schema = _value(each)
        # An empty property is treated as missing.
        if "type" in value and not each.required:
            value["type"] = [*([value["type"]] if isinstance(value["type"], str) else value["type"]), "null"]
        found[name] = {**value, **each.shape}
    return found


def _required(table: Mapping[str, Property]) -> list[str]:
    return [name for name, each in table.items() if each.required]


def _value(each: Property | Option) -> Schema:
    words = [WORDS[kind] for kind in each.kinds]
    if "duration" in each.kinds:
        words.append("string")
    value: Schema = {"type": words[0] if len(words) == 1 else words} if words else {}
    texts = [each.help] if each.help else []
    if getattr(each, "template", False):
        texts.append("(template)")
    if texts:
        value["description"] = " ".join(texts)
    if each.default is not None:
        value["default"] = each.default
    if each.choices:
        may_be_null = "null" in each.kinds or (isinstance(each, Property) and not each.required)
        choices = [*each.choices, *([None] if may_be_null else [])]
        value |= _any_case(each.choices) if getattr(each, "any_case", False) else {"enum": choices}
    if each.minimum is not None:
        value["minimum"] = each.minimum
    if "duration" in each.kinds:
        value["pattern"] = DURATION
    return value


def _any_case(choices: tuple[str, ...]) -> Schema:
    # Patterns in JSON Schema have no flag to ignore case.
    spelled = ["".join(f"[{letter.upper()}{letter.lower()}]" for letter in choice) for choice in choices]
    return {"anyOf": [{"enum": list(choices)}, {"pattern": f"^({'|'.join(spelled)})$"}]}
