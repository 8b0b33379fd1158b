"""Schedule what the sources ask for, and the search itself."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from scflows.cron.asked import Asked
from scflows.cron.task import task_name
from scflows.errors import Unreachable
from scflows.planner import KEEP, REMOVE, Change, Plan, Planner
from scflows.source import Found, Wish, find_source, sources

TYPE_CHECKING = False
if TYPE_CHECKING:
    pass

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
        wishes.extend(_as_searched(wish, search) for wish in found[name].wishes)
    if not search.once:
        wishes.append(_search_again(planner, search))
    plan = planner.wish(wishes, search.overwrite, search.balance)
    plan.unreachable = unreachable
    for each in found.values():
        plan.problems.extend(each.problems)
    gone = list(_gone(planner, found))
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
    own = other is None or other.workspace == planner.settings.home
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
        if all(wish.name != task.name for wish in answer.wishes):
            removed.append(Change(REMOVE, task, "its flow is gone, or asks for no schedule any more"))
    return removed
