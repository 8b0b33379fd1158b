"""Find the hooks of a flow or of `config.yml` whose flow does not exist."""

from __future__ import annotations

import os

from scflows.errors import FlowError, Mistake, ScflowsError, StepError
from scflows.flows.loader import ENDINGS, find_flow
from scflows.storage import inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from scflows.settings import Settings


def missing_hooks(hooks: Mapping[str, str], folder: str, file: str, shown: str) -> Iterator[Mistake]:
    """Yield a mistake for each hook of a flow that is not in its folder; `shown` is the flow's path in messages."""
    for hook, path in hooks.items():
        if not _is_file_in(folder, path):
            yield _located(hook, f"{hook}: flow {path!r} not found in the flows folder", file, shown)


def missing_shared_hooks(hooks: Mapping[str, str], settings: Settings) -> Iterator[Mistake]:
    """Yield a mistake for each hook of `config.yml` that cannot be found."""
    for hook, path in hooks.items():
        try:
            find_flow(path, settings)
        except ScflowsError as error:
            reason = error.mistakes[0].message if isinstance(error, FlowError) else str(error)
            hint = f"; {error.help}" if error.help else ""
            file = settings.config_file
            yield _located(hook, f"{hook}: {path}: {reason}{hint}", file, file)


def _is_file_in(folder: str, path: str) -> bool:
    try:
        return any(os.path.isfile(inside(folder, path + ending)) for ending in ("", *ENDINGS))
    except StepError:
        return False


def _located(hook: str, message: str, file: str, shown: str) -> Mistake:
    from scflows.validation import Located

    try:
        with open(file, "rb") as opened:
            line, column = Located(opened.read(), shown).place(hook)
    except (OSError, FlowError):
        line, column = 0, 0
    return Mistake(shown, message, line, column)
