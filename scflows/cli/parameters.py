"""Options that commands of several kinds share, and `-p NAME=VALUE`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from scflows.errors import UsageError

Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask for confirmation.")]
Follow = Annotated[bool, typer.Option("--follow", help="Print each step as it ends, and the log.")]


def parse_params(texts: Sequence[str] | None, may_be_empty: bool = False) -> dict[str, Any]:
    """Return the values of `-p NAME=VALUE`; with `may_be_empty`, `NAME=` is None. Raise UsageError."""
    params: dict[str, Any] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"-p must be of the form NAME=VALUE, not {text!r}", "for example -p day=2024-03-05")
        params[name] = None if may_be_empty and not value else value
    return params
