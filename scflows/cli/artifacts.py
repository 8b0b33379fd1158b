"""List the files that a run made; copy one of them or all."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from scflows.cli.output import Output
from scflows.cli.runs import RunId

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.history.artifacts import Artifact


def list_artifacts(ctx: typer.Context, run: RunId) -> None:
    """List the files that a run made; show which have changed since."""
    from scflows.cli.times import Moment, Status
    from scflows.history.artifacts import state_of

    out: Output = ctx.obj
    found, id = _artifacts(run, out)
    items = [
        {
            "name": each.name,
            "size": each.size,
            "modified": Moment(each.modified / 1e9),
            "step": each.step,
            "state": Status(state_of(each)),
            "sha256": each.sha256 or None,
            "path": each.path,
        }
        for each in found
    ]
    out.table({"FILE": "name", "SIZE": "size", "MODIFIED": "modified", "STEP": "step", "STATE": "state"}, items)
    out.hint(f"Copy one: flows artifacts get {id} {found[0].name}" if found else f"Run {id} made no files.")


def get(
    ctx: typer.Context,
    run: RunId,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A file, as `list` shows it.")] = None,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="FILE", help="Where to write it (default: its name, here)."),
    ] = None,
    all_as_zip: Annotated[bool, typer.Option("--zip", help="Get all files of the run as one ZIP file.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE; get a file even if it has changed.")] = False,
) -> int:
    """Copy a file that a run made, or all of them as a ZIP file."""
    from scflows.errors import UsageError

    out: Output = ctx.obj
    found, id = _artifacts(run, out)
    if all_as_zip == (name is not None):
        raise UsageError("give either NAME or --zip", f"list the files with: flows artifacts list {id}")
    target = output or (f"{id}.zip" if all_as_zip else os.path.basename(name or ""))
    if os.path.lexists(target) and not force:
        raise UsageError(f"{target} already exists", "name another file with -o, or replace it with --force")
    try:
        if name is None:
            return _zip(found, id, target, force, out)
        return _copy(found, id, name, target, force, out)
    except OSError as error:
        raise UsageError(f"{error.filename or target}: {error.strerror or error}") from error


def _artifacts(run: str, out: Output) -> tuple[list[Artifact], str]:
    from scflows.cli.open_history import find_run, opened_history
    from scflows.errors import UsageError
    from scflows.history.artifacts import artifacts_path, read_artifacts

    with opened_history(out.settings) as store:
        id = find_run(store, run).id
    try:
        return read_artifacts(out.settings, id), id
    except OSError as error:
        raise UsageError(f"{artifacts_path(out.settings, id)}: cannot be read: {error.strerror}") from error


def _copy(found: list[Artifact], id: str, name: str, target: str, force: bool, out: Output) -> int:
    from shutil import copyfileobj

    from scflows.cli.open_history import nearest
    from scflows.errors import NotFound
    from scflows.history.artifacts import CHANGED, MISSING, state_of
    from scflows.storage import open_regular, replacing

    artifact = next((each for each in found if name in (each.name, each.path)), None)
    if artifact is None:
        near = nearest(name, [each.name for each in found])
        raise NotFound(f"run {id} made no file {name!r}", near or f"list them with: flows artifacts list {id}")
    state = state_of(artifact)
    if state == MISSING:
        raise NotFound(f"{artifact.path}, which run {id} made, no longer exists", f"flows artifacts list {id}")
    if state == CHANGED and not force:
        raise NotFound(f"{artifact.path} has changed since run {id} made it", "get its current content with --force")
    with open(open_regular(artifact.path), "rb") as file, replacing(target) as copy:
        copyfileobj(file, copy)
    item: dict[str, Any] = {"run": id, "name": artifact.name, "output": target, "state": state}
    out.say(f"Copied {artifact.name} to {target}.", item)
    return 0


def _zip(found: list[Artifact], id: str, target: str, force: bool, out: Output) -> int:
    """Write a ZIP file; return 1 if files are missing in it."""
    from shutil import copyfileobj
    from zipfile import ZIP_DEFLATED, ZipFile

    from scflows.history.artifacts import UNCHANGED, state_of
    from scflows.storage import open_regular, replacing

    left_out = []
    count = 0
    with replacing(target) as copy, ZipFile(copy, "w", ZIP_DEFLATED) as archive:
        for artifact in found:
            state = state_of(artifact)
            if state != UNCHANGED and not (force and os.path.isfile(artifact.path)):
                left_out.append({"name": artifact.name, "state": state})
                continue
            with (
                open(open_regular(artifact.path), "rb") as file,
                archive.open(artifact.name, "w", force_zip64=True) as entry,
            ):
                copyfileobj(file, entry)
            count += 1
    for each in left_out:
        out.warn(f"{each['name']} is {each['state']} and not in {target}")
    files = f"{count} file{'' if count == 1 else 's'}"
    out.say(f"Wrote {files} to {target}.", {"run": id, "output": target, "files": count, "left_out": left_out})
    return 1 if left_out else 0
