"""Flow files: found inside their folder, checked once, then kept as checked for as long as the file stays the same."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass

from scflows import __version__
from scflows.errors import FlowError, Mistake, StepError
from scflows.flows.model import Flow
from scflows.storage import inside, open_regular, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.settings import Settings

ENDINGS = (".yml", ".yaml")
#: What is no flow beside the flows: the schema of a forwarding, the thresholds of a check.
SCHEMAS = (".forward.yml", ".forward.yaml")
THRESHOLDS = (".thresholds.yml", ".thresholds.yaml")
#: A file that was changed this many seconds ago or later may change again within the same tick of its clock.
SETTLED = 2.0


@dataclass(frozen=True)
class FlowPath:
    """Where a flow lies. `written` is how messages and data name it: relative to the flows folder."""

    file: str  #: absolute, links resolved
    written: str
    folder: str  #: the flows folder, or the flow's own where it lies outside
    typed: str = ""  #: how somebody named it just now, for messages that an editor can jump by


def find_flow(path: str, settings: Settings) -> FlowPath:
    """Where the flow is that somebody named.

    With `FLOWS_PATH` set only inside it; else as typed, from the workspace, or inside the flows folder.
    Raises FlowError for a path that leads out or to nothing.
    """
    flows = os.path.realpath(settings.flows_path)
    if not path or "\0" in path or "\n" in path:
        raise FlowError([Mistake(repr(path), "no path of a flow")])
    bases = [flows] if settings.flows_path_is_set else [settings.home, flows]
    for base in bases:
        for ending in ("", *ENDINGS):
            named = os.path.join(base, os.path.expanduser(path) + ending)
            file = os.path.realpath(named)
            if os.path.isfile(file):
                return _placed(file, named, flows, path + ending, settings)
    if any(os.path.isdir(os.path.join(base, path)) for base in bases):
        raise FlowError([Mistake(path, "is a folder, not a flow file")], "list the flows with: flows list-flows")
    raise FlowError([Mistake(path, "there is no such flow file")], _near(path, settings))


def load_child(path: str, folder: str, settings: Settings) -> Flow:
    """The flow that a step names, by its path from the flows folder. Raises StepError or FlowError."""
    for ending in ("", *ENDINGS):
        file = inside(folder, path + ending)
        if os.path.isfile(file):
            top = os.path.realpath(folder)
            return load_flow(FlowPath(file, _as_written(os.path.join(top, path + ending), file, top), top), settings)
    raise StepError(f"there is no flow {path!r} in the flows folder")


def load_flow(where: FlowPath, settings: Settings, keep: bool = True) -> Flow:
    """The flow, checked; `keep` notes it as checked. Raises FlowError with every mistake of the file."""
    check_name(where.file, where.typed or where.written)
    try:
        with open(open_regular(where.file), "rb") as file:
            state = os.fstat(file.fileno())
            key = [
                __version__,
                where.written,
                state.st_size,
                state.st_mtime_ns,
                state.st_ctime_ns,
                state.st_ino,
            ]
            kept = _kept_path(where.file, settings)
            flow = _read_kept(kept, key)
            if flow is not None:
                return flow
            from scflows.validation import MAX_BYTES

            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise FlowError([Mistake(where.typed or where.written, f"cannot be read: {error.strerror}")]) from error
    from scflows.flows.parser import parse_flow

    flow, _ = parse_flow(content, where.written, where.file, where.typed or where.written)
    if keep and time.time() - max(state.st_mtime, state.st_ctime) > SETTLED:
        _keep(kept, key, flow)
    return flow


def check_name(file: str, shown: str) -> None:
    """Raises FlowError for a path that is not UTF-8: no history, no task file and no crontab could hold it."""
    if not file.isascii():
        try:
            file.encode()
        except UnicodeEncodeError:
            raise FlowError([Mistake(shown, "its path is not UTF-8")], "give it another name: mv") from None


def flow_files(settings: Settings) -> Iterator[FlowPath]:
    """Every flow file below the flows folder, by path, without hidden files and folders, SCHEMAS and THRESHOLDS."""
    top = os.path.realpath(settings.flows_path)
    for folder, folders, names in os.walk(top):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = os.path.relpath(folder, top)
        for name in sorted(names):
            if name.endswith(ENDINGS) and not name.endswith((*SCHEMAS, *THRESHOLDS)) and not name.startswith("."):
                file = os.path.join(folder, name)
                # Links to folders are not followed, so only the file itself can be one.
                real = os.path.realpath(file) if os.path.islink(file) else file
                yield FlowPath(real, os.path.normpath(os.path.join(below, name)), top)


def _placed(file: str, named: str, flows: str, typed: str, settings: Settings) -> FlowPath:
    check_name(file, typed)
    if file.startswith(flows.rstrip("/") + "/"):
        return FlowPath(file, _as_written(named, file, flows), flows, typed)
    if settings.flows_path_is_set:
        raise FlowError([Mistake(typed, "leads out of the flows folder")], "flows are found inside FLOWS_PATH only")
    return FlowPath(file, os.path.basename(file), os.path.dirname(file), typed)


def _as_written(named: str, file: str, top: str) -> str:
    """The path of a flow from its folder: a link in there keeps its own name, as it has in lists."""
    folder, name = os.path.split(named)
    path = os.path.relpath(os.path.join(os.path.realpath(folder), name), top)
    # A folder that is a link is told as it lies; a link to here from outside is told as what it leads to.
    return os.path.relpath(file, top) if path.startswith("../") else path


def _near(path: str, settings: Settings) -> str:
    from difflib import get_close_matches

    known = [each.written for each in flow_files(settings)]
    near = get_close_matches(path, known, 1, 0.5)
    return f"did you mean {near[0]!r}?" if near else "list the flows with: flows list-flows"


def _kept_path(file: str, settings: Settings) -> str:
    from scflows.locks import lock_name

    return os.path.join(settings.state_path, "checked-flows", f"{lock_name(file)}.json")


def _read_kept(path: str, key: list[object]) -> Flow | None:
    try:
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
        return Flow.from_dict(values["flow"]) if values["key"] == key else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _keep(path: str, key: list[object], flow: Flow) -> None:
    from scflows.steps.registry import step_types

    # A type from another package may change without its flow; it is checked anew each time.
    built_in = step_types()
    if all(step.type in built_in for step in flow.steps):
        try:
            replace(path, json.dumps({"key": key, "flow": flow.to_dict()}).encode(), mode=0o600, durable=False)
        except OSError:
            pass  # Only the next start is slower.
