"""Rebalancing: pure functions that even out a load by moving as few tasks as possible.

The goal is the peak of a plan from scratch. Tasks move one by one, first those that run longest during peaks, each to
where a new task would be placed. If that does not suffice, which happens with few concurrent runs, many tasks are
removed together and placed again, the longest first.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from scflows.cron.schedule.describe import WEEKDAYS, duration
from scflows.cron.schedule.fields import values
from scflows.cron.schedule.schedule import DAY, WEEK, Schedule
from scflows.cron.schedule.spec import ScheduleSpec
from scflows.planner.load.load import RUN, Load, Rhythm, load_of, rhythm
from scflows.planner.load.placement import at_full_hours, place

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scflows.planner.load.load import Numbers
    from scflows.planner.load.other_crontabs import BusyMinutes


#: A plan is as good as one from scratch if its peak is at most this share higher.
SLACK = 0.05
#: If the peak is higher by more than this share, tasks are moved together.
MAX_EXCESS = 0.1
#: Up to this many tasks are moved together. With more, peaks are higher and single moves suffice.
MAX_TOGETHER = 10_000
#: The share of the moves that lower the peaks; the others move the shortest runs into the gaps.
LOWERING = 0.9
#: How many goals are tried.
TRIES = 6
#: How many rounds of moves are made, each based on the previous one.
ROUNDS = 4
#: Moves must lower the peak by at least one run. The share of moved tasks may be at most this many times the share by
#: which the peak is lowered: for example half of the tasks for a third of the peak.
MAX_COST = 1.5


@dataclass(frozen=True)
class PlannedTask:
    """A task whose load is planned."""

    name: str
    schedule: Schedule
    seconds: float  #: the expected duration of a run

    @property
    def may_move(self) -> bool:
        """Whether the planner chooses its slots: it is an interval that was not put at full hours on purpose."""
        schedule = self.schedule
        if schedule.every is None or schedule.every < 60:
            return False
        return schedule != at_full_hours(schedule.every, schedule.timezone)


@dataclass
class Rebalanced:
    """The effect of the moves. Peaks and the mean are numbers of concurrent runs."""

    before: float  #: the current peak
    mean: float
    fresh: float  #: the peak of a plan from scratch
    after: float = 0.0
    moved: dict[str, Schedule] = field(default_factory=dict)


def rebalance(tasks: Iterable[PlannedTask], max_moves: int, busy_minutes: BusyMinutes | None = None) -> Rebalanced:
    """Choose at most `max_moves` tasks to move, and where, so that the load is nearly as even as a new plan's.

    A load that already is about as even is not changed, so that a repetition moves nothing.
    """
    planned = sorted(tasks, key=lambda task: task.name)
    load = load_of(((task.schedule, task.seconds) for task in planned), busy_minutes)
    highest = int(load.runs.max())
    scratch = int(load_from_scratch(planned, busy_minutes).runs.max())
    result = Rebalanced(highest / RUN, load.mean, min(scratch, highest) / RUN, highest / RUN)
    movable = {task.name: task for task in planned if task.may_move}
    peak = highest
    for _ in range(ROUNDS):
        if peak <= scratch * (1 + SLACK):
            break
        # Moving a task again is free.
        free = frozenset(name for name in movable if name in result.moved)
        lower, moves = _lowest_peak(load, list(movable.values()), scratch, max_moves, free)
        share = (peak - lower) / peak
        if peak - lower < RUN or len(moves.keys() - free) > len(movable) * share * MAX_COST:
            break
        peak = lower
        for name, schedule in moves.items():
            load.count(movable[name].schedule, movable[name].seconds, -1)
            load.count(schedule, movable[name].seconds)
            movable[name] = replace(movable[name], schedule=schedule)
            result.moved[name] = schedule
    result.moved = {task.name: movable[task.name].schedule for task in planned if movable.get(task.name, task) != task}
    result.after = peak / RUN
    return result


def _lowest_peak(
    load: Load, movable: Sequence[PlannedTask], scratch: int, max_moves: int, free: frozenset[str]
) -> tuple[int, dict[str, Schedule]]:
    """Return the lowest peak that was found, and the moves that lead to it; tasks in `free` have already moved."""
    highest = int(load.runs.max())
    goal = max(scratch, int(scratch * (1 + SLACK)) // RUN * RUN)
    low, high = goal, highest
    best: dict[str, Schedule] = {}
    for _ in range(TRIES):
        if low >= high:
            break
        changed = load.copy()
        moves, is_limited = _move_singly(changed, movable, goal, max_moves, free)
        peak = int(changed.runs.max())
        if peak < high:
            high, best = peak, moves
        if not is_limited:
            break
        # The moves do not suffice for this goal; with a goal that they can reach, they lower the peak more.
        low, goal = goal, (goal + high + RUN) // 2
        if high - low < RUN:
            break
    if high > scratch * (1 + MAX_EXCESS) and len(movable) <= MAX_TOGETHER:
        changed = load.copy()
        moves = _move_together(changed, movable, scratch, max_moves, free)
        peak = int(changed.runs.max())
        if peak < high:
            high, best = peak, moves
    return high, best


def load_from_scratch(tasks: Iterable[PlannedTask], busy_minutes: BusyMinutes | None = None) -> Load:
    """Return the load of a plan from scratch in which only tasks that may move are placed again."""
    planned = list(tasks)
    load = load_of(((task.schedule, task.seconds) for task in planned if not task.may_move), busy_minutes)
    for task in sorted(planned, key=lambda task: (task.schedule.every or 0, -task.seconds, task.name)):
        if task.may_move:
            place(ScheduleSpec(every=task.schedule.every), load, task.name, seconds=task.seconds)
    return load


def _move_singly(
    load: Load, movable: Sequence[PlannedTask], goal: int, max_moves: int, free: frozenset[str]
) -> tuple[dict[str, Schedule], bool]:
    """Move tasks until the peak is at most a goal; return the moves, and whether their limit stopped it."""
    at = [rhythm(task.schedule, task.seconds) for task in movable]
    all_gains = Gains(at)
    moves: dict[str, Schedule] = {}
    tried: set[int] = set()
    remaining = max_moves - len(free)
    while int(load.runs.max()) > goal:
        gains = all_gains.of(load, goal).tolist()
        todo = [number for number in range(len(movable)) if gains[number] > 0 and number not in tried]
        if not todo:
            break
        todo.sort(key=lambda number: (-gains[number], movable[number].name))
        least = gains[todo[0]] / 2
        for number in todo:
            task = movable[number]
            if gains[number] < least:
                break
            gain = _gain(load, at[number], goal)
            if gain < least:
                continue
            if remaining <= 0 and task.name not in free:
                return moves, True
            tried.add(number)
            load.count(task.schedule, task.seconds, -1)
            schedule = place(ScheduleSpec(every=task.schedule.every), load, task.name, seconds=task.seconds)
            there = rhythm(schedule, task.seconds)
            if _gain(load, there, goal) >= gain:
                load.count(schedule, task.seconds, -1)
                load.count(task.schedule, task.seconds)
                continue
            moves[task.name], at[number] = schedule, there
            all_gains.put(number, there)
            remaining -= task.name not in free
    return moves, False


def _move_together(
    load: Load, movable: Sequence[PlannedTask], goal: int, max_moves: int, free: frozenset[str]
) -> dict[str, Schedule]:
    """Remove tasks from the load until the peak is at most a goal, and place them again, the longest first."""
    import numpy

    removed = [task for task in movable if task.name in free]
    for task in removed:
        load.count(task.schedule, task.seconds, -1)
    others = sorted((task for task in movable if task.name not in free), key=lambda task: (task.seconds, task.name))
    at = [rhythm(task.schedule, task.seconds) for task in others]
    all_gains = Gains(at)
    # The share of a run that is part of a peak: removing a run that is mostly part of one leaves no gap to be filled.
    weights = numpy.array([each.period / (len(each.starts) * each.length) for each in at])
    stays = numpy.ones(len(others), bool)
    while stays.any() and len(removed) < int(max_moves * LOWERING) and int(load.runs.max()) > goal:
        gains = all_gains.of(load, goal) * stays
        worst = int(numpy.lexsort((-gains, -gains * weights))[0])
        if not gains[worst]:
            break
        stays[worst] = False
        removed.append(others[worst])
        load.count(others[worst].schedule, others[worst].seconds, -1)
    shortest = [task for task, is_kept in zip(others, stays, strict=True) if is_kept]
    for task in shortest[: max(0, max_moves - len(removed))]:
        removed.append(task)
        load.count(task.schedule, task.seconds, -1)
    moves = {}
    for task in sorted(removed, key=lambda task: (task.schedule.every or 0, -task.seconds, task.name)):
        schedule = place(ScheduleSpec(every=task.schedule.every), load, task.name, seconds=task.seconds)
        if schedule != task.schedule:
            moves[task.name] = schedule
    return moves


def _gain(load: Load, at: Rhythm, goal: int) -> int:
    runs = load.runs.reshape(-1, at.period)
    gain = 0
    for start in at.starts:
        end = start + at.length
        gain += int((runs[:, start:end] > goal).sum())
        if end > at.period:
            gain += int((runs[:, : end - at.period] > goal).sum())
    return gain


class Gains:
    """The gains of moving each of many tasks, by the number of the task; as fast for thousands as for a few."""

    def __init__(self, rhythms: Sequence[Rhythm]) -> None:
        import numpy

        self._rhythms = list(rhythms)
        self._of_period: dict[int, tuple[Numbers, Numbers, Numbers]] = {}  #: tasks, first bins, bins after the last one
        self._slices: list[slice] = []  #: the part of these arrays that belongs to a task
        rows: dict[int, list[tuple[int, int, int]]] = {}
        for number, (period, starts, length, _) in enumerate(self._rhythms):
            row = rows.setdefault(period, [])
            self._slices.append(slice(len(row), len(row) + len(starts)))
            row += [(number, start, start + length) for start in starts]
        for period, row in rows.items():
            tasks, first, after = numpy.array(row, numpy.int64).T.copy()
            self._of_period[period] = tasks, first, after

    def put(self, number: int, rhythm: Rhythm) -> None:
        """Change the starts of a task; their number and the period stay the same."""
        self._rhythms[number] = rhythm
        _, first, after = self._of_period[rhythm.period]
        first[self._slices[number]] = rhythm.starts
        after[self._slices[number]] = [start + rhythm.length for start in rhythm.starts]

    def of(self, load: Load, goal: int) -> Numbers:
        """Return for each task in how many bins it is running while more than `goal` runs are."""
        import numpy

        over = load.runs > goal
        found = numpy.zeros(len(self._rhythms), numpy.int64)
        for period, (tasks, first, after) in self._of_period.items():
            folded = over.reshape(-1, period).sum(axis=0)
            ahead = numpy.cumsum(numpy.concatenate(([0], folded, folded)))
            numpy.add.at(found, tasks, ahead[after] - ahead[first])
        return found


def describe_move(old: Schedule, new: Schedule, now: float) -> str:
    """Describe how the start of an interval changes; `now` is in seconds since the epoch."""
    every = new.every or 0
    if new.is_counted or new.every_days:
        how = "next at"
    elif every >= WEEK:
        how = "on"
    else:
        how = "at" if every == DAY else "first at"
    return f"every {duration(every)}, {how} {_start(old, now)} → {_start(new, now)}"


def _start(schedule: Schedule, now: float) -> str:
    """Return the first start of an interval in its day or week, otherwise the next one, in the system's zone."""
    if schedule.is_counted or schedule.every_days:
        slot = schedule.next_epoch(now - schedule.second) or 0
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(slot + schedule.second))
    minute, hour, _, _, weekday = schedule.cron.split(" ")
    at = f"{values(hour, 1)[0]:02}:{values(minute, 0)[0]:02}:{schedule.second:02}"
    return at if weekday == "*" else f"{WEEKDAYS[values(weekday, 4)[0]]} {at}"
