from __future__ import annotations

import pytest

from scflows.cli.times import clock, parse_duration, parse_moment, parse_since, relative, words
from scflows.errors import UsageError

NOON = 1792324800.0  # 2026-10-18T12:00:00Z, a Sunday


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (41.2, "41 s"),
        (119, "119 s"),
        (720, "12 min"),
        (9000, "2 h"),
        (259200, "3 days"),
    ],
)
def test_durations_have_two_or_three_digits(seconds: float, text: str) -> None:
    assert words(seconds) == text


def test_times_are_told_from_today_in_their_zone() -> None:
    assert clock(NOON, "UTC", NOON) == "today 12:00"
    assert clock(NOON, "Europe/Madrid", NOON) == "today 14:00"
    assert clock(NOON - 86400, "UTC", NOON) == "yesterday 12:00"
    assert clock(NOON + 86400, "UTC", NOON) == "tomorrow 12:00"
    assert clock(NOON - 7 * 86400, "UTC", NOON) == "2026-10-11 12:00"
    assert clock(NOON + 3, "UTC", NOON, seconds=True) == "12:00:03"
    assert (relative(NOON - 720, NOON), relative(NOON + 2280, NOON)) == ("12 min ago", "in 38 min")


@pytest.mark.parametrize(
    ("text", "zone", "epoch"),
    [
        ("2026-10-18T12:00", "UTC", NOON),
        ("2026-10-18 14:00", "Europe/Madrid", NOON),
        ("2026-10-18T12:00:00Z", "Europe/Madrid", NOON),
        ("2026-10-18", "UTC", NOON - 12 * 3600),
        ("1792324800", "Europe/Madrid", NOON),
        ("90m", "UTC", NOON - 5400),
        ("7d", "UTC", NOON - 7 * 86400),
        ("1.5h", "UTC", NOON - 5400),
        ("11:15", "UTC", NOON - 2700),
        ("12:00", "UTC", NOON),
        ("19:15", "UTC", NOON - 86400 + 7 * 3600 + 900),
        ("13:15", "Europe/Madrid", NOON - 2700),
        ("11:59:30", "UTC", NOON - 30),
        ("today", "UTC", NOON - 12 * 3600),
        ("yesterday", "UTC", NOON - 36 * 3600),
        ("Yesterday", "Europe/Madrid", NOON - 38 * 3600),
        ("yesterday 19:15", "UTC", NOON - 86400 + 7 * 3600 + 900),
        ("tomorrow 09:10", "UTC", NOON + 86400 - 3 * 3600 + 600),
    ],
)
def test_times_are_read_in_the_zone_unless_they_say_their_own(text: str, zone: str, epoch: float) -> None:
    assert parse_since(text, "--since", zone, NOON) == epoch


@pytest.mark.parametrize("text", ["", "24:00", "12:60", "1:2", "yesterday noon", "2026-13-01", "d", "-1d"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--since"):
        parse_since(text, "--since", "UTC", NOON)


@pytest.mark.parametrize("text", ["", "0", "-5", "nan", "inf", "1y", "m", "1e30"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--timeout"):
        parse_duration(text, "--timeout")


def test_a_zone_nobody_knows_is_refused() -> None:
    with pytest.raises(UsageError, match="Europe/Madird"):
        parse_moment("2026-10-18T12:00", "--slot", "Europe/Madird", NOON)
