"""Find values that YAML 1.1 reads as something else than most people expect."""

from __future__ import annotations

from scflows.errors import Mistake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from scflows.validation import Located

BOOLEAN = "tag:yaml.org,2002:bool"
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


def surprises(document: Located) -> Iterator[Mistake]:
    """Yield a warning for each such key and number of a document."""
    pending: list[tuple[Any, str]] = [] if document.root is None else [(document.root, "")]
    seen: set[int] = set()
    while pending:
        node, parent = pending.pop()
        if id(node) in seen:
            continue  # An alias.
        seen.add(id(node))
        found = ""
        if node.id == "mapping":
            for key, item in node.value:
                # The `on` of a `retry` and of a join is understood.
                if (message := _about_key(key)) and (parent, key.value) not in (("retry", "on"), ("table", "on")):
                    yield _warning(document, key, message)
                pending.append((item, key.value if isinstance(key.value, str) else ""))
        elif node.id == "sequence":
            pending += [(item, parent) for item in node.value]
        elif found := _about_number(node):
            yield _warning(document, node, found)


def _warning(document: Located, node: Any, message: str) -> Mistake:
    mark = node.start_mark
    return Mistake(document.path, message, mark.line + 1, mark.column + 1, "warning")


def _about_key(node: Any) -> str:
    if node.tag != BOOLEAN or node.value.lower() in ("true", "false"):
        return ""
    value = "true" if node.value.lower() in ("yes", "on") else "false"
    return f"YAML reads the key {node.value!r} as {value}; put it in quotes"


def _about_number(node: Any) -> str:
    if node.tag not in NUMBERS:
        return ""
    digits = node.value.lstrip("+-")
    if ":" in digits:
        return f"YAML reads {node.value} as a number in base 60; put it in quotes if it is a time or text"
    digits = digits.replace("_", "")
    if len(digits) > 1 and digits[0] == "0" and digits.isdecimal():
        return f"YAML reads {node.value} in base 8, as {int(digits, 8)}; put it in quotes if it is text"
    return ""
