"""Schedules that look like intervals and are none."""

from __future__ import annotations

import pytest

from scflows.cron.schedule.fields import normalised
from scflows.cron.schedule.notes import uneven_notes
from scflows.cron.schedule.schedule import Schedule


@pytest.mark.parametrize(
    ("cron", "told"),
    [
        ("*/7 * * * *", "not every 7m: from :56 to :00 it is 4m; for even intervals use every: 7m"),
        ("3-59/25 * * * *", "not every 25m: from :53 to :03 it is 10m; for even intervals use every: 25m"),
        ("0 */5 * * *", "not every 5h: from 20:00 to 00:00 it is 4h; for even intervals use every: 5h"),
        ("*/15 * * * *", ""),
        ("5 */6 * * *", ""),
        ("0,10,25 * * * *", ""),
        ("0 8-18 * * *", ""),
        ("*/7 8 * * *", ""),
        ("* * * * *", ""),
        ("30 4 * * *", ""),
    ],
)
def test_a_step_that_does_not_come_round_is_told(cron: str, told: str) -> None:
    assert uneven_notes(Schedule(normalised(cron))) == ([told] if told else [])


def test_of_an_interval_nothing_is_told() -> None:
    assert uneven_notes(Schedule("0,7,14,21,28,35,42,49,56 * * * *", every=420)) == []
