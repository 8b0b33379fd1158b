"""Level a load again by moving as few tasks as it takes: pure functions.

What a plan from scratch would reach is the measure. Tasks are moved one by one, those first whose runs go on the
longest while too many do, each to where a new task would be placed. Where that does not suffice, as happens when few
runs go on at once, many are taken off together and placed anew, the longest first.
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
from scflows.planner.load.placement import nominal, placed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scflows.planner.load.load import Numbers
    from scflows.planner.load.other_crontabs import BusyMinutes


#: A plan is as good as one from scratch if its peak is higher by this part at most.
SLACK = 0.05
#: Beyond this it is not as good, and more moves are tried.
MISSED = 0.1
#: So many tasks are taken off together at most: of more the peaks are higher, and moves one by one suffice.
FEW = 10_000
#: The part of the moves that lowers the peaks; the rest are the shortest runs, which fill what is left.
LOWERING = 0.9
#: How often a lower peak is tried that fewer moves might reach.
TRIES = 6
#: How often it is gone on from where the moves led.
ROUNDS = 4
#: Moves are worth it that lower the peak by a run, and move at most so many times as large a part of the tasks as they
#: lower it by: half of the tasks for a third of the peak.
WORTH = 1.5


@dataclass(frozen=True)
class Weighed:
    """A task on the plan."""

    name: str
    schedule: Schedule
    seconds: float  #: what a run is expected to take

    @property
    def may_move(self) -> bool:
        """Whether its slots are ours to choose: those of an interval that was not put at full hours on purpose."""
        schedule = self.schedule
        if schedule.every is None or schedule.every < 60:
            return False
        return schedule != nominal(schedule.every, schedule.timezone)


@dataclass
class Rebalanced:
    """What moves would bring. Peaks and means are of runs at once."""

    before: float  #: the peak as it is
    mean: float
    fresh: float  #: the peak of a plan from scratch
    after: float = 0.0
    moved: dict[str, Schedule] = field(default_factory=dict)


def rebalance(tasks: Iterable[Weighed], max_moves: int, avoided: BusyMinutes | None = None) -> Rebalanced:
    """Which tasks to move where, `max_moves` of them at most, so that the load is nearly as level as a new plan's.

    A load that is about as level already is left as it is, so that the same again moves nothing.
    """
    known = sorted(tasks, key=lambda task: task.name)
    load = load_of(((task.schedule, task.seconds) for task in known), avoided)
    highest = int(load.runs.max())
    scratch = int(fresh(known, avoided).runs.max())
    found = Rebalanced(highest / RUN, load.mean, min(scratch, highest) / RUN, highest / RUN)
    now = {task.name: task for task in known if task.may_move}
    peak = highest
    for _ in range(ROUNDS):
        if peak <= scratch * (1 + SLACK):
            break
        # A task that was moved costs nothing more when it is moved once again.
        spent = frozenset(name for name in now if name in found.moved)
        lower, moved = _lowered(load, list(now.values()), scratch, max_moves, spent)
        part = (peak - lower) / peak
        if peak - lower < RUN or len(moved.keys() - spent) > len(now) * part * WORTH:
            break
        peak = lower
        for name, schedule in moved.items():
            load.count(now[name].schedule, now[name].seconds, -1)
            load.count(schedule, now[name].seconds)
            now[name] = replace(now[name], schedule=schedule)
            found.moved[name] = schedule
    found.moved = {task.name: now[task.name].schedule for task in known if now.get(task.name, task) != task}
    found.after = peak / RUN
    return found


def _lowered(
    load: Load, movable: Sequence[Weighed], scratch: int, most: int, spent: frozenset[str]
) -> tuple[int, dict[str, Schedule]]:
    """The lowest peak that was found, and the moves to it; `spent` are the tasks that were moved before."""
    highest = int(load.runs.max())
    goal = max(scratch, int(scratch * (1 + SLACK)) // RUN * RUN)
    low, high = goal, highest
    best: dict[str, Schedule] = {}
    for _ in range(TRIES):
        if low >= high:
            break
        changed = load.copy()
        moved, is_cut = _moves(changed, movable, goal, most, spent)
        peak = int(changed.runs.max())
        if peak < high:
            high, best = peak, moved
        if not is_cut:
            break
        # Too few moves for that: spent on a goal that they suffice for, they lower the peak more.
        low, goal = goal, (goal + high + RUN) // 2
        if high - low < RUN:
            break
    if high > scratch * (1 + MISSED) and len(movable) <= FEW:
        changed = load.copy()
        moved = _together(changed, movable, scratch, most, spent)
        peak = int(changed.runs.max())
        if peak < high:
            high, best = peak, moved
    return high, best


def fresh(tasks: Iterable[Weighed], avoided: BusyMinutes | None = None) -> Load:
    """The load of a plan from scratch, with those tasks in their places that may not move."""
    known = list(tasks)
    load = load_of(((task.schedule, task.seconds) for task in known if not task.may_move), avoided)
    for task in sorted(known, key=lambda task: (task.schedule.every or 0, -task.seconds, task.name)):
        if task.may_move:
            placed(ScheduleSpec(every=task.schedule.every), load, task.name, seconds=task.seconds)
    return load


def _moves(
    load: Load, movable: Sequence[Weighed], goal: int, most: int, spent: frozenset[str]
) -> tuple[dict[str, Schedule], bool]:
    """Move tasks in a load until its peak is no higher than a goal; the moves, and whether more were wanted."""
    at = [rhythm(task.schedule, task.seconds) for task in movable]
    all_gains = Gains(at)
    moved: dict[str, Schedule] = {}
    tried: set[int] = set()
    left = most - len(spent)
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
            if left <= 0 and task.name not in spent:
                return moved, True
            tried.add(number)
            load.count(task.schedule, task.seconds, -1)
            schedule = placed(ScheduleSpec(every=task.schedule.every), load, task.name, seconds=task.seconds)
            there = rhythm(schedule, task.seconds)
            if _gain(load, there, goal) >= gain:
                load.count(schedule, task.seconds, -1)
                load.count(task.schedule, task.seconds)
                continue
            moved[task.name], at[number] = schedule, there
            all_gains.put(number, there)
            left -= task.name not in spent
    return moved, False


def _together(
    load: Load, movable: Sequence[Weighed], goal: int, most: int, spent: frozenset[str]
) -> dict[str, Schedule]:
    """Take tasks off a load until its peak is no higher than a goal, and place them anew, the longest first."""
    import numpy

    taken = [task for task in movable if task.name in spent]
    for task in taken:
        load.count(task.schedule, task.seconds, -1)
    left = sorted((task for task in movable if task.name not in spent), key=lambda task: (task.seconds, task.name))
    at = [rhythm(task.schedule, task.seconds) for task in left]
    all_gains = Gains(at)
    # What a run does where too many go on, against all that it does: of those that do little besides, none leaves a
    # hole that has to be filled.
    besides = numpy.array([each.period / (len(each.starts) * each.length) for each in at])
    is_left = numpy.ones(len(left), bool)
    while is_left.any() and len(taken) < int(most * LOWERING) and int(load.runs.max()) > goal:
        gains = all_gains.of(load, goal) * is_left
        worst = int(numpy.lexsort((-gains, -gains * besides))[0])
        if not gains[worst]:
            break
        is_left[worst] = False
        taken.append(left[worst])
        load.count(left[worst].schedule, left[worst].seconds, -1)
    shortest = [task for task, stays in zip(left, is_left, strict=True) if stays]
    for task in shortest[: max(0, most - len(taken))]:
        taken.append(task)
        load.count(task.schedule, task.seconds, -1)
    moved = {}
    for task in sorted(taken, key=lambda task: (task.schedule.every or 0, -task.seconds, task.name)):
        schedule = placed(ScheduleSpec(every=task.schedule.every), load, task.name, seconds=task.seconds)
        if schedule != task.schedule:
            moved[task.name] = schedule
    return moved


def _gain(load: Load, at: Rhythm, goal: int) -> int:
    runs = load.runs.reshape(-1, at.period)
    found = 0
    for start in at.starts:
        end = start + at.length
        found += int((runs[:, start:end] > goal).sum())
        if end > at.period:
            found += int((runs[:, : end - at.period] > goal).sum())
    return found


class Gains:
    """Of many tasks, by their numbers: for thousands of them as quick as for a few."""

    def __init__(self, rhythms: Sequence[Rhythm]) -> None:
        import numpy

        self._rhythms = list(rhythms)
        self._of_period: dict[int, tuple[Numbers, Numbers, Numbers]] = {}  #: tasks, first bins, bins after the last
        self._places: list[slice] = []  #: where in these a task is
        rows: dict[int, list[tuple[int, int, int]]] = {}
        for number, (period, starts, length, _) in enumerate(self._rhythms):
            row = rows.setdefault(period, [])
            self._places.append(slice(len(row), len(row) + len(starts)))
            row += [(number, start, start + length) for start in starts]
        for period, row in rows.items():
            tasks, first, after = numpy.array(row, numpy.int64).T.copy()
            self._of_period[period] = tasks, first, after

    def put(self, number: int, rhythm: Rhythm) -> None:
        """A task has other starts; as many of them, with the same period, as before."""
        self._rhythms[number] = rhythm
        _, first, after = self._of_period[rhythm.period]
        first[self._places[number]] = rhythm.starts
        after[self._places[number]] = [start + rhythm.length for start in rhythm.starts]

    def of(self, load: Load, goal: int) -> Numbers:
        """For each task the bins in which its runs go on while more than `goal` do."""
        import numpy

        over = load.runs > goal
        found = numpy.zeros(len(self._rhythms), numpy.int64)
        for period, (tasks, first, after) in self._of_period.items():
            folded = over.reshape(-1, period).sum(axis=0)
            ahead = numpy.cumsum(numpy.concatenate(([0], folded, folded)))
            numpy.add.at(found, tasks, ahead[after] - ahead[first])
        return found


def moved(old: Schedule, new: Schedule, now: float) -> str:
    """From which start to which an interval goes; `now` is in seconds since the epoch."""
    every = new.every or 0
    if new.is_counted or new.every_days:
        how = "next at"
    elif every >= WEEK:
        how = "on"
    else:
        how = "at" if every == DAY else "first at"
    return f"every {duration(every)}, {how} {_start(old, now)} → {_start(new, now)}"


def _start(schedule: Schedule, now: float) -> str:
    """The first start of an interval in its day or week; where none is, the next, in the system's zone."""
    if schedule.is_counted or schedule.every_days:
        slot = schedule.next_epoch(now - schedule.second) or 0
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(slot + schedule.second))
    minute, hour, _, _, weekday = schedule.cron.split(" ")
    at = f"{values(hour, 1)[0]:02}:{values(minute, 0)[0]:02}:{schedule.second:02}"
    return at if weekday == "*" else f"{WEEKDAYS[values(weekday, 4)[0]]} {at}"
