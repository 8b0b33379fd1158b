"""The environment variables that a step gives to the program it starts: which there may be, and as text."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any


def wrong_variables(env: Mapping[str, Any] | None) -> Iterator[str]:
    """What is wrong with variables as a flow has them."""
    for name, value in (env or {}).items():
        if isinstance(value, list | dict):
            yield f"the variable {name!r} must be a text, a number or true or false"
        if not name or "=" in name:
            yield f"{name!r} is no name for a variable"


def as_texts(env: Mapping[str, Any] | None) -> dict[str, str]:
    """The variables that have a value, each as a text; what is none as JSON."""
    from scflows import documents

    values = {name: value for name, value in (env or {}).items() if value is not None}
    return {name: value if isinstance(value, str) else documents.json_text(value) for name, value in values.items()}
