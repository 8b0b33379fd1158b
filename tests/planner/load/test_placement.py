from __future__ import annotations

import math
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scflows.cron.schedule.schedule import DAY, HOUR, Schedule
from scflows.cron.schedule.spec import ScheduleSpec
from scflows.planner.load.durations import DEFAULT
from scflows.planner.load.load import RUN, Load, load_of, rhythm
from scflows.planner.load.other_crontabs import BusyMinutes
from scflows.planner.load.placement import place

PERIODS = (20 * 60, HOUR, 3 * HOUR, DAY)


@pytest.fixture(autouse=True)
def _utc(system_zone: Callable[[str], None]) -> None:
    system_zone("UTC")


def starts(load: Load) -> list[float]:
    """In each minute of the week."""
    return [float(each) / RUN for each in load.starts]


def first_minute_of_day(schedule: Schedule) -> int:
    minute, hour, *_ = schedule.cron.split(" ")
    return int(hour) * 60 + int(minute)


def one_by_one(tasks: list[tuple[int, float]], load: Load | None = None) -> Load:
    """The load of tasks with these intervals and durations in seconds, placed in this order."""
    load = load or Load()
    for number, (every, seconds) in enumerate(tasks):
        place(ScheduleSpec(every=every), load, f"task-{number}", seconds=seconds)
    return load


def all_at_once(tasks: list[tuple[int, float]]) -> Load:
    return one_by_one(sorted(tasks, key=lambda task: (task[0], -task[1])))


def drawn(count: int, seed: int, periods: tuple[int, ...] = PERIODS) -> list[tuple[int, float]]:
    seeded = random.Random(seed)
    return [(seeded.choice(periods), 30 * math.exp(seeded.gauss(0, 1))) for _ in range(count)]


@pytest.mark.parametrize("seconds", [DEFAULT, 60.0, 0.5])
def test_600_hourly_tasks_fill_every_minute_alike(seconds: float) -> None:
    load = Load()
    for number in range(600):
        place(ScheduleSpec(every=HOUR), load, f"task-{number}", seconds=seconds)
        if number % 20 == 19:
            minutes = load.minute_starts()
            assert max(minutes) - min(minutes) <= 2
    assert set(load.minute_starts()) == {10}
    assert load.runs.max() - load.runs.min() <= RUN


@pytest.mark.parametrize("seconds", [20, 45, 90, 120, 300])
def test_600_equal_tasks_are_level_whatever_they_take(seconds: int) -> None:
    load = one_by_one([(HOUR, seconds)] * 600)
    assert load.runs.max() - load.runs.min() <= RUN
    assert load.peak <= math.ceil(load.mean)


