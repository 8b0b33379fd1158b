from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scflows.cron.asked import Asked
from scflows.cron.balance import place, placed
from scflows.cron.load import Load, load_of
from scflows.cron.schedule import DAY, HOUR, Schedule

PERIODS = (20 * 60, HOUR, 3 * HOUR, DAY)


@pytest.fixture(autouse=True)
def _utc(system_zone: Callable[[str], None]) -> None:
    system_zone("UTC")


def spread(load: Load) -> float:
    return max(load.starts) - min(load.starts)


def test_600_hourly_tasks_fill_every_minute_alike() -> None:
    load = Load()
    for number in range(600):
        placed(Asked(every=HOUR), load, f"task-{number}")
        minutes = load.minute_load()
        assert max(minutes) - min(minutes) <= 1
    assert set(load.minute_load()) == {10}


def test_tasks_of_many_periods_are_level_together() -> None:
    seeded = random.Random(7)
    load = Load()
    for number in range(2000):
        place(seeded.choice(PERIODS), load, f"task-{number}")
    assert spread(load) <= 3
    assert load.busiest <= sum(load.starts) / 1440 + 2


def test_short_periods_first_is_as_level_as_can_be() -> None:
    seeded = random.Random(7)
    load = Load()
    for number, every in enumerate(sorted(seeded.choice(PERIODS) for _ in range(2000))):
        place(every, load, f"task-{number}")
    assert spread(load) <= 1


@given(st.lists(st.sampled_from(PERIODS), max_size=150), st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_no_order_of_adding_makes_a_peak(periods: list[int], seeded: random.Random) -> None:
    seeded.shuffle(periods)
    load = Load()
    for number, every in enumerate(periods):
        place(every, load, f"task-{number}")
    assert load.busiest <= sum(load.starts) / 1440 + 2
    assert sum(load.starts) == sum(DAY // every for every in periods)


@given(st.lists(st.tuples(st.sampled_from(PERIODS), st.integers(0, 10**6)), max_size=60))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_the_load_of_schedules_is_that_of_placing_them(tasks: list[tuple[int, int]]) -> None:
    load = Load()
    schedules = [placed(Asked(every=every), load, str(name)) for every, name in tasks]
    assert load_of(schedules).starts == load.starts


def test_the_same_name_gets_the_same_slot_in_every_process() -> None:
    code = (
        "from scflows.cron.balance import Load, placed\n"
        "from scflows.cron.asked import Asked\n"
        "print(placed(Asked(every=86400), Load(), 'weather-report').cron)"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ".", "TZ": "UTC"},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1


def test_names_spread_the_first_tasks_at_random() -> None:
    slots = {placed(Asked(every=HOUR), Load(), f"task-{number}").cron for number in range(200)}
    assert len(slots) > 40


def test_busy_minutes_and_night_hours_are_taken_last() -> None:
    load = Load()
    minutes = [placed(Asked(every=HOUR), load, f"task-{number}").cron.split(" ")[0] for number in range(60)]
    assert set(minutes[58:]) == {"0", "17"}
    load = Load()
    taken = [place(DAY, load, f"task-{number}") for number in range(1440)]
    assert sorted(taken) == list(range(1440))
    free = list(taken[:1000])
    assert all(minute >= 240 and minute % 60 not in (0, 17) and minute not in (385, 407) for minute in free)


def test_avoided_times_never_cost_level_load() -> None:
    load = Load()
    load.add(range(240, 1440))
    assert place(DAY, load, "report") < 240


@pytest.mark.parametrize(
    ("every", "hours", "minutes"),
    [(60, 24, 60), (300, 24, 12), (1200, 24, 3), (3600, 24, 1), (4 * 3600, 6, 1), (86400, 1, 1)],
)
def test_an_interval_of_the_calendar_gets_a_list_with_even_gaps(every: int, hours: int, minutes: int) -> None:
    schedule = placed(Asked(every=every), Load(), "report")
    load = load_of([schedule])
    assert sum(load.starts) == hours * minutes
    due = [minute for minute, weight in enumerate(load.starts) if weight]
    gaps = {later - sooner for sooner, later in zip(due, [*due[1:], due[0] + 1440], strict=True)}
    assert gaps == {every // 60}
    assert "/" not in schedule.line
    assert not schedule.gated


@pytest.mark.parametrize(
    ("every", "cron"),
    [
        (60, "* * * * *"),
        (900, "0,15,30,45 * * * *"),
        (3600, "0 * * * *"),
        (10800, "0 0,3,6,9,12,15,18,21 * * *"),
        (86400, "0 0 * * *"),
        (604800, "0 0 * * 0"),
        (172800, "0 0 * * *"),
        (25200, "0 * * * *"),
    ],
)
def test_without_balance_slots_are_at_full_hours(every: int, cron: str) -> None:
    schedule = placed(Asked(every=every), Load(), "report", balance=False)
    assert schedule.line == cron


def test_without_balance_midnight_is_that_of_the_zone() -> None:
    asked = Asked(every=86400, timezone="Europe/Madrid")
    assert placed(asked, Load(), "report", balance=False).line == "0 22,23 * * *"
    # A time that we choose needs no zone, and the line is exact without it.
    assert placed(asked, Load(), "report").gated is False


def test_a_cron_expression_is_counted_and_stays() -> None:
    load = Load()
    schedule = placed(Asked(cron="0 9,17 * * 1-5", timezone=None), load, "report")
    assert schedule == Schedule("0 9,17 * * 1-5")
    assert load.starts[9 * 60] == pytest.approx(5 / 7)
    assert load.hour_load()[17] == pytest.approx(5 / 7)


def test_weekly_tasks_share_the_days_and_the_minutes() -> None:
    load = Load()
    schedules = [placed(Asked(every=7 * DAY), load, f"task-{number}") for number in range(140)]
    assert set(Counter(schedule.cron[-1] for schedule in schedules).values()) == {20}
    assert max(load.starts) == pytest.approx(1 / 7)
    assert load_of(schedules).weekdays == load.weekdays


@pytest.mark.parametrize("every", [7 * HOUR, 90 * 60, 36 * HOUR, 2 * DAY, 10 * DAY, 14 * DAY, 45 * 60])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
def test_an_odd_interval_is_counted_where_it_was_placed(
    every: int, zone: str, system_zone: Callable[[str], None]
) -> None:
    system_zone(zone)
    load = Load()
    schedule = placed(Asked(every=every), load, "report")
    assert schedule.gated
    assert 0 <= schedule.anchor < every
    assert sum(load.starts) == pytest.approx(DAY / every)
    assert load_of([schedule]).starts == pytest.approx(load.starts)
    first = schedule.next_epoch(1783159220)
    assert first is not None
    second = schedule.next_epoch(first)
    assert second is not None
    assert second - first == every
    assert Schedule(schedule.line).latest_epoch(first) == first


def test_ten_thousand_tasks_are_placed_within_seconds() -> None:
    seeded = random.Random(3)
    load = Load()
    begun = time.process_time()
    for number in range(10_000):
        placed(Asked(every=seeded.choice(PERIODS)), load, f"task-{number}")
    assert time.process_time() - begun < 5
