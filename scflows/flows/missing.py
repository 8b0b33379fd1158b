"""Find what a flow or `config.yml` refers to that does not exist: hooks and secrets."""

from __future__ import annotations

import os

from scflows.errors import FlowError, Mistake, ScflowsError, StepError
from scflows.flows.loader import ENDINGS, find_flow
from scflows.storage import inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from scflows.flows.model import Flow
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


def missing_secrets(flow: Flow, settings: Settings, shown: str, always: bool = True) -> Iterator[Mistake]:
    """Yield a warning for each secret that is not defined; unless `always`, only if others are.

    Nothing is fetched. A secret may also be defined only in the environment of another machine.
    """
    from scflows.secrets.masking import Mask
    from scflows.secrets.references import secret_names
    from scflows.secrets.resolver import Secrets

    used = [(index, step, name) for index, step in enumerate(flow.steps) for name in sorted(secret_names(step.options))]
    if not used:
        return
    secrets = Secrets(settings, Mask(), lambda message: None, lambda expression, value: value)
    try:
        if not always and not secrets.names():
            return
        for index, step, name in used:
            if not secrets.has(name):
                message = f"step {step.name!r}: secret {name!r} not found{secrets.hint(name)}"
                line, column = _place(("steps", index, step.type, "secret"), flow.file, shown)
                yield Mistake(shown, message, line, column, "warning")
    except StepError as error:
        yield Mistake(shown, str(error), severity="warning")  # The file cannot be read.


def _is_file_in(folder: str, path: str) -> bool:
    try:
        return any(os.path.isfile(inside(folder, path + ending)) for ending in ("", *ENDINGS))
    except StepError:
        return False


def _located(hook: str, message: str, file: str, shown: str) -> Mistake:
    return Mistake(shown, message, *_place((hook,), file, shown))


def _place(keys: tuple[str | int, ...], file: str, shown: str) -> tuple[int, int]:
    from scflows.validation import Located

    try:
        with open(file, "rb") as opened:
            return Located(opened.read(), shown).place(*keys)
    except (OSError, FlowError):
        return 0, 0
