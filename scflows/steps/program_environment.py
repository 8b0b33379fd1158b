"""The environment variables that a step passes to a program: checked, and as texts."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any


def variable_mistakes(env: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield the mistakes in the variables that a flow file sets."""
    for name, value in (env or {}).items():
        if isinstance(value, list | dict):
            yield f"the variable {name!r} must be text, a number, true or false"
        if not name or "=" in name:
            yield f"{name!r} is not a valid name of a variable"


def as_texts(env: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the variables that are not null as texts; a value that is not text becomes JSON."""
    from scflows import documents

    values = {name: value for name, value in (env or {}).items() if value is not None}
    return {name: value if isinstance(value, str) else documents.json_text(value) for name, value in values.items()}
