"""Moves that level a load again: few, worth it, and none once they are done."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from scflows.cron.schedule.schedule import DAY, HOUR, WEEK, Schedule
from scflows.cron.schedule.spec import ScheduleSpec
from scflows.planner.load.load import Load
from scflows.planner.load.placement import place
from scflows.planner.load.rebalance import PlannedTask, Rebalanced, describe_move, rebalance

NOW = 1_790_000_000  #: 2026-09-21 14:13:20 in UTC
MIXTURE = (900, HOUR, HOUR, 3 * HOUR, 3 * HOUR, 6 * HOUR, DAY, DAY)


@pytest.fixture(autouse=True)
def _utc(system_zone: Callable[[str], None]) -> None:
    system_zone("UTC")


def uneven(count: int, periods: tuple[int, ...], seed: int) -> list[PlannedTask]:
    """Tasks half of whose like were removed since they were placed."""
    seeded, load, tasks = random.Random(seed), Load(), []
    for number in range(count * 2):
        every, seconds = periods[number % len(periods)], 30 * math.exp(seeded.gauss(0, 1))
        schedule = place(ScheduleSpec(every=every), load, f"t{number}", seconds=seconds)
        tasks.append(PlannedTask(f"t{number}", schedule, seconds))
    return seeded.sample(tasks, count)


def after(tasks: list[PlannedTask], found: Rebalanced) -> list[PlannedTask]:
    return [PlannedTask(each.name, found.moved.get(each.name, each.schedule), each.seconds) for each in tasks]


@pytest.mark.parametrize(
    ("count", "periods", "seed"), [(100, (HOUR,), 1), (100, MIXTURE, 1), (250, MIXTURE, 2), (500, (HOUR,), 1)]
)
def test_the_same_again_moves_nothing(count: int, periods: tuple[int, ...], seed: int) -> None:
    tasks = uneven(count, periods, seed)
    found = rebalance(tasks, count * 3 // 10)
    assert found.after < found.before
    assert 0 < len(found.moved) <= count * 3 // 10
    assert all(each.schedule != found.moved.get(each.name) for each in tasks)
    again = rebalance(after(tasks, found), count * 3 // 10)
    assert again.before == found.after
    assert not again.moved


def test_a_plan_from_scratch_is_left_alone() -> None:
    tasks = uneven(500, (HOUR,), 3)
    level = Load()
    placed_anew = [
        PlannedTask(each.name, place(ScheduleSpec(every=HOUR), level, each.name, seconds=each.seconds), each.seconds)
        for each in sorted(tasks, key=lambda each: (-each.seconds, each.name))
    ]
    found = rebalance(placed_anew, 150)
    assert found.after == found.before
    assert not found.moved


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            Schedule("7,22,37,52 * * * *", 900, second=35),
            Schedule("4,19,34,49 * * * *", 900),
            "every 15 min, first at 00:07:35 → 00:04:00",
        ),
        (
            Schedule("17 2,5,8,11,14,17,20,23 * * *", 3 * HOUR),
            Schedule("17 1,4,7,10,13,16,19,22 * * *", 3 * HOUR),
            "every 3 h, first at 02:17:00 → 01:17:00",
        ),
        (
            Schedule("44 13 * * *", DAY),
            Schedule("44 13 * * *", DAY, second=5),
            "every 1 d, at 13:44:00 → 13:44:05",
        ),
        (
            Schedule("44 13 * * 0", WEEK),
            Schedule("44 13 * * 1", WEEK),
            "every 7 d, on Sunday 13:44:00 → Monday 13:44:00",
        ),
        (
            Schedule("0 * * * *", 7 * HOUR, 0, second=10),
            Schedule("5 * * * *", 7 * HOUR, 300),
            "every 7 h, next at 2026-09-21 16:00:10 → 2026-09-21 16:05:00",
        ),
    ],
)
def test_a_move_is_told_by_the_start_that_changes(old: Schedule, new: Schedule, told: str) -> None:
    assert describe_move(old, new, NOW) == told
