"""Where tasks come from: each source says which tasks there should be."""

from __future__ import annotations

from dataclasses import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from scflows.cron.schedule.spec import ScheduleSpec
    from scflows.settings import Settings

    class Source(Protocol):
        def wishes(self, settings: Settings, keep: bool) -> Found:
            """Which tasks there should be. Raises Unreachable when it cannot be asked.

            `keep` allows it to write what it learned into the caches.
            """


@dataclass(frozen=True)
class TaskRequest:
    """A task that somebody wants."""

    name: str
    asked: ScheduleSpec
    flow: str = ""  #: absolute; empty for a command
    command: tuple[str, ...] = ()
    params: dict[str, Any] = field(default_factory=dict)
    source: str = "manual"
    kind: str = ""
    timeout: float | None = None  #: seconds
    dry: bool = False
    priority: int = 0
    mutex: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decision:
    """What a source makes of one thing that could have a task. Times are epochs."""

    device: int
    task: str  #: the name of the task that it has, or would have
    decision: str  #: `schedule`; `leave`: no task, but one that is there stays; `remove`: no task
    why: str
    name: str = ""
    last_reading_at: float | None = None
    latest_postprocessing: float | None = None


@dataclass
class Found:
    """What a source answers."""

    wishes: list[TaskRequest] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  #: what could not be read; the rest stands
    unclear: set[str] = field(default_factory=set)  #: names of tasks that a problem may have hidden
    hidden: list[str] = field(default_factory=list)  #: folders that could not be read; their tasks are unclear too
    is_bare: bool = False  #: there was nothing at all to look through, as where a disk is not mounted
    is_whole: bool = True  #: else what it does not name may be there all the same
    notes: list[str] = field(default_factory=list)  #: what is worth knowing
    outages: list[str] = field(default_factory=list)  #: what did not answer; the rest stands
    kind: str = ""  #: it answers for its tasks of that kind alone
    decisions: list[Decision] = field(default_factory=list)  #: of a source that decides one by one

    def whys(self) -> dict[str, str]:
        """Why there shall be no task of a name, where the source says so."""
        return {each.task: each.why for each in self.decisions if each.decision == "remove"}
