"""The files that a program step says its program makes: artifacts of the run."""

from __future__ import annotations

import os

from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from scflows.steps.context import Context

#: A path with one of these is a pattern.
WILD = "*?["


def note_files(ctx: Context, paths: Sequence[Any] | None) -> None:
    """Note the state of the files that a program is about to make. Raises StepError for a path outside DATA_PATH."""
    for path in paths or ():
        for full in _found(ctx, str(path)):
            ctx.add_file(full)


def check_files(ctx: Context, paths: Sequence[Any] | None) -> None:
    """Note files that match a pattern and are new. Raises StepError if the program did not make one of `paths`."""
    for path in paths or ():
        found = [full for full in _found(ctx, str(path)) if os.path.isfile(full)]
        if not found:
            raise StepError(f"artifacts: the program made no file {str(path)!r}")
        for full in found:
            ctx.files.setdefault(full, None)


def _found(ctx: Context, path: str) -> list[str]:
    """Return the paths of a file or a pattern; a file need not exist."""
    full = ctx.writable(path, is_artifact=False)
    if not any(letter in path for letter in WILD):
        return [full]
    from glob import glob

    top = os.path.realpath(ctx.settings.data_path)
    return [ctx.writable(os.path.relpath(each, top), is_artifact=False) for each in sorted(glob(full, recursive=True))]
