"""Format a drawing for Graphviz, https://graphviz.org/doc/info/lang.html."""

from __future__ import annotations

from scflows.flows.drawing import CHILD, END, ERROR, EXIT, FINALLY, JUMP, NEEDS, NEXT, Drawing, Node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

STYLES = {
    NEXT: "",
    NEEDS: "",
    JUMP: "style=dashed, constraint=false",
    ERROR: 'style=dashed, color=firebrick, fontcolor=firebrick, constraint=false, xlabel="error"',
    CHILD: "style=dotted, arrowhead=none",
    FINALLY: 'label="finally"',
}
SHAPES = {"switch": "diamond", "flow file": "folder", "end": "doublecircle", "exit": "octagon", "goto": "cds"}


def dot(drawing: Drawing) -> Iterator[str]:
    """Yield the lines of a digraph, to be drawn with `dot -Tsvg`."""
    yield f"digraph {_quoted(drawing.path)} {{"
    yield f"  label={_quoted(drawing.name)}; labelloc=t; fontname=sans;"
    yield "  node [shape=box, fontname=sans, fontsize=11]; edge [fontname=sans, fontsize=9];"
    for node in drawing.nodes:
        yield f"  {_quoted(node.id)} [{_node(node)}];"
    known = {node.id for node in drawing.nodes}
    for edge in drawing.edges:
        if edge.target not in known:
            known.add(edge.target)
            yield f"  {_quoted(edge.target)} [shape=plaintext, label={_quoted(edge.target)}];"
        style = STYLES[edge.kind]
        yield f"  {_quoted(edge.source)} -> {_quoted(edge.target)}{f' [{style}]' if style else ''};"
    yield "}"


def _node(node: Node) -> str:
    label = node.name if node.type in ("end", "flow file") else f"{node.name}\n{node.type}"
    if node.parent and node.type != "flow file":
        label = f"{node.when[0] if node.when else 'else'}\n{node.type}"
    conditions = " and ".join(str(each) for each in node.when)
    tooltip = f", tooltip={_quoted('when ' + conditions)}" if conditions else ""
    border = ", style=dashed" if conditions and not node.parent else ""
    shape = "octagon" if node.id == EXIT else "doublecircle" if node.id == END else SHAPES.get(node.type, "")
    return f"label={_quoted(label)}{f', shape={shape}' if shape else ''}{border}{tooltip}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "").replace("\n", "\\n").replace("\0", "")
    return f'"{escaped}"'
