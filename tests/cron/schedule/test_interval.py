"""Every interval is kept to the second: by its line, and by what a start makes of it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scflows.cron.schedule.fields import values
from scflows.cron.schedule.schedule import DAY, HOUR, MINUTE, WEEK, Schedule
from scflows.cron.schedule.spec import ScheduleSpec
from scflows.planner.load.load import load_of
from scflows.planner.load.placement import place

#: A Monday in 2026, at midnight UTC.
MONDAY = 1780272000
SECONDS = st.integers(1, 600)
MINUTES = st.integers(1, 3000).map(lambda number: number * MINUTE)
HOURS = st.integers(1, 100).map(lambda number: number * HOUR)
DAYS = st.integers(1, 60).map(lambda number: number * DAY)
ANY = st.integers(1, 8 * WEEK)


@pytest.fixture(autouse=True)
def in_utc(system_zone: Callable[[str], None]) -> None:
    system_zone("UTC")


def answered(schedule: Schedule, start: int, end: int) -> list[int]:
    """The slots that the starts of its line answer, in order: as `due` does it, which asks the history."""
    line = Schedule(schedule.line)
    done: list[int] = []
    minute = line.next_epoch(start - 1)
    while minute is not None and minute < end:
        if schedule.is_fine:
            done += schedule.within(minute)
        else:
            slot = schedule.latest_epoch(minute + 1.2)
            if slot is not None and slot >= start and (not schedule.gated or slot not in done):
                done.append(slot)
        minute = line.next_epoch(minute)
    return done


@given(
    every=st.one_of(SECONDS, MINUTES, HOURS, DAYS, ANY),
    name=st.text("abc", min_size=1, max_size=3),
    ahead=st.integers(0, 400 * 1440).map(lambda number: number * MINUTE),
    balance=st.booleans(),
)
@example(every=1, name="a", ahead=0, balance=True)
@example(every=45 * MINUTE, name="a", ahead=0, balance=True)
@example(every=7 * HOUR, name="a", ahead=0, balance=False)
@example(every=14 * DAY, name="a", ahead=0, balance=True)
@settings(max_examples=70, deadline=None, derandomize=True)
def test_an_interval_has_neither_gap_nor_double(every: int, name: str, ahead: int, balance: bool) -> None:
    schedule = place(ScheduleSpec(every=every), load_of([]), name, balance)
    start = MONDAY + ahead
    end = start + min(max(3 * every, 2 * HOUR), 4000 * MINUTE if every % HOUR else 4 * every)
    slots = answered(schedule, start, end)
    assert slots == sorted(set(slots))
    assert {later - sooner for sooner, later in pairwise(slots)} <= {every}
    if slots:
        assert slots[0] - start < every
        # A line that is finer than the interval still comes to the last one.
        assert end - slots[-1] <= every
    else:
        assert end - start <= every


@given(st.one_of(SECONDS, MINUTES, HOURS, DAYS, ANY))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_line_is_made_of_lists(every: int) -> None:
    fields = place(ScheduleSpec(every=every), load_of([]), "a").line.split(" ")
    assert not any("/" in field for field in fields)
    assert all(values(field, place) for place, field in enumerate(fields))


@pytest.mark.parametrize(
    ("every", "why"),
    [
        (20, "20 s is not a multiple of 1 min: one process per minute starts the runs at their seconds"),
        (90, "90 s is not a multiple of 1 min: one process per minute starts the runs at their seconds"),
        (15 * MINUTE, ""),
        (45 * MINUTE, "45 min does not divide 60 min: the slots are counted"),
        (90 * MINUTE, "90 min is not a multiple of 1 h: the slots are counted"),
        (3 * HOUR, ""),
        (7 * HOUR, "7 h does not divide 24 h: the slots are counted"),
        (36 * HOUR, "36 h does not divide 24 h: the slots are counted"),
        (DAY, ""),
        (3 * DAY, "3 d does not divide weeks or months: the days are counted"),
        (WEEK, ""),
    ],
)
def test_a_schedule_says_why_its_line_looks_more_often(every: int, why: str) -> None:
    assert place(ScheduleSpec(every=every), load_of([]), "a").why_counted() == why
