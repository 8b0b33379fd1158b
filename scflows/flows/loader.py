"""Find and load flow files; validated flows are cached until the file changes."""

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
#: Files in the flows folder that are not flows: schemas of forwardings, thresholds of checks.
SCHEMAS = (".forward.yml", ".forward.yaml")
THRESHOLDS = (".thresholds.yml", ".thresholds.yaml")
#: The file with the jobs of a working folder.
CONFIG = "config.yml"
#: A file that changed less than this many seconds ago may change again without a new timestamp.
MIN_AGE = 2.0


@dataclass(frozen=True)
class FlowPath:
    """The location of a flow. `written` is its path in messages and data, relative to the flows folder."""

    file: str  #: absolute, with links resolved
    written: str
    folder: str  #: the flows folder, or the folder of a flow outside it
    typed: str = ""  #: the path as typed by the user, so that editors can open it from messages
    is_config: bool = False  #: it is the `config.yml` of a working folder, whose jobs are the steps

    @property
    def task(self) -> str:
        """The name of its task, and of its log: its path as words, or the name of the working folder."""
        from scflows.cron.task import task_name

        if self.is_config:
            folder = os.path.dirname(self.file)
            return task_name(folder, os.path.dirname(folder))
        return task_name(self.file, self.folder)


def find_flow(path: str, settings: Settings) -> FlowPath:
    """Find a flow by the path that a user has typed.

    If `FLOWS_PATH` is set, only inside it; otherwise relative to the workspace or to the flows folder. Raises FlowError
    for a path that leads outside or does not exist.
    """
    flows = os.path.realpath(settings.flows_path)
    if not path or "\0" in path or "\n" in path:
        raise FlowError([Mistake(repr(path), "not a valid path of a flow")])
    bases = [flows] if settings.flows_path_is_set else [settings.home, flows]
    for base in bases:
        for ending in ("", *ENDINGS):
            named = os.path.join(base, os.path.expanduser(path) + ending)
            file = os.path.realpath(named)
            if os.path.isfile(file):
                return _placed(file, named, flows, path + ending, settings)
    if any(os.path.isdir(os.path.join(base, path)) for base in bases):
        raise FlowError([Mistake(path, "is a folder, not a flow file")], "list the flows with: flows list-flows")
    raise FlowError([Mistake(path, "flow file not found")], _hint(path, settings))


def load_child(path: str, folder: str, settings: Settings) -> Flow:
    """Load a child flow by its path in the flows folder. Raises StepError or FlowError."""
    for ending in ("", *ENDINGS):
        file = inside(folder, path + ending)
        if os.path.isfile(file):
            top = os.path.realpath(folder)
            flow = load_flow(FlowPath(file, _as_written(os.path.join(top, path + ending), file, top), top), settings)
            if flow.is_folder:
                raise StepError(f"{path!r} has the jobs of a working folder, which are not steps of another flow")
            return flow
    raise StepError(f"flow {path!r} not found in the flows folder")


def load_flow(where: FlowPath, settings: Settings, cache: bool = True) -> Flow:
    """Load and validate a flow; `cache` stores it for the next time. Raises FlowError with every mistake."""
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
            cache_file = _cache_path(where.file, settings)
            flow = _read_cache(cache_file, key)
            if flow is not None:
                return flow
            from scflows.validation import MAX_BYTES

            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise FlowError([Mistake(where.typed or where.written, f"cannot be read: {error.strerror}")]) from error
    from scflows.flows.parser import parse_flow

    flow, _ = parse_flow(content, where.written, where.file, where.typed or where.written)
    if cache and time.time() - max(state.st_mtime, state.st_ctime) > MIN_AGE:
        _write_cache(cache_file, key, flow)
    return flow


def check_name(file: str, shown: str) -> None:
    """Raise FlowError for a path that is not UTF-8, which history, task files and crontab cannot store."""
    if not file.isascii():
        try:
            file.encode()
        except UnicodeEncodeError:
            raise FlowError([Mistake(shown, "its path is not UTF-8")], "rename it") from None


def flow_files(settings: Settings) -> Iterator[FlowPath]:
    """Yield the flow files in the flows folder, ordered by path, without hidden files and other file types."""
    top = os.path.realpath(settings.flows_path)
    for folder, folders, names in os.walk(top):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = os.path.relpath(folder, top)
        for name in sorted(names):
            if name.endswith(ENDINGS) and not name.endswith((*SCHEMAS, *THRESHOLDS)) and not name.startswith("."):
                file = os.path.join(folder, name)
                if name == CONFIG and _has_jobs(file):
                    continue
                # Links to folders are not followed, so only the file itself can be a link.
                real = os.path.realpath(file) if os.path.islink(file) else file
                yield FlowPath(real, os.path.normpath(os.path.join(below, name)), top)


def _has_jobs(file: str) -> bool:
    """Return whether a file has the jobs of a working folder instead of the steps of a flow."""
    try:
        with open(open_regular(file), "rb") as opened:
            lines = opened.read(1 << 20).splitlines()
    except OSError:
        return False
    return any(line.startswith(b"jobs:") for line in lines) and not any(line.startswith(b"steps:") for line in lines)


def _placed(file: str, named: str, flows: str, typed: str, settings: Settings) -> FlowPath:
    check_name(file, typed)
    if file == os.path.realpath(settings.config_file):
        folder = os.path.dirname(file)
        written = f"{os.path.basename(folder)}/{os.path.basename(file)}"
        return FlowPath(file, written, flows if os.path.isdir(flows) else folder, typed, is_config=True)
    if file.startswith(flows.rstrip("/") + "/"):
        return FlowPath(file, _as_written(named, file, flows), flows, typed)
    if settings.flows_path_is_set:
        raise FlowError([Mistake(typed, "is outside the flows folder")], "flows must be inside FLOWS_PATH")
    return FlowPath(file, os.path.basename(file), os.path.dirname(file), typed)


def _as_written(named: str, file: str, top: str) -> str:
    """Return the path of a flow relative to its folder; a link in the folder keeps its own name, as in lists."""
    folder, name = os.path.split(named)
    path = os.path.relpath(os.path.join(os.path.realpath(folder), name), top)
    # A link from outside the folder is shown as its target.
    return os.path.relpath(file, top) if path.startswith("../") else path


def _hint(path: str, settings: Settings) -> str:
    from scflows.validation import did_you_mean

    known = (each.written for each in flow_files(settings))
    return did_you_mean(path, known, 0.5) or "list the flows with: flows list-flows"


def _cache_path(file: str, settings: Settings) -> str:
    from scflows.locks import lock_name

    return os.path.join(settings.state_path, "checked-flows", f"{lock_name(file)}.json")


def _read_cache(path: str, key: list[object]) -> Flow | None:
    try:
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
        return Flow.from_dict(values["flow"]) if values["key"] == key else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _write_cache(path: str, key: list[object], flow: Flow) -> None:
    from scflows.steps.registry import step_types

    # Step types of other packages may change independently, so flows that use them are always validated.
    built_in = step_types()
    if all(step.type in built_in for step in flow.steps):
        try:
            replace(path, json.dumps({"key": key, "flow": flow.to_dict()}).encode(), mode=0o600, durable=False)
        except OSError:
            pass  # The next start is only slower.
