"""A plan: everything that a command would change on the crontab, complete before anything is written."""

from __future__ import annotations

from dataclasses import dataclass, field

from scflows.cron.crontab.tabfile import Tabfile
from scflows.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.cron.lazy_tasks import TaskChanges
    from scflows.cron.task import Task
    from scflows.planner.load.load import Load
    from scflows.planner.sources.base import Decision
    from scflows.settings import Settings

ADD, REPLACE, REMOVE, KEEP = "add", "replace", "remove", "keep"
#: What protects a task that is kept although a source wants something else: its owner, a user's order, or a pause.
FOREIGN, BY_HAND, PAUSED = "foreign", "by_hand", "paused"


@dataclass(frozen=True)
class Change:
    """The change of one task, and the reason."""

    action: str  #: `add`, `replace`, `remove` or `keep`
    task: Task  #: the task afterwards; for `remove` before
    why: str = ""
    rewrite: bool = False  #: whether its line is rewritten even if the task stays the same
    protection: str = ""  #: for `keep`: FOREIGN, BY_HAND or PAUSED, if that is the reason
    verb: str = ""  #: what is done in the user's words, for example `pause`; empty: `action`

    @property
    def word(self) -> str:
        return self.verb or self.action


@dataclass
class Plan:
    """The crontab as it would be, compared with the current one."""

    tasks: TaskChanges  #: all of the user's tasks afterwards, including paused ones
    changes: list[Change] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  #: what could not be read and is therefore not changed
    unreachable: list[str] = field(default_factory=list)  #: sources that did not answer
    diff: list[str] = field(default_factory=list)  #: of our block, as lines of a unified diff
    tabfile: Tabfile = field(default_factory=Tabfile)  #: our block afterwards
    rewritten: set[str] = field(default_factory=set)  #: the tasks whose lines are rewritten
    peak_before: float = 0.0  #: the highest number of concurrent runs that is expected
    peak_after: float = 0.0
    load_after: Load | None = None
    unlimited: list[str] = field(default_factory=list)  #: new tasks for which only the default time limit applies
    decisions: list[Decision] = field(default_factory=list)  #: what sources decided about each device they found
    notes: list[str] = field(default_factory=list)  #: remarks from writing the plan

    def of(self, action: str) -> list[Change]:
        return [change for change in self.changes if change.action == action]

    def note_boot_tasks(self) -> None:
        """Note that boot tasks of this plan cannot start if the cron does not support `@reboot`."""
        boots = [each.task for each in self.changes if each.action != REMOVE and each.task.schedule.is_boot]
        names = [task.name for task in boots if task.enabled]
        if names and self.tabfile.boot is None:
            note = f"{names[0]}: this cron does not support @reboot, so the task only starts with: flows cron run"
            if note not in self.notes:
                self.notes.append(note)

    @property
    def is_empty(self) -> bool:
        return all(change.action == KEEP for change in self.changes) and not self.diff


def lacking_variables(foreign: bytes, settings: Settings) -> list[str]:
    """Return a note if the user's crontab lines have variables that programs of tasks do not get."""
    if b"=" not in foreign:
        return []
    from scflows.config import read_config
    from scflows.cron.crontab.variables import lacking_help, lacking_text, variables_of_jobs

    try:
        lacking = variables_of_jobs(foreign, read_config(settings).env)
    except UsageError:
        return []  # The command reports it.
    return [f"{lacking_text(lacking)}; {lacking_help(settings.config_file)}"] if lacking else []


def log_plan(settings: Settings, plan: Plan) -> None:
    """Write the changes to the scheduler's log, and ignore a log that cannot be written."""
    from scflows.history.task_log import TaskLog, scheduler_log

    log = TaskLog(scheduler_log(settings.tasks_path), settings.log_level, zone=settings.timezone)
    for change in plan.changes:
        if change.action != KEEP:
            log.info(f"{change.word} {change.task.name}" + (f": {change.why}" if change.why else ""))
    for problem in plan.problems:
        log.warning(problem)
    log.close()
