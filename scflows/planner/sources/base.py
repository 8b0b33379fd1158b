"""The contract of the sources of tasks: each requests the tasks that should exist."""

from __future__ import annotations

from dataclasses import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from scflows.cron.schedule.spec import ScheduleSpec
    from scflows.settings import Settings

    class Source(Protocol):
        """A source of tasks."""

        def requests(self, settings: Settings, keep: bool) -> SourceResult:
            """Return the tasks that should exist. Raises Unreachable if the source does not answer.

            `keep` allows the source to write its caches.
            """


@dataclass(frozen=True)
class TaskRequest:
    """A task that a user or a source requests."""

    name: str
    spec: ScheduleSpec
    flow: str = ""  #: absolute; empty for a command
    command: tuple[str, ...] = ()
    params: dict[str, Any] = field(default_factory=dict)
    source: str = "manual"
    kind: str = ""
    timeout: float | None = None  #: seconds
    has_limit: bool = True  #: whether its flow has a time limit of its own
    dry: bool = False
    priority: int = 0
    mutex: tuple[str, ...] = ()
    max_active_runs: int = 1


@dataclass(frozen=True)
class Decision:
    """What a source decides about one device. Times are seconds since the epoch."""

    device: int
    task: str  #: the name that its task has or would have
    decision: str  #: `schedule`; `leave`: create no task, but keep an existing one; `remove`: no task
    why: str
    name: str = ""
    last_reading_at: float | None = None
    latest_postprocessing: float | None = None


@dataclass
class SourceResult:
    """The result of a source."""

    requests: list[TaskRequest] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  #: what could not be read; the rest is valid
    unclear: set[str] = field(default_factory=set)  #: names of tasks that may be missing because of a problem
    hidden: list[str] = field(default_factory=list)  #: folders that could not be read; their tasks may be missing too
    is_bare: bool = False  #: nothing was found at all, for example because a disk is not mounted
    is_whole: bool = True  #: whether the result is complete
    notes: list[str] = field(default_factory=list)  #: remarks for the user
    outages: list[str] = field(default_factory=list)  #: what did not answer; the rest is valid
    kind: str = ""  #: the kind of tasks that the result covers; empty: all
    decisions: list[Decision] = field(default_factory=list)  #: of a source that decides about each device

    def removal_reasons(self) -> dict[str, str]:
        """Return the reasons of the tasks that the source wants removed, by name."""
        return {each.task: each.why for each in self.decisions if each.decision == "remove"}