@given(st.lists(st.sampled_from(PERIODS), min_size=1, max_size=150), st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_equal_tasks_one_by_one_end_as_level_as_all_at_once(periods: list[int], seeded: random.Random) -> None:
    tasks = [(every, DEFAULT) for every in periods]
    whole = all_at_once(tasks)
    seeded.shuffle(tasks)
    single = one_by_one(tasks)
    assert abs(single.peak - whole.peak) <= 1
    assert abs(max(starts(single)) - max(starts(whole))) <= 1
    assert sum(starts(single)) == sum(7 * DAY // every for every in periods)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_order_of_unequal_tasks_makes_a_peak(seed: int) -> None:
    tasks = drawn(600, seed)
    whole = all_at_once(tasks)
    for order in range(2):
        random.Random(seed + order).shuffle(tasks)
        assert one_by_one(tasks).peak <= max(whole.peak * 1.1, whole.peak + 1)


def test_many_tasks_reach_nearly_what_no_plan_can_beat() -> None:
    load = one_by_one([(3 * HOUR, seconds) for _, seconds in drawn(2000, 7)])
    assert load.peak <= math.ceil(load.mean) * 1.1


def test_a_replaced_hundredth_moves_nobody_and_stays_level() -> None:
    seeded = random.Random(11)
    load = Load()
    durations = {f"task-{number}": seconds for number, (_, seconds) in enumerate(drawn(500, 11))}
    schedules = {
        name: place(ScheduleSpec(every=HOUR), load, name, seconds=seconds) for name, seconds in durations.items()
    }
    for turn in range(50):
        for name in seeded.sample(sorted(schedules), 5):
            load.count(schedules.pop(name), durations.pop(name), -1)
            new = f"new-{turn}-{name}"
            durations[new] = 30 * math.exp(seeded.gauss(0, 1))
            schedules[new] = place(ScheduleSpec(every=HOUR), load, new, seconds=durations[new])
    fresh = all_at_once([(HOUR, seconds) for seconds in durations.values()])
    assert load.peak <= max(fresh.peak * 1.1, fresh.peak + 1)
    assert (load_of((schedules[name], durations[name]) for name in schedules).runs == load.runs).all()


@given(
    st.lists(
        st.tuples(
            st.sampled_from((*PERIODS, 60, 7 * DAY, 7 * HOUR, 45 * 60, 2 * DAY, 10 * DAY, 14 * DAY)),
            st.floats(0, 2 * DAY),
        ),
        max_size=20,
    )
)
@settings(max_examples=15, deadline=None, derandomize=True)
def test_the_load_of_schedules_is_that_of_placing_them(tasks: list[tuple[int, float]]) -> None:
    load = Load()
    schedules = [
        (place(ScheduleSpec(every=every), load, str(name), seconds=seconds), seconds)
        for name, (every, seconds) in enumerate(tasks)
    ]
    again = load_of(schedules)
    assert (again.runs == load.runs).all()
    assert (again.starts == load.starts).all()
    for schedule, seconds in schedules:
        load.count(schedule, seconds, -1)
    assert not load.runs.any()
    assert not load.starts.any()


@given(
    st.sampled_from((900, HOUR, 3 * HOUR, DAY)),
    st.floats(1, 5000),
    st.lists(st.tuples(st.sampled_from(PERIODS), st.floats(1, 5000)), max_size=12),
)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_no_other_start_would_make_a_lower_peak(every: int, seconds: float, others: list[tuple[int, float]]) -> None:
    load = one_by_one(others)
    before = load.copy()
    schedule = place(ScheduleSpec(every=every), load, "new", seconds=seconds)
    period, _, length, _ = rhythm(schedule, seconds)

    level = before.runs.reshape(-1, period).max(axis=0)
    windows = numpy.lib.stride_tricks.sliding_window_view(numpy.concatenate((level, level)), length)
    (chosen,) = rhythm(schedule, seconds).starts
    assert windows[chosen].max() == windows[:period].max(axis=1).min()


def test_starts_are_spread_over_the_seconds_of_the_minute() -> None:
    load = Load()
    seconds = Counter(place(ScheduleSpec(every=900), load, f"task-{number}").second for number in range(180))
    assert len(seconds) >= 6
    assert all(each % 5 == 0 for each in seconds)


def test_a_long_run_keeps_others_away_for_as_long_as_it_takes() -> None:
    load = Load()
    place(ScheduleSpec(cron="0 * * * *"), load, "long", seconds=3000)
    for number in range(10):
        schedule = place(ScheduleSpec(every=HOUR), load, f"task-{number}", seconds=50)
        assert int(schedule.cron.split(" ")[0]) >= 50


def test_the_same_name_gets_the_same_slot_in_every_process() -> None:
    code = (
        "from scflows.planner.load.placement import place\nfrom scflows.planner.load.load import Load\n"
        "from scflows.cron.schedule.spec import ScheduleSpec\n"
        "print(place(ScheduleSpec(every=86400), Load(), 'weather-report').cron)"
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
    slots = {place(ScheduleSpec(every=HOUR), Load(), f"task-{number}").cron for number in range(200)}
    assert len(slots) > 40


def test_avoided_minutes_and_full_hours_are_taken_last() -> None:
    load = Load(BusyMinutes([minute % 60 == 17 for minute in range(1440)]))
    minutes = [place(ScheduleSpec(every=HOUR), load, f"task-{number}").cron.split(" ")[0] for number in range(60)]
    assert set(minutes[58:]) == {"0", "17"}


def test_avoided_times_never_cost_level_load() -> None:
    load = Load(BusyMinutes([minute < 240 for minute in range(1440)]))
    for minute in range(240, 1440):
        load.count(Schedule(f"{minute % 60} {minute // 60} * * *"), 60)
    assert int(place(ScheduleSpec(every=DAY), load, "report").cron.split(" ")[1]) < 4


@pytest.mark.parametrize(
    ("every", "hours", "minutes"),
    [(60, 24, 60), (300, 24, 12), (1200, 24, 3), (3600, 24, 1), (4 * 3600, 6, 1), (86400, 1, 1)],
)
def test_an_interval_of_the_calendar_gets_a_list_with_even_gaps(every: int, hours: int, minutes: int) -> None:
    schedule = place(ScheduleSpec(every=every), Load(), "report")
    day = starts(load_of([(schedule, 1)]))[:1440]
    assert sum(day) == hours * minutes
    due = [minute for minute, weight in enumerate(day) if weight]
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
    schedule = place(ScheduleSpec(every=every), Load(), "report", balance=False)
    assert schedule.line == cron


def test_without_balance_midnight_is_that_of_the_zone() -> None:
    asked = ScheduleSpec(every=86400, timezone="Europe/Madrid")
    assert place(asked, Load(), "report", balance=False).line == "0 22,23 * * *"
    # A time that we choose needs no zone, and the line is exact without it.
    assert place(asked, Load(), "report").gated is False


def test_a_cron_expression_is_counted_and_stays() -> None:
    load = Load()
    schedule = place(ScheduleSpec(cron="0 9,17 * * 1-5", timezone=None), load, "report")
    assert schedule == Schedule("0 9,17 * * 1-5")
    assert [starts(load)[day * 1440 + 9 * 60] for day in range(7)] == [0, 1, 1, 1, 1, 1, 0]
    assert load.hour_starts()[17] == 1
    assert load.hour_runs()[9] == 1


def test_weekly_tasks_share_the_days_and_the_minutes() -> None:
    load = Load()
    schedules = [place(ScheduleSpec(every=7 * DAY), load, f"task-{number}") for number in range(140)]
    assert set(Counter(schedule.cron[-1] for schedule in schedules).values()) == {20}
    assert max(starts(load)) == 1


@pytest.mark.parametrize("every", [7 * HOUR, 90 * 60, 36 * HOUR, 2 * DAY, 10 * DAY, 14 * DAY, 45 * 60])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
def test_an_odd_interval_is_counted_where_it_was_placed(
    every: int, zone: str, system_zone: Callable[[str], None]
) -> None:
    system_zone(zone)
    load = Load()
    schedule = place(ScheduleSpec(every=every), load, "report")
    assert schedule.gated
    assert 0 <= schedule.anchor < every
    assert sum(starts(load)) == pytest.approx(7 * DAY / every, rel=1e-3)
    first = schedule.next_epoch(1783159220)
    assert first is not None
    second = schedule.next_epoch(first)
    assert second is not None
    assert second - first == every
    assert Schedule(schedule.line).latest_epoch(first) == first


@pytest.mark.parametrize(("every", "turns"), [(7 * HOUR, 7), (2 * DAY, 2), (14 * DAY, 2), (90 * 60, 3)])
def test_intervals_that_no_week_divides_share_their_turns(every: int, turns: int) -> None:
    load = Load()
    schedules = [place(ScheduleSpec(every=every), load, f"task-{number}") for number in range(10 * turns)]
    first = [schedule.next_epoch(1783159220) for schedule in schedules]
    assert all(first)
    step = every // turns
    taken = Counter((slot or 0) % every // step for slot in first)
    assert len(taken) == turns
    assert max(taken.values()) - min(taken.values()) <= 2


def test_a_line_of_a_counted_interval_weighs_its_share() -> None:
    load = Load()
    place(ScheduleSpec(every=7 * HOUR), load, "report", seconds=30)
    assert load.peak == pytest.approx(1 / 7)


def test_days_of_the_month_weigh_their_share_of_the_days() -> None:
    load = load_of([(Schedule("30 4 1 * *"), 60)])
    assert load.peak == pytest.approx(12 / 366, rel=0.01)
