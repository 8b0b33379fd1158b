"""Every flow file below the flows folder that carries a schedule."""

from __future__ import annotations

from scflows.cron.schedule import asked
from scflows.cron.task import check_name, task_name
from scflows.errors import FlowError, ScflowsError
from scflows.loader import flow_files, load_flow
from scflows.source import Found, Wish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.settings import Settings


class FlowsSource:
    """See `Source`. It needs nothing but the files."""

    def wishes(self, settings: Settings, keep: bool) -> Found:
        found = Found()
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
                found.wishes.append(Wish(name, asked(flow.schedule), where.file, source="flows"))
            except FlowError as error:
                found.problems.extend(str(mistake) for mistake in error.mistakes)
                found.unclear.add(name)
            except ScflowsError as error:
                found.problems.append(f"{where.written}: {error}")
                found.unclear.add(name)
        return found
