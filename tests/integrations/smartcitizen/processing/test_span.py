"""Which readings a piece takes: each of a device's readings goes into one value, once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scflows.integrations.smartcitizen.demo.readings import read_time, rolled_up
from scflows.integrations.smartcitizen.processing.time_range import (
    end_of_readings,
    minute_of,
    next_date,
    next_piece,
    warm_up,
)

NOW = 1_790_000_000


def taken(readings: list[int], latest: int, now: int, limit: int) -> tuple[list[tuple[int, int]], int]:
    """What one run takes of the readings that are there: (time of the row, how many readings it has), the new date."""
    rows: list[tuple[int, int]] = []
    there = [at for at in readings if at <= now]
    if not there:
        return rows, latest
    end, at = end_of_readings(there[-1], now), latest
    while (piece := next_piece(at, limit, end)) is not None:
        # As the platform answers: `from` on, the last one included, one value for each minute.
        asked = [(reading, 1.0) for reading in there if piece.begin <= reading <= piece.end]
        found = [(read_time(time), int(count)) for time, count in rolled_up(asked, "1m", "sum")]
        found = [(time, count) for time, count in found if time < piece.end]
        rows += found
        if found:
            latest = next_date(found[-1][0])
        at = piece.end
    return rows, latest


@given(
    gaps=st.lists(st.one_of(st.integers(1, 90), st.integers(50, 70), st.integers(600, 90_000)), max_size=150),
    offset=st.integers(0, 59),
    runs=st.lists(st.integers(1, 5000), min_size=1, max_size=6),
    limit=st.integers(1, 600),
)
def test_each_reading_is_taken_once_whenever_runs_come(gaps, offset, runs, limit):
    readings = [NOW + offset]
    for gap in gaps:
        readings.append(readings[-1] + gap)
    rows: list[tuple[int, int]] = []
    latest, now = readings[0], NOW
    for wait in [*runs, readings[-1] + 60 - NOW]:
        now += wait
        found, latest = taken(readings, latest, now, limit)
        rows += found
    times = [time for time, _ in rows]
    assert times == sorted(set(times))
    assert set(times) <= set(readings)
    # Every minute is complete: nothing that belongs to it is left out, and nothing is in two.
    whole = [(read_time(time), int(count)) for time, count in rolled_up([(at, 1.0) for at in readings], "1m", "sum")]
    assert rows == whole


@given(last=st.integers(NOW, NOW + 200_000), ahead=st.integers(-90_000, 90_000))
def test_a_minute_is_taken_once_it_is_over(last, ahead):
    end = end_of_readings(last, last + ahead)
    # Also where a kit's clock is ahead: what it publishes until then is still to come.
    assert end == min(minute_of(last) + 60, minute_of(last + ahead))


def test_the_new_date_leaves_no_reading_behind():
    # A kit that publishes every 45 s: two of its readings are in the first minute, the next is 45 s after that.
    assert next_date(NOW - NOW % 60 + 30) == NOW - NOW % 60 + 60


@pytest.mark.parametrize(
    ("channels", "rows"),
    [
        ([], 0),
        ([{"kwargs": None}, {"kwargs": {"name": "TEMP", "limits": [0, 60]}}], 0),
        ([{"kwargs": {"window": 5}}, {"kwargs": {"window": 3}}], 5),
        ([{"kwargs": {"rolling_frequency": "5Min"}}], 5),
        ([{"kwargs": {"window": "1H"}}], 60),
        ([{"kwargs": {"window": "hamming"}}], 0),
        ([{"kwargs": {"window": 100_000}}], 240),
    ],
)
def test_functions_that_look_back_are_given_earlier_rows(channels, rows):
    assert warm_up(channels, NOW - NOW % 60) == rows * 60
    assert warm_up(channels, NOW - NOW % 60 + 1) == 0
