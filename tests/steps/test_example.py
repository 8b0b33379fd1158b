"""The examples in the docstrings of the step types are sound flows that use every kind of thing they show."""

from __future__ import annotations

import re
from textwrap import dedent, indent

import pytest

from scflows.flows.parser import parse_flow
from scflows.steps import options_of
from scflows.steps.registry import find_step, step_types


def example_of(kind: str) -> str:
    """The YAML in a step type's docstring: what follows its first item."""
    found = find_step(kind)
    text = dedent("    " + (found.__doc__ or ""))
    return text[text.index("- name: ") :]


@pytest.mark.language("§4 Step types")
@pytest.mark.parametrize("kind", step_types())
def test_the_example_of_a_step_type_is_a_sound_flow(kind):
    flow, warnings = parse_flow(("steps:\n" + indent(example_of(kind), "  ")).encode(), f"{kind}.yml", f"/{kind}.yml")
    # The data of an excerpt comes from the flow around it.
    assert [each for each in warnings if not re.search("no step (stores|or parameter gives) '", each.message)] == []
    assert kind in {step.type for step in flow.steps}


@pytest.mark.parametrize("kind", step_types())
def test_the_first_line_says_what_the_step_does(kind):
    first = (find_step(kind).__doc__ or "").splitlines()[0]
    assert 5 < len(first) < 120
    assert options_of(find_step(kind))
