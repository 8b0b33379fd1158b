"""What a command would change on the crontab: made whole before anything is written."""

from __future__ import annotations

from dataclasses import dataclass, field

from scflows.cron.crontab.tabfile import Tabfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.cron.lazy_tasks import TaskChanges
    from scflows.cron.task import Task
    from scflows.planner.load.load import Load
    from scflows.planner.sources.base import Decision
    from scflows.settings import Settings

ADD, REPLACE, REMOVE, KEEP = "add", "replace", "remove", "keep"


@dataclass(frozen=True)
class Change:
    """What happens to one task, and why."""

    action: str  #: `add`, `replace`, `remove` or `keep`
    task: Task  #: as it is afterwards; for `remove` as it was
    why: str = ""
    fresh: bool = False  #: its line is written anew even where the task stays the same


@dataclass
class Plan:
    """What would be on the crontab, against what is."""

    tasks: TaskChanges  #: all of the user's tasks afterwards, the paused ones too
    changes: list[Change] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  #: what could not be read; nothing of it is changed
    unreachable: list[str] = field(default_factory=list)  #: sources that did not answer
    diff: list[str] = field(default_factory=list)  #: of our block, as unified diff lines
    tabfile: Tabfile = field(default_factory=Tabfile)  #: our block afterwards
    rewritten: set[str] = field(default_factory=set)  #: the tasks whose lines are written anew
    peak_before: float = 0.0  #: the most runs at once that are expected
    peak_after: float = 0.0
    load_after: Load | None = None
    decisions: list[Decision] = field(default_factory=list)  #: what sources made of each thing they found
    notes: list[str] = field(default_factory=list)  #: what was noticed while it was written

    def of(self, action: str) -> list[Change]:
        return [change for change in self.changes if change.action == action]

    @property
    def is_empty(self) -> bool:
        return all(change.action == KEEP for change in self.changes) and not self.diff


def note_in_log(settings: Settings, plan: Plan) -> None:
    """Write what was scheduled into the scheduler's log; a log that cannot be written stops nothing."""
    from scflows.history.task_log import TaskLog, scheduler_log

    log = TaskLog(scheduler_log(settings.tasks_path), settings.log_level)
    for change in plan.changes:
        if change.action != KEEP:
            log.info(f"{change.action} {change.task.name}: {change.why}")
    for problem in plan.problems:
        log.warning(problem)
    log.close()
