"""All flow files below the flows folder that have a schedule."""

from __future__ import annotations

import os

from scflows.cron.schedule.spec import parse_schedule
from scflows.cron.task import check_name
from scflows.errors import FlowError, ScflowsError, Unreachable
from scflows.flows.loader import flow_files, load_flow
from scflows.flows.missing import missing_hooks
from scflows.planner.sources.base import SourceResult, TaskRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.settings import Settings


class FlowsSource:
    """The source of tasks for flow files."""

    def requests(self, settings: Settings, keep: bool) -> SourceResult:
        result = _check_folders(os.path.realpath(settings.flows_path))
        seen: dict[str, str] = {}
        for where in flow_files(settings):
            name = where.task
            try:
                flow = load_flow(where, settings, cache=keep)
                if flow.schedule is None:
                    continue
                check_name(name)
                if name in seen:
                    result.problems.append(f"{where.written}: {seen[name]} already has a task named {name!r}")
                    continue
                seen[name] = where.written
                missing = missing_hooks(flow.hooks, where.folder, where.file, where.written)
                result.problems.extend(str(mistake) for mistake in missing)
                result.requests.append(
                    TaskRequest(
                        name,
                        parse_schedule(flow.schedule),
                        where.file,
                        source="flows",
                        priority=flow.priority,
                        mutex=tuple(flow.mutex),
                        has_limit=bool(flow.timeout),
                        max_active_runs=flow.max_active_runs,
                    )
                )
            except FlowError as error:
                result.problems.extend(str(mistake) for mistake in error.mistakes)
                result.unclear.add(name)
            except ScflowsError as error:
                result.problems.append(f"{where.written}: {error}")
                result.unclear.add(name)
        return result


def _check_folders(top: str) -> SourceResult:
    """Return which folders cannot be read. Raises Unreachable if the flows folder is missing or cannot be read."""
    if not os.path.isdir(top):
        raise Unreachable(f"flows folder {top} not found", "is this the right workspace? create one here: flows init .")
    result = SourceResult()

    def report(error: OSError) -> None:
        folder = str(error.filename)
        if folder == top:
            raise Unreachable(f"{top}: cannot be read: {error.strerror}", f"check its owner: ls -ld {top}")
        written = os.path.relpath(folder, top)
        result.problems.append(f"{written}: cannot be read: {error.strerror}; its tasks are not changed")
        result.hidden.append(folder)

    result.is_bare = True
    for folder, folders, names in os.walk(top, onerror=report):
        result.is_bare = result.is_bare and not folders and not names
        folders[:] = [name for name in folders if not name.startswith(".")]
        if not os.access(folder, os.X_OK):
            report(PermissionError(13, "Permission denied", folder))
    return result
