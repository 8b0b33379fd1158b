"""Schedule what the sources ask for, and the search itself."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from scflows.cron.asked import Asked
from scflows.cron.task import task_name
from scflows.errors import Unreachable
from scflows.planner import KEEP, REMOVE, Change, Plan, Planner
from scflows.safefile import is_below
from scflows.source import Found, Wish, find_source, sources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.cron.task import Task

#: The name of the task that searches again, and its source: nobody else's searches touch it.
NAME = "auto-schedule"
DAY = 86400
HOUR = 3600


@dataclass(frozen=True)
class Search:
    """How to search and what to make of it."""

    sources: tuple[str, ...] = ()  #: none named: all that there are
    interval_days: int = 1  #: how often to search again
    once: bool = False  #: do not search again
    task_interval_hours: int | None = None  #: over what each flow asks for
    overwrite: bool = False
    dry_tasks: bool = False  #: the tasks publish nothing
    balance: bool = True

    def command(self) -> tuple[str, ...]:
        """The command line that does the same search again."""
        words = [NAME]
        for name in self.sources:
            words += ["--source", name]
        words += ["--interval-days", str(self.interval_days)]
        if self.task_interval_hours is not None:
            words += ["--task-interval-hours", str(self.task_interval_hours)]
        if self.dry_tasks:
            words.append("--dry-tasks")
        if not self.balance:
            words.append("--no-balance")
        return tuple(words)


def auto_schedule(planner: Planner, search: Search) -> Plan:
    """A plan that adds what the sources ask for and removes what they ask for no more.

    Only tasks of this workspace and of a source that answered are removed.
    """
    wishes: list[Wish] = []
    found: dict[str, Found] = {}
    unreachable = []
    for name in search.sources or sources():
        try:
            found[name] = find_source(name).wishes(planner.settings, keep=not planner.dry_run)
        except Unreachable as error:
            unreachable.append(f"{name}: {error}")
            continue
        for wish in found[name].wishes:
            if wish.name == NAME:
                # The search has this name, also where it is only put on the crontab later.
                found[name].problems.append(f"{wish.flow}: its task {NAME!r} is that of the search; rename the file")
                found[name].unclear.add(NAME)
            else:
                wishes.append(_as_searched(wish, search))
    if unreachable and not found:
        raise Unreachable("; ".join(unreachable), "nothing was changed; make a workspace with: flows init DIR")
    gone = list(_gone(planner, found))
    for name, answer in found.items():
        if answer.is_bare and any(change.task.source == name for change in gone):
            told = f"{name}: {planner.settings.flows_path} is empty"
            help = "is it mounted? nothing was changed; if all flows are meant to be gone: flows clear-tasks"
            raise Unreachable(told, help)
    if not search.once:
        wishes.append(_search_again(planner, search))
    plan = planner.wish(wishes, search.overwrite, search.balance)
    plan.unreachable = unreachable
    for each in found.values():
        plan.problems.extend(each.problems)
    return planner.drop(plan, gone) if gone else plan


def refused_names(plan: Plan) -> list[str]:
    """The names that a wish could not have, since another source or workspace has them."""
    return [change.task.name for change in plan.of(KEEP) if change.why.startswith("belongs to")]


def _as_searched(wish: Wish, search: Search) -> Wish:
    if search.task_interval_hours is not None:
        wish = replace(wish, asked=replace(wish.asked, cron=None, every=search.task_interval_hours * HOUR))
    return replace(wish, dry=wish.dry or search.dry_tasks)


def _search_again(planner: Planner, search: Search) -> Wish:
    other = planner.before.get(NAME)
    own = other is None or (other.source, other.workspace) == (NAME, planner.settings.home)
    folder = os.path.basename(planner.settings.home)
    name = NAME if own else task_name(f"/{NAME}-{folder}", "/")
    asked = Asked(every=search.interval_days * DAY)
    return Wish(name, asked, command=search.command(), source=NAME)


def _gone(planner: Planner, found: dict[str, Found]) -> list[Change]:
    removed = []
    for task in planner.before.values():
        answer = found.get(task.source)
        if answer is None or task.workspace != planner.settings.home or task.name in answer.unclear:
            continue
        if any(wish.name == task.name for wish in answer.wishes) or _is_hidden(task, answer.hidden, planner):
            continue
        why = "its flow is gone, or asks for no schedule any more"
        if task.enabled:
            removed.append(Change(REMOVE, task, why))
        else:
            # Somebody's pause must outlive a flow that comes back.
            removed.append(Change(KEEP, task, f"paused; {why}; take it off with: flows remove-task {task.name}"))
    return removed


def _is_hidden(task: Task, folders: list[str], planner: Planner) -> bool:
    if not folders:
        return False
    # What lies outside came by a link, which may stand in any of the folders.
    return is_below(task.flow, folders) or not is_below(task.flow, [planner.settings.flows_path])
