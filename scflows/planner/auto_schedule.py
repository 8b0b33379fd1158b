"""Schedule what the sources ask for, and the search itself."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace

from scflows.cron.schedule.spec import ScheduleSpec
from scflows.cron.task import task_name
from scflows.errors import Refused, Unreachable
from scflows.planner.plan import KEEP, REMOVE, Change, Plan
from scflows.planner.planner import Planner
from scflows.planner.sources.base import Found, TaskRequest
from scflows.planner.sources.registry import find_source, sources
from scflows.storage import is_below

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scflows.cron.task import Task
    from scflows.settings import Settings

#: The name of the task that searches again, and its source: nobody else's searches touch it.
NAME = "auto-schedule"
DAY = 86400
HOUR = 3600
#: So many tasks, and more than a third of all, are not removed at once because a search does not find them.
MANY = 10


@dataclass(frozen=True)
class Search:
    """How to search and what to make of it."""

    sources: tuple[str, ...] = ()  #: none named: all that are set up
    kind: str = "process"  #: what kind of tasks to make
    interval_days: int = 1  #: how often to search again
    once: bool = False  #: do not search again
    task_interval_hours: int | None = None  #: over what each flow asks for
    overwrite: bool = False
    dry_tasks: bool = False  #: the tasks publish nothing
    balance: bool = True

    @property
    def name(self) -> str:
        """The name of the task that searches again: one for each kind."""
        return NAME if self.kind == "process" else f"{NAME}-{self.kind}"

    def command(self) -> tuple[str, ...]:
        """The command line that does the same search again."""
        words = [NAME]
        for name in self.sources:
            words += ["--source", name]
        if self.kind != "process":
            words += ["--kind", self.kind]
        words += ["--interval-days", str(self.interval_days)]
        if self.task_interval_hours is not None:
            words += ["--task-interval-hours", str(self.task_interval_hours)]
        if self.dry_tasks:
            words.append("--dry-tasks")
        if not self.balance:
            words.append("--no-balance")
        return tuple(words)


@dataclass
class Answers:
    """What the sources said."""

    found: dict[str, Found] = field(default_factory=dict)
    away: list[tuple[str, Unreachable | Refused]] = field(default_factory=list)  #: those that did not answer


def ask_sources(
    settings: Settings,
    search: Search,
    keep: bool,
    tell: Callable[[str, int, int], None] = lambda text, done, count: None,
) -> Answers:
    """Ask every source which tasks there should be. `keep` allows to note what was learned, `tell` hears what a
    search does, how much of it is done, and of how much (0: nobody knows).

    It may take minutes, so nothing is locked meanwhile. Raises Unreachable or Refused when no source answers,
    UsageError.
    """
    answers = Answers()
    for name in search.sources or sources(settings, search.kind):
        try:
            answers.found[name] = find_source(name, search.kind, tell).wishes(settings, keep)
        except (Unreachable, Refused) as error:
            answers.away.append((name, error))
    away = answers.away
    if away and not answers.found:
        helps = ["nothing was changed", *(error.help for _, error in away if error.help)]
        kind = type(away[0][1]) if len(away) == 1 else Unreachable
        raise kind("; ".join(f"{name}: {error}" for name, error in away), "; ".join(helps))
    return answers


def auto_schedule(planner: Planner, search: Search, answers: Answers) -> Plan:
    """A plan that adds what the sources ask for and removes what they ask for no more.

    Only tasks of this workspace and of a source that answered are removed.
    """
    wishes: list[TaskRequest] = []
    found = answers.found
    for each in found.values():
        for wish in each.wishes:
            if wish.name == search.name:
                # The search has this name, also where it is only put on the crontab later.
                told = f"{wish.flow}: its task {wish.name!r} is that of the search; rename the file"
                each.problems.append(told)
                each.unclear.add(wish.name)
            else:
                wishes.append(_as_searched(wish, search))
    gone = list(_gone(planner, found, search.overwrite))
    for name, answer in found.items():
        if answer.is_bare and answer.kind and any(change.task.source == name for change in gone):
            told = f"{name}: the search found no device at all"
            help = "nothing was changed; if all of its tasks are meant to be gone: flows remove-task"
            raise Unreachable(told, help)
        if answer.is_bare and any(change.task.source == name for change in gone):
            told = f"{name}: {planner.settings.flows_path} is empty"
            help = "is it mounted? nothing was changed; if all flows are meant to be gone: flows clear-tasks"
            raise Unreachable(told, help)
    if not search.once:
        wishes.append(_search_again(planner, search))
    plan = planner.wish(wishes, search.overwrite, search.balance)
    plan.unreachable = [f"{name}: {error}" for name, error in answers.away]
    for each in found.values():
        plan.unreachable.extend(each.outages)
        plan.problems.extend(each.problems)
        plan.notes.extend(each.notes)
        plan.decisions.extend(each.decisions)
    return planner.drop(plan, gone) if gone else plan


def refused_names(plan: Plan) -> list[str]:
    """The names that a wish could not have, since another source or workspace has them."""
    return [change.task.name for change in plan.of(KEEP) if change.why.startswith("belongs to")]


def _as_searched(wish: TaskRequest, search: Search) -> TaskRequest:
    if search.task_interval_hours is not None:
        wish = replace(wish, asked=replace(wish.asked, cron=None, every=search.task_interval_hours * HOUR))
    return replace(wish, dry=wish.dry or search.dry_tasks)


def _search_again(planner: Planner, search: Search) -> TaskRequest:
    other = planner.before.get(search.name)
    own = other is None or (other.source, other.workspace) == (NAME, planner.settings.home)
    folder = os.path.basename(planner.settings.home)
    name = search.name if own else task_name(f"/{search.name}-{folder}", "/")
    asked = ScheduleSpec(every=search.interval_days * DAY)
    return TaskRequest(name, asked, command=search.command(), source=NAME)


def _gone(planner: Planner, found: dict[str, Found], is_meant: bool) -> list[Change]:
    removed = []
    missed = _missed(planner, found) if not is_meant else set()
    wished = {name: {wish.name for wish in answer.wishes} for name, answer in found.items()}
    whys = {name: answer.whys() for name, answer in found.items()}
    for task in planner.before.values():
        answer = found.get(task.source)
        if answer is None or task.workspace != planner.settings.home or task.name in answer.unclear:
            continue
        if task.name in wished[task.source] or _is_hidden(task, answer.hidden, planner):
            continue
        if answer.kind and task.kind != answer.kind:
            continue
        why = whys[task.source].get(task.name)
        if why is None and (not answer.is_whole or task.name in missed):
            continue
        if why is None and answer.kind:
            why = f"the search for {answer.kind} does not find it any more"
        why = why or "its flow is gone, or asks for no schedule any more"
        if task.enabled:
            removed.append(Change(REMOVE, task, why))
        else:
            # Somebody's pause must outlive a flow that comes back.
            removed.append(Change(KEEP, task, f"paused; {why}; take it off with: flows remove-task {task.name}"))
    return removed


def _missed(planner: Planner, found: dict[str, Found]) -> set[str]:
    """Tasks of a search that is not believed, since so many of them at once are not found; each search is told so."""
    missed: set[str] = set()
    for name, answer in found.items():
        if not answer.kind or not answer.is_whole or answer.is_bare:
            continue
        known = {each.task for each in answer.decisions}
        own = [
            task.name
            for task in planner.before.values()
            if (task.source, task.kind, task.workspace) == (name, answer.kind, planner.settings.home)
        ]
        lost = {task for task in own if task not in known and task not in answer.unclear}
        if len(lost) >= MANY and 3 * len(lost) > len(own):
            missed |= lost
            answer.problems.append(
                f"{name}: the search does not find the devices of {len(lost)} of {len(own)} tasks any more: they stay;"
                " if they are meant to be gone: flows auto-schedule --overwrite"
            )
    return missed


def _is_hidden(task: Task, folders: list[str], planner: Planner) -> bool:
    if not folders:
        return False
    # What lies outside came by a link, which may stand in any of the folders.
    return is_below(task.flow, folders) or not is_below(task.flow, [planner.settings.flows_path])
