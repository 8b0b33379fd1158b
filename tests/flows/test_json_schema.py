"""The schema for editors: what we ship is valid, what the check refuses is not."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from scflows.cron.schedule.spec import KEYS
from scflows.errors import FlowError
from scflows.flows.json_schema import SCHEMA_FILE, flow_schema
from scflows.flows.parameters import PROPERTIES, TYPES
from scflows.flows.parser import parse_flow
from scflows.flows.properties import FLOW_PROPERTIES, PARAM_PROPERTIES, SCHEDULE_PROPERTIES, STEP_PROPERTIES
from scflows.flows.step_types import all_step_types, find_step_type
from scflows.flows.workspace import make_workspace
from scflows.steps import json_value
from scflows.steps.registry import step_types
from scflows.validation import fits

TASKS = Path(__file__).parents[2] / "tasks"
SHIPPED = sorted(
    str(path.relative_to(TASKS))
    for path in TASKS.rglob("*.yml")
    # The jobs of a working folder are not a flow.
    if not {".forward", ".thresholds"} & set(path.suffixes) and path.name != "config.yml"
)
STEP = {"name": "one", "type": "set_fact", "set_fact": {"value": 1}}
#: A value of each kind, such as properties take that have one.
VALUES: dict[str, Any] = {
    "text": ".",
    "integer": 5,
    "number": 1.5,
    "boolean": True,
    "list": [],
    "mapping": {},
    "null": None,
}


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    return Draft202012Validator(flow_schema())


def is_accepted(text: str) -> bool:
    """Whether the check of flows takes a file, and warns of nothing."""
    try:
        return parse_flow(text.encode(), "f.yml", "/f.yml")[1] == []
    except FlowError:
        return False


def test_the_schema_is_sound() -> None:
    Draft202012Validator.check_schema(flow_schema())


@pytest.mark.parametrize("path", SHIPPED)
def test_every_shipped_flow_is_valid(validator: Draft202012Validator, path: str) -> None:
    value = json_value(yaml.safe_load((TASKS / path).read_text(encoding="utf-8")))
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)] == []


@pytest.mark.parametrize("path", SHIPPED)
def test_every_shipped_flow_points_to_the_schema(path: str, tmp_path: Path) -> None:
    first = (TASKS / path).read_text(encoding="utf-8").splitlines()[0]
    word, _, named = first.partition("$schema=")
    assert word == "# yaml-language-server: "
    make_workspace(str(tmp_path))
    assert (tmp_path / "tasks" / path).parent.joinpath(named).resolve() == tmp_path / "tasks" / SCHEMA_FILE
    assert (tmp_path / "tasks" / SCHEMA_FILE).is_file()


@pytest.mark.parametrize("kind", step_types())
def test_the_example_of_every_step_type_is_valid(validator: Draft202012Validator, kind: str) -> None:
    steps = json_value(yaml.safe_load(find_step_type(kind).example))
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors({"steps": steps})] == []


WRONG = {
    "no mapping": "[]",
    "no steps": "name: a",
    "steps are no list": "steps: {}",
    "a step is no mapping": "steps: [fetch]",
    "a step without a name": "steps: [{type: debug, debug: {}}]",
    "an empty name": "steps: [{name: '', type: debug, debug: {}}]",
    "a step without a type": "steps: [{name: a}]",
    "an unknown type": "steps: [{name: a, type: rset, rset: {}}]",
    "no block": "steps: [{name: a, type: rest}]",
    "an empty block": "steps: [{name: a, type: rest, rest: }]",
    "a missing option": "steps: [{name: a, type: rest, rest: {method: GET}}]",
    "an unknown option": "steps: [{name: a, type: rest, rest: {uri: 'http://a', ulr: 1}}]",
    "an option of the wrong kind": "steps: [{name: a, type: rest, rest: {uri: 5}}]",
    "an option outside its choices": "steps: [{name: a, type: rest, rest: {uri: 'http://a', method: FETCH}}]",
    "an option below the least": "steps: [{name: a, type: sleep, sleep: {seconds: -1}}]",
    "a step without a block": "steps: [{name: a, type: debug}]",
    "the block of another type": "steps: [{name: a, type: debug, debug: {}, rest: {uri: 'http://a'}}]",
    "an unknown property": "steps: [{name: a, type: debug, debug: {}, wehn: 1}]",
    "an unknown property of the flow": "steps: []\nfinally: a",
    "a kept result_key": "steps: [{name: a, type: debug, debug: {}, result_key: __a__}]",
    "an empty result_key": "steps: [{name: a, type: debug, debug: {}, result_key: ''}]",
    "a condition that is a mapping": "steps: [{name: a, type: debug, debug: {}, when: {a: 1}}]",
    "a condition that is a list": "steps: [{name: a, type: debug, debug: {}, when: [[a]]}]",
    "a pattern that is a mapping": "steps: [{name: a, type: debug, debug: {}, ignore_errors: [{a: 1}]}]",
    "a timeout of nothing": "steps: [{name: a, type: debug, debug: {}, timeout: 0}]",
    "max_steps of nothing": "steps: []\nmax_steps: 0",
    "jq_output outside its choices": "steps: [{name: a, type: debug, debug: {}, jq_output: all}]",
    "an unknown key of the schedule": "steps: []\nschedule: {every: 3h, tz: UTC}",
    "catch_up outside its choices": "steps: []\nschedule: {every: 3h, catch_up: some}",
    "catch_up of nothing": "steps: []\nschedule: {every: 3h, catch_up: {all: 0}}",
    "an interval without a unit": "steps: []\nschedule: {every: 3}",
    "an unknown type of parameter": "steps: []\nparams: {a: {type: texts}}",
    "an unknown property of a parameter": "steps: []\nparams: {a: {typ: text}}",
    "a type of a column": "steps: [{name: a, type: table, table: {path: a.csv, columns: {b: float}}}]",
}


@pytest.mark.language("§1 What is checked")
@pytest.mark.parametrize("title", WRONG)
def test_what_the_check_refuses_or_warns_of_is_not_valid(validator: Draft202012Validator, title: str) -> None:
    assert not is_accepted(WRONG[title])
    assert not validator.is_valid(yaml.safe_load(WRONG[title]))


RIGHT = {
    "no steps": "steps: []",
    "methods in any case": "steps: [{name: a, type: rest, rest: {uri: 'http://a', method: pOst}}]",
    "one condition": "steps: [{name: a, type: debug, debug: {}, when: false}]",
    "several conditions": "steps: [{name: a, type: debug, debug: {}, when: [a, 1, true]}]",
    "an empty block": "steps: [{name: a, type: debug, debug: }]",
    "a pattern that is a number": "steps: [{name: a, type: debug, debug: {}, ignore_errors: 404}]",
    "empty properties": "steps: [{name: a, type: debug, debug: {}, timeout: }]\nschedule:\nparams:",
    "caught-up slots up to a number": "steps: []\nschedule: {every: 3h, catch_up: {all: 5}}",
    "the older schedule": "steps: []\nevery_seconds: 900",
}


@pytest.mark.parametrize("title", RIGHT)
def test_what_the_check_takes_is_valid(validator: Draft202012Validator, title: str) -> None:
    assert is_accepted(RIGHT[title])
    assert [error.message for error in validator.iter_errors(yaml.safe_load(RIGHT[title]))] == []


@pytest.mark.language("§1 A flow file")
@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("name", ["name", "description", "timeout", "timeout_seconds", "max_steps", "strict", "params"])
def test_flow_properties_take_the_kinds_that_the_check_takes(
    validator: Draft202012Validator, name: str, kind: str
) -> None:
    flow = {"steps": [], name: VALUES[kind]}
    assert validator.is_valid(flow) == is_accepted(yaml.safe_dump(flow))


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize(
    "name", ["when", "result_key", "jq_expression", "jq_output", "ignore_errors", "on_error_goto", "timeout"]
)
def test_step_properties_take_the_kinds_that_the_check_takes(
    validator: Draft202012Validator, name: str, kind: str
) -> None:
    texts = {"on_error_goto": "one", "when": "one", "jq_output": "first"}
    value = texts.get(name, ".") if kind == "text" else VALUES[kind]
    flow = {"steps": [{**STEP, name: value}]}
    assert validator.is_valid(flow) == is_accepted(yaml.safe_dump(flow))


@pytest.mark.language("§4 Step types")
@pytest.mark.parametrize("kind", step_types())
def test_no_option_takes_a_value_of_another_kind(validator: Draft202012Validator, kind: str) -> None:
    for option in find_step_type(kind).options:
        for value in VALUES.values():
            if option.kinds and not fits(value, option.kinds):
                step = {"name": "a", "type": kind, kind: {option.name: value}}
                paths = [error.json_path for error in validator.iter_errors({"steps": [step]})]
                assert f"$.steps[0].{kind}.{option.name}" in paths, (option.name, value)


@pytest.mark.language("§1 A flow file")
def test_the_tables_of_properties_are_those_of_the_checks() -> None:
    assert tuple(SCHEDULE_PROPERTIES) == KEYS
    assert tuple(PARAM_PROPERTIES) == PROPERTIES
    assert PARAM_PROPERTIES["type"].choices == TYPES


def test_every_property_and_option_says_what_it_is_for() -> None:
    for table in (FLOW_PROPERTIES, STEP_PROPERTIES, SCHEDULE_PROPERTIES, PARAM_PROPERTIES):
        assert all(each.help for each in table.values())
    for kind in all_step_types():
        assert all(each.help or each.choices or each.name in ("uri", "headers") for each in kind.options), kind.name


def test_steps_inside_steps_have_no_properties_of_the_outer_one() -> None:
    inner = Draft202012Validator({"$ref": "#/$defs/inner_step", "$defs": flow_schema()["$defs"]})
    assert inner.is_valid({"type": "jq", "jq": {"expression": "."}, "jq_expression": ".[0]"})
    for name in ("when", "result_key", "ignore_errors", "on_error_goto"):
        assert not inner.is_valid({"type": "jq", "jq": {"expression": "."}, name: "a"})
    assert not inner.is_valid({"type": "jq"})


def test_editors_are_told_what_a_step_type_does(validator: Draft202012Validator) -> None:
    schema = flow_schema()
    kind = schema["$defs"]["step"]["properties"]["type"]
    assert dict(zip(kind["enum"], kind["enumDescriptions"], strict=True))["debug"].startswith("Write a value")
    assert dedent("- name: look") in schema["$defs"]["type.debug"]["description"]
