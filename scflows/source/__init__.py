"""Where tasks come from: each source says which tasks there should be."""

from __future__ import annotations

from dataclasses import dataclass, field

from scflows.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from scflows.cron.asked import Asked
    from scflows.settings import Settings

    class Source(Protocol):
        def wishes(self, settings: Settings, keep: bool) -> Found:
            """Which tasks there should be. Raises Unreachable when it cannot be asked.

            `keep` allows it to write what it learned into the caches.
            """


@dataclass(frozen=True)
class Wish:
    """A task that somebody wants."""

    name: str
    asked: Asked
    flow: str = ""  #: absolute; empty for a command
    command: tuple[str, ...] = ()
    params: dict[str, Any] = field(default_factory=dict)
    source: str = "manual"
    kind: str = ""
    timeout: float | None = None  #: seconds
    dry: bool = False


@dataclass
class Found:
    """What a source answers."""

    wishes: list[Wish] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  #: what could not be read; the rest stands
    unclear: set[str] = field(default_factory=set)  #: names of tasks that a problem may have hidden
    hidden: list[str] = field(default_factory=list)  #: folders that could not be read; their tasks are unclear too
    is_bare: bool = False  #: there was nothing at all to look through, as where a disk is not mounted


def sources() -> list[str]:
    """The names of the sources that are there."""
    return ["flows"]


def find_source(name: str) -> Source:
    """A source by its name. Raises UsageError for one that is not there."""
    if name == "flows":
        from scflows.source.flows import FlowsSource

        return FlowsSource()
    raise UsageError(f"there is no source {name!r}", f"sources: {', '.join(sources())}")
