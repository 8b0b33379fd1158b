"""The secrets that a flow refers to: in `secret` options, and by `secret('name')` in templates."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

OPTION = "secret"
CALL = r"""\bsecret\s*\(\s*(?:'([^'\\]*)'|"([^"\\]*)")\s*\)"""


def secret_names(written: Any) -> set[str]:
    """Return the names of secrets in options as written; names that a template computes are not included."""
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
