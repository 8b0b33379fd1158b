"""The sources of tasks, and which of them are set up."""

from __future__ import annotations

from scflows.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scflows.planner.sources.base import Source
    from scflows.settings import Settings

SOURCES = ("flows", "smartcitizen")


def sources(settings: Settings, kind: str = "process") -> list[str]:
    """Return the names of the sources that are set up and make tasks of a kind."""
    from scflows.planner.sources.smartcitizen import is_set_up

    names = ["flows"] if kind == "process" else []
    return [*names, *(["smartcitizen"] if is_set_up(settings) or not names else [])]


def find_source(
    name: str, kind: str = "process", report: Callable[[str, int, int], None] = lambda text, done, count: None
) -> Source:
    """Return a source by its name. `report` is called with its current action, how much is done, and the total.

    Raises UsageError if there is no such source.
    """
    if name == "flows":
        from scflows.planner.sources.flow_files import FlowsSource

        return FlowsSource()
    if name == "smartcitizen":
        from scflows.planner.sources.smartcitizen import SmartCitizenSource

        return SmartCitizenSource(kind, report)
    raise UsageError(f"source {name!r} not found", f"sources: {', '.join(SOURCES)}")
