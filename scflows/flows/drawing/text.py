"""Format a drawing for a terminal: one line for each step, with its jumps."""

from __future__ import annotations

from scflows.flows.drawing import END, ERROR, EXIT, JUMP, NEEDS, Drawing, Node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: The maximum width of the column of names; longer names shift only their own line.
NAME_WIDTH = 44
#: The maximum length of a condition.
CONDITION_LENGTH = 60


def text(drawing: Drawing) -> Iterator[str]:
    """Yield the lines. Steps run in order unless an arrow shows a jump."""
    steps = [node for node in drawing.nodes if node.type != "end"]
    numbers = max((len(_number(node)) for node in steps if not node.parent), default=1)
    names = min(NAME_WIDTH, max((len(_line(node.name)) for node in steps if not node.parent), default=1))
    types = max((len(node.type) for node in steps if not node.parent), default=1)
    yield f"{_line(drawing.name)} · {drawing.path}"
    for node in steps:
        details = " · ".join(_details(drawing, node))
        if node.parent:
            depth = node.id.count(".")
            yield f"{' ' * (numbers + 2 * depth)}{_child(node)}{' · ' + details if details else ''}"
        else:
            yield f"{_number(node):>{numbers}}  {_line(node.name):<{names}}  {node.type:<{types}}  {details}".rstrip()
    for hook, path in drawing.hooks.items():
        yield f"{hook.replace('_', ' ')}: {_line(path)}"


def _number(node: Node) -> str:
    return "last" if node.id == "finally" else node.id


def _child(node: Node) -> str:
    if node.type == "flow file":
        return f"└ {_line(node.name)}"
    case = "else" if not node.when else repr(node.when[0]) if isinstance(node.when[0], str) else str(node.when[0])
    name = "" if node.name == node.type else f" {_line(node.name)}"
    return f"└ {case}: {node.type}{name}"


def _details(drawing: Drawing, node: Node) -> Iterator[str]:
    if node.when and not node.parent:
        yield f"when {_short(' and '.join(_line(str(each)) for each in node.when))}"
    needed = [_shown(drawing, edge.source) for edge in drawing.edges if edge.kind == NEEDS and edge.target == node.id]
    if needed:
        yield f"needs {', '.join(needed)}"
    for edge in drawing.edges:
        if edge.source == node.id and edge.kind == JUMP:
            yield f"→ {_shown(drawing, edge.target)}"
        elif edge.source == node.id and edge.kind == ERROR:
            yield f"on error → {_shown(drawing, edge.target)}"


def _shown(drawing: Drawing, id: str) -> str:
    if id in (END, EXIT):
        return "end" if id == END else "exit"
    found = next((node for node in drawing.nodes if node.id == id), None)
    return f"{id} {_line(found.name)}" if found else _line(id)


def _line(text: str) -> str:
    return " ".join(text.split())


def _short(text: str) -> str:
    return text if len(text) <= CONDITION_LENGTH else f"{text[: CONDITION_LENGTH - 1]}…"
