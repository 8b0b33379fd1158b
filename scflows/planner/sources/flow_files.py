"""Every flow file below the flows folder that carries a schedule."""

from __future__ import annotations

import os

from scflows.cron.schedule.schedule import asked
from scflows.cron.task import check_name, task_name
from scflows.errors import FlowError, ScflowsError, Unreachable
from scflows.flows.loader import flow_files, load_flow
from scflows.planner.sources.base import Found, TaskRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.settings import Settings


class FlowsSource:
    """See `Source`. It needs nothing but the files."""

    def wishes(self, settings: Settings, keep: bool) -> Found:
        found = _looked_through(os.path.realpath(settings.flows_path))
        seen: dict[str, str] = {}
        for where in flow_files(settings):
            name = task_name(where.file, where.folder)
            try:
                flow = load_flow(where, settings, keep=keep)
                if flow.schedule is None:
                    continue
                check_name(name)
                if name in seen:
                    found.problems.append(f"{where.written}: its task {name!r} is that of {seen[name]} already")
                    continue
                seen[name] = where.written
                found.wishes.append(
                    TaskRequest(
                        name,
                        asked(flow.schedule),
                        where.file,
                        source="flows",
                        priority=flow.priority,
                        mutex=tuple(flow.mutex),
                    )
                )
            except FlowError as error:
                found.problems.extend(str(mistake) for mistake in error.mistakes)
                found.unclear.add(name)
            except ScflowsError as error:
                found.problems.append(f"{where.written}: {error}")
                found.unclear.add(name)
        return found


def _looked_through(top: str) -> Found:
    """What the folders alone tell. Raises Unreachable when the flows folder is away or cannot be read."""
    if not os.path.isdir(top):
        raise Unreachable(f"there is no flows folder {top}", "make a workspace with: flows init DIR")
    found = Found()

    def told(error: OSError) -> None:
        folder = str(error.filename)
        if folder == top:
            raise Unreachable(f"{top}: cannot be read: {error.strerror}", f"see who owns it: ls -ld {top}")
        written = os.path.relpath(folder, top)
        found.problems.append(f"{written}: cannot be read: {error.strerror}; its tasks stay as they are")
        found.hidden.append(folder)

    found.is_bare = True
    for folder, folders, names in os.walk(top, onerror=told):
        found.is_bare = found.is_bare and not folders and not names
        folders[:] = [name for name in folders if not name.startswith(".")]
        if not os.access(folder, os.X_OK):
            told(PermissionError(13, "Permission denied", folder))
    return found
