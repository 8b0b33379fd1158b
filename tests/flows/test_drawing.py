"""A flow drawn: its order, its jumps, its children."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field
from textwrap import dedent
from xml.etree import ElementTree

import pytest

from scflows.flows.drawing import draw
from scflows.flows.drawing.dot import dot
from scflows.flows.drawing.text import text
from scflows.flows.model import Flow, StepSpec
from scflows.flows.parser import parse_flow

FLOW = """
    name: Orders
    finally_step: report
    steps:
      - {name: report, type: debug, debug: {}}
      - {name: fetch, type: rest, rest: {uri: "http://a"}, on_error_goto: give up}
      - {name: none, type: exit, when: [not fetch, true], exit: {message: nothing}}
      - {name: again, type: goto, when: fetch.next, goto: {step_name: fetch}}
      - {name: anywhere, type: goto, when: fetch.place, goto: {step_name: "{{ fetch.place }}"}}
      - {name: done, type: goto, goto: {step_name: report}}
      - {name: give up, type: goto, goto: {step_name: __exit__}}
"""


def flow_of(written: str) -> Flow:
    return parse_flow(dedent(written).encode(), "orders.yml", "/orders.yml")[0]


def edges(flow: Flow) -> list[tuple[str, str, str]]:
    return [(edge.source, edge.kind, edge.target) for edge in draw(flow).edges]


@dataclass(frozen=True)
class Ordered(StepSpec):
    """A step of a graph."""

    needs: list[str] | None = field(default_factory=list)


def graph(*steps: tuple[str, list[str]]) -> Flow:
    specs: list[StepSpec] = [Ordered(name, "debug", {}, needs=needs) for name, needs in steps]
    return Flow("graph.yml", "/graph.yml", "Graph", specs)


def switch() -> Flow:
    cases = [
        {"when": "temp|hum", "step": {"type": "flow_loop", "flow_loop": {"path": "one.yml", "data_key": "rows"}}},
        {"when": "none$", "step": {"type": "goto", "goto": {"step_name": "last"}}},
        {"when": 4, "step": {"name": "sum", "type": "jq", "jq": {"expression": "add"}}},
    ]
    default = {"type": "exit", "exit": {"message": "unknown"}}
    options = {"data_key": "kind", "cases": cases, "default": default}
    steps = [StepSpec("by kind", "switch", options), StepSpec("last", "flow", {"path": "sub/two.yml"})]
    return Flow("switch.yml", "/switch.yml", "Switch", steps)


def test_order_jumps_errors_and_the_final_step_are_drawn() -> None:
    assert edges(flow_of(FLOW)) == [
        ("1", "error", "6"),
        ("1", "next", "2"),
        ("2", "jump", "__exit__"),
        ("2", "next", "3"),
        ("3", "jump", "1"),
        ("3", "next", "4"),
        ("4", "jump", "{{ fetch.place }}"),
        ("4", "next", "5"),
        ("5", "jump", "__end__"),
        ("6", "jump", "__exit__"),
        ("__end__", "finally", "finally"),
    ]


def test_the_text_says_where_each_step_leads() -> None:
    assert list(text(draw(flow_of(FLOW)))) == [
        "Orders · orders.yml",
        "   1  fetch     rest   on error → 6 give up",
        "   2  none      exit   when not fetch and True · → exit",
        "   3  again     goto   when fetch.next · → 1 fetch",
        "   4  anywhere  goto   when fetch.place · → {{ fetch.place }}",
        "   5  done      goto   → end",
        "   6  give up   goto   → exit",
        "last  report    debug",
    ]


def test_the_cases_of_a_switch_and_sub_flows_are_children() -> None:
    assert list(text(draw(switch()))) == [
        "Switch · switch.yml",
        "1  by kind  switch",
        "   └ 'temp|hum': flow_loop",
        "     └ one.yml",
        "   └ 'none$': goto · → 2 last",
        "   └ 4: jq sum",
        "   └ else: exit · → exit",
        "2  last     flow",
        "   └ sub/two.yml",
    ]


def test_a_graph_stands_in_the_order_of_its_needs() -> None:
    flow = graph(("join", ["b", "a"]), ("a", []), ("b", ["a"]), ("c", []))
    assert list(text(draw(flow))) == [
        "Graph · graph.yml",
        "1  a     debug",
        "2  c     debug",
        "3  b     debug  needs 1 a",
        "4  join  debug  needs 3 b, 1 a",
    ]
    assert edges(flow) == [
        ("1", "needs", "3"),
        ("3", "needs", "4"),
        ("1", "needs", "4"),
        ("2", "next", "__end__"),
        ("4", "next", "__end__"),
    ]


@dataclass(frozen=True)
class Hooked(Flow):
    """A flow that others follow."""

    hooks: dict[str, str] = field(default_factory=dict)


def test_the_flows_that_follow_a_run_stand_at_the_end() -> None:
    flow = Hooked("a.yml", "/a.yml", "A", [], hooks={"on_failure": "tell.yml"})
    assert list(text(draw(flow))) == ["A · a.yml", "on failure: tell.yml"]


def test_a_flow_without_steps_is_drawn_too() -> None:
    flow = flow_of("steps: []")
    assert list(text(draw(flow))) == ["orders · orders.yml"]
    assert list(dot(draw(flow)))[-1] == "}"


def test_a_flow_of_hundreds_of_steps_has_a_line_for_each() -> None:
    flow = graph(*[(f"step {number}", [f"step {number - 1}"] if number else []) for number in range(400)])
    lines = list(text(draw(flow)))
    assert len(lines) == 401
    assert lines[-1] == "400  step 399  debug  needs 399 step 398"


def test_names_with_any_characters_stay_on_their_line() -> None:
    flow = graph(("a\nb", []), ('say "hi" \\ there', ["a\nb"]))
    assert list(text(draw(flow)))[1].startswith("1  a b ")
    written = "\n".join(dot(draw(flow)))
    assert '"1" [label="a\\nb\\ndebug"];' in written
    assert '"2" [label="say \\"hi\\" \\\\ there\\ndebug"];' in written


@pytest.mark.service
@pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz")
@pytest.mark.parametrize("flow", [flow_of(FLOW), switch(), graph(("a", []), ('"\\é\n', ["a"]))], ids=lambda f: f.path)
def test_graphviz_draws_every_node(flow: Flow) -> None:
    drawing = draw(flow)
    done = subprocess.run(["dot", "-Tsvg"], input="\n".join(dot(drawing)), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    groups = [each.get("class") for each in ElementTree.fromstring(done.stdout).iter("{http://www.w3.org/2000/svg}g")]
    assert groups.count("node") >= len(drawing.nodes)
    assert groups.count("edge") == len(drawing.edges)
