"""The secrets that a flow names in its text: the value of a `secret` option, and `secret('name')` in templates."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

OPTION = "secret"
CALL = r"""\bsecret\s*\(\s*(?:'([^'\\]*)'|"([^"\\]*)")\s*\)"""


def named_in(written: Any) -> set[str]:
    """The names of secrets in options as they are written; a name that a template makes up is not among them."""
    return set(_names(written))


def _names(written: Any) -> Iterator[str]:
    if isinstance(written, str):
        if OPTION in written:
            import re

            for one, other in re.findall(CALL, written):
                yield one or other
    elif isinstance(written, list):
        for item in written:
            yield from _names(item)
    elif isinstance(written, dict):
        for key, item in written.items():
            if key == OPTION and isinstance(item, str):
                yield item
            yield from _names(item)
