"""Automatic scheduling: schedule the tasks that the sources request, and the search itself."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace

from scflows.cron.schedule.spec import ScheduleSpec
from scflows.cron.task import Task, no_such_task, task_name
from scflows.errors import Refused, Unreachable
from scflows.planner.plan import FOREIGN, KEEP, PAUSED, REMOVE, Change, Plan
from scflows.planner.planner import Planner
from scflows.planner.sources.base import SourceResult, TaskRequest
from scflows.planner.sources.registry import find_source, sources
from scflows.storage import is_below

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scflows.settings import Settings

#: The name of the task that repeats the search, and its source.
NAME = "auto-schedule"
DAY = 86400
HOUR = 3600
#: If a search misses this many tasks, and more than a third of all, they are not removed.
MANY = 10


@dataclass(frozen=True)
class Search:
    """The options of a search."""

    sources: tuple[str, ...] = ()  #: empty: all that are set up
    kind: str = "process"  #: the kind of tasks to create
    interval_days: int = 1  #: how often the search is repeated
    once: bool = False  #: whether the search is not repeated
    task_interval_hours: int | None = None  #: takes precedence over the schedules of the flows
    overwrite: bool = False
    only: tuple[str, ...] = ()  #: with `overwrite`: the tasks to replace, and to leave all others as they are
    dry_tasks: bool = False  #: the tasks publish nothing
    balance: bool = True

    @property
    def name(self) -> str:
        """The name of the task that repeats the search: one for each kind."""
        return NAME if self.kind == "process" else f"{NAME}-{self.kind}"

    def command(self) -> tuple[str, ...]:
        """Return the command line that repeats the search."""
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
class SearchResult:
    """The results of the sources."""

    results: dict[str, SourceResult] = field(default_factory=dict)
    failed: list[tuple[str, Unreachable | Refused]] = field(default_factory=list)  #: sources that did not answer


def ask_sources(
    settings: Settings,
    search: Search,
    keep: bool,
    report: Callable[[str, int, int], None] = lambda text, done, count: None,
) -> SearchResult:
    """Ask every source which tasks to schedule.

    This may take minutes, so nothing is locked meanwhile. `keep` allows sources to write their caches. `report` is
    called with the current action, how much of it is done, and the total (0: unknown).
    Raises UsageError, and Unreachable or Refused if no source answers.
    """
    search_result = SearchResult()
    for name in search.sources or sources(settings, search.kind):
        try:
            search_result.results[name] = find_source(name, search.kind, report).requests(settings, keep)
        except (Unreachable, Refused) as error:
            search_result.failed.append((name, error))
    failed = search_result.failed
    if failed and not search_result.results:
        helps = ["nothing was changed", *(error.help for _, error in failed if error.help)]
        kind = type(failed[0][1]) if len(failed) == 1 else Unreachable
        raise kind("; ".join(f"{name}: {error}" for name, error in failed), "; ".join(helps))
    return search_result


def auto_schedule(planner: Planner, search: Search, search_result: SearchResult) -> Plan:
    """Return a plan that adds the tasks that the sources request, and removes those no longer requested.

    Only tasks of this workspace and of sources that answered are removed.
    """
    requests: list[TaskRequest] = []
    results = search_result.results
    for each in results.values():
        for request in each.requests:
            if request.name == search.name:
                # The name is reserved for the search, even if that is only scheduled later.
                message = f"{request.flow}: the task name {request.name!r} is reserved for the search; rename the file"
                each.problems.append(message)
                each.unclear.add(request.name)
            else:
                requests.append(_as_searched(request, search))
    if search.only:
        return _replaced_only(planner, search, search_result, requests)
    gone = list(_gone(planner, results, search.overwrite))
    for name, result in results.items():
        if result.is_bare and result.kind and any(change.task.source == name for change in gone):
            message = f"{name}: the search found no devices"
            raise Unreachable(message, "nothing was changed; to remove its tasks: flows remove-task")
        if result.is_bare and any(change.task.source == name for change in gone):
            message = f"{name}: {planner.settings.flows_path} is empty"
            raise Unreachable(message, "is it mounted? nothing was changed; to remove all tasks: flows clear-tasks")
    if not search.once:
        requests.append(_search_again(planner, search))
    plan = planner.plan_requests(requests, search.overwrite, search.balance)
    plan.unreachable = [f"{name}: {error}" for name, error in search_result.failed]
    for each in results.values():
        plan.unreachable.extend(each.outages)
        plan.problems.extend(each.problems)
        plan.notes.extend(each.notes)
        plan.decisions.extend(each.decisions)
    return planner.repair_lines(planner.add_removals(plan, gone) if gone else plan)


def _replaced_only(planner: Planner, search: Search, found: SearchResult, requests: list[TaskRequest]) -> Plan:
    """Return a plan that replaces the named tasks only. Raises NotFound for one that no source requests."""
    if search.name in search.only:
        requests = [*requests, _search_again(planner, search)]
    wanted = [request for request in requests if request.name in search.only]
    for name in search.only:
        if all(request.name != name for request in wanted):
            raise no_such_task(name, (request.name for request in requests))
    plan = planner.plan_requests(wanted, search.overwrite, search.balance)
    plan.unreachable = [f"{name}: {error}" for name, error in found.failed]
    return plan


def refused_names(plan: Plan) -> list[str]:
    """Return the requested names that belong to another source or workspace."""
    return [change.task.name for change in plan.of(KEEP) if change.protection == FOREIGN]


def _as_searched(request: TaskRequest, search: Search) -> TaskRequest:
    if search.task_interval_hours is not None:
        request = replace(request, spec=replace(request.spec, cron=None, every=search.task_interval_hours * HOUR))
    return replace(request, dry=request.dry or search.dry_tasks)


def _search_again(planner: Planner, search: Search) -> TaskRequest:
    other = planner.before.get(search.name)
    is_own = other is None or (other.source, other.workspace) == (NAME, planner.settings.home)
    folder = os.path.basename(planner.settings.home)
    name = search.name if is_own else task_name(f"/{search.name}-{folder}", "/")
    spec = ScheduleSpec(every=search.interval_days * DAY)
    return TaskRequest(name, spec, command=search.command(), source=NAME)


def _gone(planner: Planner, results: dict[str, SourceResult], is_forced: bool) -> list[Change]:
    removed = []
    now = time.time()
    missed = _missed(planner, results) if not is_forced else set()
    requested = {name: {request.name for request in result.requests} for name, result in results.items()}
    reasons = {name: result.removal_reasons() for name, result in results.items()}
    for task in planner.before.values():
        result = results.get(task.source)
        if result is None or task.workspace != planner.settings.home or task.name in result.unclear:
            continue
        if task.name in requested[task.source] or _is_hidden(task, result.hidden, planner):
            continue
        if result.kind and task.kind != result.kind:
            continue
        reason = reasons[task.source].get(task.name)
        if reason is None and (not result.is_whole or task.name in missed):
            continue
        if reason is None and result.kind:
            reason = f"the search for {result.kind} no longer finds it"
        reason = reason or "its flow was removed or no longer has a schedule"
        if not task.is_paused(now):
            removed.append(Change(REMOVE, task, reason))
        else:
            # Keep the task, so that it is still paused if its flow comes back.
            why = f"paused; {reason}; remove it with: flows remove-task {task.name}"
            removed.append(Change(KEEP, task, why, protection=PAUSED))
    return removed


def _missed(planner: Planner, results: dict[str, SourceResult]) -> set[str]:
    """Return the tasks of searches that miss suspiciously many tasks, and add a problem to their results."""
    missed: set[str] = set()
    for name, result in results.items():
        if not result.kind or not result.is_whole or result.is_bare:
            continue
        known = {each.task for each in result.decisions}
        own = [
            task.name
            for task in planner.before.values()
            if (task.source, task.kind, task.workspace) == (name, result.kind, planner.settings.home)
        ]
        lost = {task for task in own if task not in known and task not in result.unclear}
        if len(lost) >= MANY and 3 * len(lost) > len(own):
            missed |= lost
            result.problems.append(
                f"{name}: the search no longer finds the devices of {len(lost)} of {len(own)} tasks, which are kept;"
                " to remove them: flows auto-schedule --overwrite"
            )
    return missed


def _is_hidden(task: Task, folders: list[str], planner: Planner) -> bool:
    if not folders:
        return False
    # A flow outside the flows folder was reached by a link, which may be in any of the folders.
    return is_below(task.flow, folders) or not is_below(task.flow, [planner.settings.flows_path])
