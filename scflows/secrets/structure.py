"""The values in a structured secret: JSON, YAML, lines like `NAME=VALUE`, an address with a login."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

#: How deep a structure is searched.
MAX_DEPTH = 20
#: Values that are not secret, and that would be masked everywhere.
ORDINARY = ("true", "false", "null", "none")


def values_in(text: str) -> Iterator[tuple[str, str]]:
    """Yield the texts and numbers in a structured text, each with the name of its field; nothing for other texts."""
    yield from logins_in(text)
    value = _parsed(text)
    if value is not None:
        yield from _leaves("", value, 0)


def logins_in(text: str) -> Iterator[tuple[str, str]]:
    """Yield user and password in an address, also decoded and as a header; nothing for other texts."""
    if "://" in text and "@" in text and len(text.split()) == 1:
        from urllib.parse import unquote

        from scflows.connectors.endpoint import login_in
        from scflows.secrets.encodings import basic

        user, password = login_in(text)
        for name, value in (("username", user), ("password", password)):
            for form in dict.fromkeys((value, unquote(value))):
                if form:
                    yield name, form
        if password:
            for form in basic(unquote(user), unquote(password)):
                yield "authorization", form


def _parsed(text: str) -> Any:
    """Return the mapping or list that a text contains, None for other texts."""
    import json

    start = text.lstrip()[:1]
    if start in ("{", "["):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            pass
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if start in ("{", "[") or (len(lines) > 1 and any(":" in line or line.startswith("- ") for line in lines)):
        import yaml

        try:
            value = yaml.load(text, Loader=yaml.BaseLoader)  # It gives texts, lists and mappings only.
        except (yaml.YAMLError, RecursionError):
            value = None
        if isinstance(value, dict | list):
            return value
    pairs = [line.removeprefix("export ").partition("=") for line in lines]
    if len(pairs) > 1 and all(equals and name.strip().isidentifier() for name, equals, _ in pairs):
        return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}
    return None


def _leaves(name: str, value: Any, depth: int) -> Iterator[tuple[str, str]]:
    if depth > MAX_DEPTH or value is None or isinstance(value, bool):
        return
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(str(key), item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(name, item, depth + 1)
    elif isinstance(value, str):
        if value.lower() in ORDINARY:
            return
        yield name, value
        yield from logins_in(value)
        nested = _parsed(value)
        if nested is not None:
            yield from _leaves(name, nested, depth + 1)
    else:
        yield name, str(value)
