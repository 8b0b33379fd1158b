"""Which sources of tasks there are, and which of them are set up."""

from __future__ import annotations

from scflows.errors import UsageError
from scflows.planner.sources.base import Found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from scflows.settings import Settings

    class Source(Protocol):
        def wishes(self, settings: Settings, keep: bool) -> Found:
            """Which tasks there should be. Raises Unreachable when it cannot be asked.

            `keep` allows it to write what it learned into the caches.
            """


SOURCES = ("flows", "smartcitizen")


def sources(settings: Settings, kind: str = "process") -> list[str]:
    """The names of the sources that are set up, and make tasks of that kind."""
    from scflows.planner.sources.smartcitizen import is_set_up

    named = ["flows"] if kind == "process" else []
    return [*named, *(["smartcitizen"] if is_set_up(settings) or not named else [])]


def find_source(
    name: str, kind: str = "process", tell: Callable[[str, int, int], None] = lambda text, done, count: None
) -> Source:
    """A source by its name; `tell` hears what it does, how much of it is done, of how much.

    Raises UsageError for one that there is not.
    """
    if name == "flows":
        from scflows.planner.sources.flow_files import FlowsSource

        return FlowsSource()
    if name == "smartcitizen":
        from scflows.planner.sources.smartcitizen import SmartCitizenSource

        return SmartCitizenSource(kind, tell)
    raise UsageError(f"there is no source {name!r}", f"sources: {', '.join(SOURCES)}")
