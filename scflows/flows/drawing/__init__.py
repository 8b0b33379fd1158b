"""A flow as nodes and edges: its order, jumps and child flows; `text` and `dot` format it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from scflows.flows.model import RESERVED, Flow, StepSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


START, END, EXIT = RESERVED
#: The option with the path of the child flow, by step type.
SUB_FLOWS = {"flow": "path", "flow_loop": "path"}

NEXT, JUMP, ERROR, NEEDS, CHILD, FINALLY = "next", "jump", "error", "needs", "child", "finally"


@dataclass(frozen=True)
class Node:
    """A step, or something that a step leads to."""

    id: str  #: `3`, for a child `3.1`, `__end__`, `__exit__`, or `finally` for the final step
    name: str
    type: str  #: the step type; `flow file` for a child flow, `end` for both ends
    parent: str = ""  #: the id of the parent step
    when: list[Any] = field(default_factory=list)  #: conditions of a step, or the pattern of a case of `switch`


@dataclass(frozen=True)
class Edge:
    """A connection from one node to another."""

    source: str
    target: str  #: a node's id, or the text as written if it is known only at run time
    kind: str  #: one of the constants above


@dataclass
class Drawing:
    """The graph of a flow."""

    path: str
    name: str
    nodes: list[Node] = field(default_factory=list)  #: steps in order, each followed by its children
    edges: list[Edge] = field(default_factory=list)
    hooks: dict[str, str] = field(default_factory=dict)  #: flows that run afterwards, by property

    def to_dict(self) -> dict[str, Any]:
        """Return the drawing as JSON values."""
        return asdict(self)


def draw(flow: Flow) -> Drawing:
    """Return the drawing of a flow. With `needs`, steps come after all steps that they need."""
    final = next((spec for spec in flow.steps if spec.name == flow.finally_step), None)
    specs = [spec for spec in flow.steps if spec is not final]
    drawing = Drawing(flow.path, flow.name, hooks=dict(flow.hooks))
    if flow.is_graph:
        specs = _sorted(specs)
    ids = {spec.name: str(number) for number, spec in reversed(list(enumerate(specs, 1)))}
    ids |= {START: "1" if specs else END, END: END, EXIT: EXIT}
    if final is not None:
        ids[final.name] = END  # Jumping to it means jumping to the end.
    for number, spec in enumerate(specs, 1):
        _add(drawing, str(number), spec, ids)
        if flow.is_graph:
            drawing.edges += [Edge(ids.get(name, name), str(number), NEEDS) for name in spec.needs or ()]
        elif spec.when or spec.type not in ("goto", "exit"):
            drawing.edges.append(Edge(str(number), str(number + 1) if number < len(specs) else END, NEXT))
    if flow.is_graph:
        needed = {edge.source for edge in drawing.edges if edge.kind == NEEDS}
        drawing.edges += [Edge(str(n), END, NEXT) for n in range(1, len(specs) + 1) if str(n) not in needed]
    if final is not None:
        _add(drawing, "finally", final, {})
        drawing.edges.append(Edge(END, "finally", FINALLY))
    used = {edge.target for edge in drawing.edges}
    drawing.nodes += [Node(id, name, "end") for id, name in ((END, "end"), (EXIT, "exit")) if id in used]
    return drawing


def _add(drawing: Drawing, id: str, spec: StepSpec, ids: dict[str, str]) -> None:
    drawing.nodes.append(Node(id, spec.name, spec.type, when=spec.when))
    _lead_on(drawing, id, spec.type, spec.options, ids)
    if spec.on_error_goto is not None and ids:
        drawing.edges.append(Edge(id, ids.get(spec.on_error_goto, spec.on_error_goto), ERROR))


def _lead_on(drawing: Drawing, id: str, kind: str, options: dict[str, Any], ids: dict[str, str]) -> None:
    """Add the jumps and children of a step. A final step, which has no `ids`, does not jump."""
    if kind == "goto" and ids:
        target = str(options.get("step_name", ""))
        drawing.edges.append(Edge(id, ids.get(target, target), JUMP))
    elif kind == "exit" and ids:
        drawing.edges.append(Edge(id, EXIT, JUMP))
    for number, (node, inner) in enumerate(_children(id, kind, options), 1):
        node = Node(f"{id}.{number}", node.name, node.type, id, node.when)
        drawing.nodes.append(node)
        drawing.edges.append(Edge(id, node.id, CHILD))
        _lead_on(drawing, node.id, node.type, inner, ids)


def _children(id: str, kind: str, options: dict[str, Any]) -> Iterator[tuple[Node, dict[str, Any]]]:
    """Yield the child flow of a step or the cases of a switch, each with its options."""
    if kind in SUB_FLOWS:
        yield Node("", str(options.get(SUB_FLOWS[kind], "")), "flow file"), {}
    elif kind == "switch":
        cases = options.get("cases") or []
        given = [(case.get("when"), case.get("step")) for case in cases if isinstance(case, dict)]
        for pattern, step in [*given, (None, options.get("default"))]:
            if isinstance(step, dict):
                inner = str(step.get("type", ""))
                name = str(step.get("name") or inner)
                block = step.get(inner)
                when = [] if pattern is None else [pattern]
                yield Node("", name, inner, when=when), block if isinstance(block, dict) else {}


def _sorted(specs: list[StepSpec]) -> list[StepSpec]:
    """Return the steps, each after all that it needs, grouped by distance from the start."""
    by_name = {spec.name: spec for spec in specs}
    levels: dict[str, int] = {}
    left = list(specs)
    while left:
        ready = [spec for spec in left if all(name in levels or name not in by_name for name in spec.needs or ())]
        if not ready:
            break  # A cycle, which the validation of the flow rejects.
        for spec in ready:
            levels[spec.name] = 1 + max((levels.get(name, 0) for name in spec.needs or ()), default=0)
        left = [spec for spec in left if spec.name not in levels]
    return sorted(specs, key=lambda spec: levels.get(spec.name, len(specs)))
