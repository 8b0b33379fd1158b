from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scflows.cron.schedule.fields import normalised, values
from scflows.cron.schedule.notes import day_notes
from scflows.cron.schedule.schedule import Schedule
from scflows.cron.schedule.spec import ScheduleSpec, parse_every, parse_schedule
from scflows.errors import UsageError

pytestmark = pytest.mark.language("§7 Schedule")

MADRID = ZoneInfo("Europe/Madrid")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def local_slots(schedule: Schedule, first: str, last: str, zone: ZoneInfo = MADRID) -> list[str]:
    start = datetime.fromisoformat(first).replace(tzinfo=zone)
    end = datetime.fromisoformat(last).replace(tzinfo=zone)
    return [slot.astimezone(zone).strftime("%d %H:%M %Z") for slot in schedule.slots(start, end)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("* * * * *", "* * * * *"),
        ("*/15 * * * *", "0,15,30,45 * * * *"),
        ("5 */3 * * *", "5 0,3,6,9,12,15,18,21 * * *"),
        ("  07\t4 * *  MON-Fri ", "7 4 * * 1-5"),
        ("0 0 * jan,Feb 7", "0 0 * 1,2 0"),
        ("0 0 * * fri-sun", "0 0 * * 0,5,6"),
        ("0-59 0-23/1 1-31 1-12 0-7", "* * * * *"),
        ("10,10,5 9-17/4 * * *", "5,10 9,13,17 * * *"),
        ("@daily", "0 0 * * *"),
        ("@Hourly", "0 * * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@midnight", "0 0 * * *"),
        ("0 0 29 feb *", "0 0 29 2 *"),
    ],
)
def test_a_cron_expression_is_written_as_lists(text: str, expected: str) -> None:
    assert normalised(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # A field that begins with a star has both days match; a list in its place would have one suffice.
        ("0 0 */2 * 1", "0 0 */2 * 1"),
        ("0 0 13 * */2", "0 0 13 * */2"),
        ("0 0 */2 * */3", "0 0 1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31 * */3"),
        # The first Monday and the first Sunday, as Debian's cron reads them.
        ("0 8 */100,1-7 * mon", "0 8 */31,1-7 * 1"),
        ("0 8 */31,1-7 * mon", "0 8 */31,1-7 * 1"),
        ("0 8 1-7 * */7", "0 8 1-7 * */7"),
        ("0 8 1-7 * mon", "0 8 1-7 * 1"),
        # Every day, since one of the two suffices, and one is every day.
        ("0 0 13 * 0-6", "0 0 * * *"),
        ("0 0 1-31 * 5", "0 0 * * *"),
        ("0 0 13 * 5", "0 0 13 * 5"),
    ],
)
def test_both_day_fields_keep_how_they_go_together(text: str, expected: str) -> None:
    assert normalised(text) == expected


@pytest.mark.parametrize(
    ("index", "field", "starts"),
    [
        (4, "7-1", {0, 1}),
        (4, "fri-mon", {0, 1, 5, 6}),
        (4, "3-2", set(range(7))),
        (4, "6-2/2", {6, 1}),
        (1, "22-6", {22, 23, *range(7)}),
        (1, "22-6/3", {22, 1, 4}),
        (0, "59-0", {59, 0}),
        (3, "11-2", {11, 12, 1, 2}),
        (2, "30-2", {30, 31, 1, 2}),
    ],
)
def test_the_proposal_for_a_reversed_range_is_accepted_and_means_the_same(
    index: int, field: str, starts: set[int]
) -> None:
    def written(text: str) -> str:
        return " ".join(text if each == index else "*" for each in range(5))

    with pytest.raises(UsageError) as caught:
        normalised(written(field))
    proposed = (caught.value.help or "").removeprefix("use ")
    assert set(values(normalised(written(proposed)).split(" ")[index], index)) == starts


@pytest.mark.parametrize(("fields", "proposed"), [("0 0 5,* * 1", "1-31"), ("0 0 5 * 3-2", "0-6")])
def test_a_proposal_keeps_how_the_day_fields_go_together(fields: str, proposed: str) -> None:
    with pytest.raises(UsageError, match=r"means every value|is reversed") as caught:
        normalised(fields)
    assert proposed in (caught.value.help or "")


def test_a_day_that_has_to_match_both_fields_does_so_with_every_cron() -> None:
    # No line has two day fields that both have to match, because busybox's cron would start it if one does.
    schedule = Schedule(normalised("0 8 */100,1-7 * mon"))
    assert (schedule.line, schedule.gated, schedule.words()) == (
        "0 8 * * 1",
        True,
        "monthly on the first Monday at 08:00",
    )
    begin = datetime(2027, 1, 1, tzinfo=UTC)
    found = [each.date().isoformat() for each in schedule.slots(begin, begin + timedelta(days=120))]
    assert found == ["2027-01-04", "2027-02-01", "2027-03-01", "2027-04-05"]
    assert Schedule("0 0 */16 * */2").line == "0 0 1,17 * *"


@pytest.mark.parametrize(
    ("cron", "note"),
    [
        ("0 8 1-7 * 1", "starts on days 1-7 and also on every Monday, as in cron; if both have to match: cron '"),
        ("0 0 13 * 5", "starts on day 13 and also on every Friday, as in cron; if both have to match: test"),
        ("0 8 8-14 * 0", "if both have to match: cron '0 8 8-14 * */7'"),
    ],
)
def test_two_day_fields_of_which_one_suffices_are_explained(cron: str, note: str) -> None:
    (found,) = day_notes(Schedule(cron))
    assert note in found
    for proposal in found.split("'")[1:2]:
        assert day_notes(Schedule(normalised(proposal))) == []


@pytest.mark.parametrize(
    ("text", "named", "help"),
    [
        ("*5 * * * *", "minute", "*/5"),
        ("61 * * * *", "minute", "0 to 59"),
        ("60 * * * *", "minute", "0 to 59"),
        ("0 24 * * *", "hour", "0 to 23"),
        ("0 0 0 * *", "day of month", "1 to 31"),
        ("0 0 * 13 *", "month", "jan to dec"),
        ("0 0 * * 8", "day of week", "sun to sat"),
        ("0 0 * * 5-3", "day of week", "use 0-3,5,6"),
        ("0 22-4 * * *", "hour", "use 0-4,22,23"),
        ("0 0 * * 7-1", "day of week", "use 0,1"),
        ("*/90 * * * *", "minute", "every: 90m"),
        ("5/15 * * * *", "minute", "5-59/15"),
        ("*/0 * * * *", "minute", "1 to 59"),
        ("*/60 * * * *", "minute", "write 0; for an interval use every, e.g. every: 60m"),
        ("1,,2 * * * *", "minute", "0 to 59"),
        ("1- * * * *", "minute", "0 to 59"),
        ("*,5 * * * *", "minute", "write '*' alone for that"),
        ("٣ * * * *", "minute", "0 to 59"),
        ("-5 * * * *", "minute", "0 to 59"),
        ("0 0 31 2 *", "day of month", "29"),
        ("0 0 31 4,6 *", "day of month", "30"),
        ("0 0 30 2 *", "day of month", "29"),
        ("0~30 * * * *", "minute", "0 to 59"),
        ("0 0 L * *", "day of month", "1 to 31"),
        ("0 0 * * 1#2", "day of week", "sun to sat"),
        ("1 * * *", "4 fields", "minute, hour"),
        ("0 0 0 * * *", "6 fields", "minute, hour"),
        ("", "0 fields", "minute, hour"),
        ("5 4 * * *\n* * * * * evil", "more than one line", "one line"),
        ("@rebot", "@rebot", "@reboot"),
        ("@dayly", "@dayly", "@daily"),
    ],
)
def test_a_cron_expression_that_cannot_be_is_refused(text: str, named: str, help: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_schedule({"cron": text})
    assert named in str(caught.value)
    assert help in (caught.value.help or "")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("15m", 900),
        ("3h", 10800),
        ("1d", 86400),
        ("2w", 1209600),
        ("120s", 120),
        ("90s", 90),
        ("1s", 1),
        (" 5 M ", 300),
        ("@daily", 86400),
        ("@hourly", 3600),
        ("@minute", 60),
        ("@weekly", 604800),
    ],
)
def test_an_interval_has_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert parse_every(text) == seconds


@pytest.mark.parametrize(
    ("given", "named", "help"),
    [
        ({"every": "0m"}, "not a valid interval", "1s"),
        ({"every_seconds": 0}, "not a valid interval", "the shortest is 1"),
        ({"every_seconds": "900"}, "every_seconds", "900"),
        ({"every_seconds": True}, "every_seconds", "900"),
        ({"every": 15}, "no unit", "15m"),
        ({"every": "15"}, "no unit", "15m"),
        ({"every": "1.5h"}, "not a valid interval", "90m"),
        ({"every": "@monthly"}, "not a valid interval", "cron: '@monthly'"),
        ({"every": "@dayly"}, "not a valid interval", "@daily"),
        ({"every": "three hours"}, "not a valid interval", "15m"),
        ({"every": "-3h"}, "not a valid interval", "15m"),
        ({"every": ""}, "not a valid interval", "15m"),
        ({"every": "900000000d"}, "longer than a year", "366d"),
        ({"cron": 5}, "cron must be text", "quotes"),
        ({}, "has no time", "cron, every, every_seconds"),
        ({"cron": "@daily", "every": "1d"}, "cron and every", "one of"),
        ({"cron": "@daily", "timezone": "Europe/Madird"}, "Europe/Madird", "Europe/Madrid"),
        ({"cron": "@daily", "timezone": "../etc/passwd"}, "../etc/passwd", "such as"),
        ({"cron": "@daily", "timezone": 1}, "timezone must be text", "Europe/Madrid"),
        ({"every": "1h", "catch_up": "lats"}, "lats", "last"),
        ({"every": "1h", "catch_up": {"all": 0}}, "catch_up", "{all: 24}"),
        ({"every": "1h", "overlap": "queue"}, "queue", "skip, wait, cancel"),
        ({"evry": "1h"}, "evry", "every"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(given: dict[str, object], named: str, help: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_schedule(given)
    assert named in str(caught.value)
    assert help in (caught.value.help or "")


def test_a_schedule_says_all_that_was_asked_for() -> None:
    full = {"every": "3h", "timezone": "Europe/Madrid", "catch_up": {"all": 5}, "overlap": "wait"}
    assert parse_schedule(full) == ScheduleSpec(None, 10800, "Europe/Madrid", "all", 5, "wait")
    assert parse_schedule({"every_seconds": 900}) == ScheduleSpec(every=900)
    assert parse_schedule({"cron": "@daily", "catch_up": None}) == ScheduleSpec(cron="0 0 * * *")


def test_a_schedule_survives_its_dict() -> None:
    for schedule in (
        Schedule("17 1,4 * * *"),
        Schedule("17 * * * *", 25200, 1020),
        Schedule("0 0 * * *", 86400, timezone="Europe/Madrid"),
        Schedule("17 * * * *", 3600, second=35),
    ):
        assert Schedule.from_dict(schedule.to_dict()) == schedule


@pytest.mark.parametrize("second", [-1, 60, 5.0, True, "5"])
def test_a_second_outside_of_the_minute_is_no_schedule(second: object) -> None:
    with pytest.raises(TypeError, match="second"):
        Schedule.from_dict({"cron": "17 * * * *", "second": second})


def test_the_time_before_a_change_to_summer_is_made_up_once() -> None:
    daily = Schedule("30 2 * * *", timezone="Europe/Madrid")
    assert local_slots(daily, "2026-03-28", "2026-03-31") == ["28 02:30 CET", "29 03:00 CEST", "30 02:30 CEST"]
    lists = Schedule("17 0,1,2,3,4 * * *", timezone="Europe/Madrid")
    assert local_slots(lists, "2026-03-29", "2026-03-29T12:00") == [
        "29 00:17 CET",
        "29 01:17 CET",
        "29 03:00 CEST",
        "29 03:17 CEST",
        "29 04:17 CEST",
    ]
    hourly = Schedule("17 * * * *", timezone="Europe/Madrid")
    assert local_slots(hourly, "2026-03-29T01:00", "2026-03-29T04:00") == ["29 01:17 CET", "29 03:17 CEST"]


def test_a_time_in_the_repeated_hour_is_due_once() -> None:
    daily = Schedule("30 2 * * *", timezone="Europe/Madrid")
    assert local_slots(daily, "2026-10-24T12:00", "2026-10-26T12:00") == ["25 02:30 CEST", "26 02:30 CET"]
    hourly = Schedule("17 * * * *", timezone="Europe/Madrid")
    assert local_slots(hourly, "2026-10-25T01:00", "2026-10-25T04:00") == [
        "25 01:17 CEST",
        "25 02:17 CEST",
        "25 02:17 CET",
        "25 03:17 CET",
    ]


@pytest.mark.parametrize(
    "cron", ["30 2 * * *", "17 * * * *", "* * * * *", "10,40 2,3 * * *", "5 0,6,12,18 * * *", "0 4 * * 1"]
)
@pytest.mark.parametrize("change", ["2026-03-29T01:00", "2026-10-25T01:00", "2026-07-01T01:00"])
def test_the_newest_and_the_next_slot_are_those_of_the_list(
    cron: str, change: str, system_zone: Callable[[str], None]
) -> None:
    system_zone("Europe/Madrid")
    schedule = Schedule(cron)
    assert schedule == Schedule(cron, timezone=None)
    centre = utc(change)
    slots = list(schedule.slots(centre - timedelta(days=9), centre + timedelta(days=9)))
    assert slots == sorted(set(slots))
    named = Schedule(cron, timezone="Europe/Madrid")
    assert slots == list(named.slots(centre - timedelta(days=9), centre + timedelta(days=9)))
    for minutes in range(-60 * 60, 60 * 60, 97):
        at = centre + timedelta(minutes=minutes, seconds=minutes % 7)
        assert schedule.latest_epoch(at.timestamp()) == max(slot for slot in slots if slot <= at).timestamp()
        assert schedule.next_epoch(at.timestamp()) == min(slot for slot in slots if slot > at).timestamp()
    due = slots[len(slots) // 2]
    assert schedule.latest_epoch(due.timestamp()) == due.timestamp()
    assert schedule.latest_epoch(due.timestamp() - 0.001) != due.timestamp()


def test_the_newest_slot_of_plain_hours_needs_no_calendar_library() -> None:
    code = """
import sys
from scflows.cron.schedule.schedule import Schedule
schedule = Schedule.from_dict({"cron": "17 1,4,7,10,13,16,19,22 * * *", "every": 10800})
assert schedule.latest_epoch(1783159220.5) == 1783149420
assert Schedule.from_dict({"cron": "* * * * *", "every": 25200, "anchor": 60}).latest_epoch(1783159220)
print(*sorted({"cronsim", "zoneinfo", "datetime", "json", "crontab"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"TZ": "UTC", "PYTHONPATH": "."}
    )
    assert done.stdout.strip() == ""


def test_an_odd_interval_is_counted_through_days_and_changes() -> None:
    schedule = Schedule("17 * * * *", 7 * 3600, 17 * 60)
    slots = list(schedule.slots(utc("2026-03-28"), utc("2026-03-31")))
    assert {later - sooner for sooner, later in itertools.pairwise(slots)} == {timedelta(hours=7)}
    assert all(slot.minute == 17 for slot in slots)
    assert schedule.latest_epoch(slots[3].timestamp()) == slots[3].timestamp()
    assert schedule.next_epoch(slots[3].timestamp()) == slots[4].timestamp()
    assert schedule.gated
    assert schedule.line == "17 * * * *"


@pytest.mark.parametrize(
    ("every", "line"),
    [(7 * 3600, "5 * * * *"), (5400, "5,35 * * * *"), (45 * 60, "5,20,35,50 * * * *"), (7 * 60, "* * * * *")],
)
def test_the_line_of_an_odd_interval_starts_at_every_slot(every: int, line: str) -> None:
    schedule = Schedule("* * * * *", every, 5 * 60)
    assert schedule.line == line


def test_half_hour_zones_turn_the_minute_of_an_odd_interval(system_zone: Callable[[str], None]) -> None:
    system_zone("Asia/Kolkata")
    assert Schedule("* * * * *", 7 * 3600, 5 * 60).line == "35 * * * *"
    system_zone("Australia/Lord_Howe")
    assert Schedule("* * * * *", 7 * 3600, 5 * 60).line == "5,35 * * * *"


def test_every_other_day_is_every_other_day_across_months() -> None:
    schedule = Schedule("41 4 * * *", 2 * 86400, 86400)
    slots = list(schedule.slots(utc("2026-01-25"), utc("2026-02-10")))
    assert {later - sooner for sooner, later in itertools.pairwise(slots)} == {timedelta(days=2)}
    assert schedule.gated
    assert schedule.line == "41 4 * * *"
    assert schedule.latest_epoch(slots[2].timestamp() + 30 * 3600) == slots[2].timestamp()
    assert schedule.next_epoch(slots[2].timestamp()) == slots[3].timestamp()


def test_the_same_zone_needs_no_other_line(system_zone: Callable[[str], None]) -> None:
    system_zone("Europe/Madrid")
    schedule = Schedule("30 9 * * 1-5", timezone="Europe/Paris")
    assert (schedule.line, schedule.gated) == ("30 9 * * 1-5", False)


def test_another_zone_has_all_its_possible_times_on_the_line(system_zone: Callable[[str], None]) -> None:
    system_zone("UTC")
    schedule = Schedule("30 9 * * 1-5", timezone="Europe/Madrid")
    assert (schedule.line, schedule.gated) == ("30 7,8 * * 1-5", True)
    # Midnight is passed on the way, and with it the day of the week.
    assert Schedule("30 0 * * 1", timezone="Europe/Madrid").line == "30 22,23 * * *"
    assert Schedule("0 9 * * *", timezone="Asia/Kolkata").line == "30 3 * * *"
    hourly = Schedule("17 * * * *", timezone="Europe/Madrid")
    assert (hourly.line, hourly.gated) == ("17 * * * *", False)


@pytest.mark.parametrize("here", ["UTC", "Europe/Madrid", "Asia/Kolkata", "Australia/Lord_Howe"])
@pytest.mark.parametrize("there", ["America/New_York", "Asia/Kathmandu", "Pacific/Auckland"])
def test_the_line_starts_at_each_slot_of_the_other_zone(
    here: str, there: str, system_zone: Callable[[str], None]
) -> None:
    system_zone(here)
    schedule = Schedule("10,50 0,9,20 * * *", timezone=there)
    lines = Schedule(schedule.line)
    start = datetime.now(UTC).replace(month=7, day=1, hour=0, minute=0, second=0, microsecond=0)
    slots = set(schedule.slots(start, start + timedelta(days=20)))
    assert slots <= set(lines.slots(start, start + timedelta(days=20)))


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (Schedule("* * * * *", 60), "every minute"),
        (Schedule("5,25,45 * * * *", 1200), "every 20 min"),
        (Schedule("17 * * * *", 3600), "hourly at :17"),
        (Schedule("17 1,4,7,10,13,16,19,22 * * *", 10800), "every 3 h at :17"),
        (Schedule("41 4 * * *", 86400), "daily at 04:41"),
        (Schedule("41 4 * * 1", 604800), "weekly on Monday at 04:41"),
        (Schedule("17 * * * *", 25200, 1020), "every 7 h, checked hourly"),
        (Schedule("17,47 * * * *", 5400, 1020), "every 90 min, checked every 30 min"),
        (Schedule("41 4 * * *", 172800), "every 2 d at 04:41, checked daily"),
        (Schedule("41 4 * * 3", 1209600, 86400 * 6), "every 2 weeks on Wednesday at 04:41, checked weekly"),
        (Schedule("30 9,17 * * 1-5"), "Monday to Friday at 09:30, 17:30"),
        (Schedule("0 4 1 * *"), "monthly on day 1 at 04:00"),
        (Schedule("0 4 * * *", timezone="Europe/Madrid"), "daily at 04:00 (Europe/Madrid)"),
        (Schedule("0,7 1-9 * 5 *"), "0,7 1-9 * 5 *"),
        (Schedule("0 4 13 * 5"), "0 4 13 * 5"),
        (Schedule("0,10,20,30 * * * *"), "0,10,20,30 * * * *"),
        (Schedule("@reboot"), "at boot"),
    ],
)
def test_a_schedule_reads_as_words(schedule: Schedule, text: str) -> None:
    assert schedule.words() == text


def _field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    step = st.tuples(st.one_of(st.just("*"), span), st.integers(1, high)).map(lambda pair: f"{pair[0]}/{pair[1]}")
    item = st.one_of(number.map(str), span, step)
    return st.one_of(st.just("*"), step, st.lists(item, min_size=1, max_size=4).map(",".join))


@given(_field(0, 59), _field(0, 23), _field(1, 12))
@settings(deadline=None, derandomize=True)
def test_normalising_changes_no_meaning_and_nothing_twice(minute: str, hour: str, month: str) -> None:
    text = normalised(f"{minute} {hour} * {month} *")
    assert normalised(text) == text
    written = text.split(" ")
    for place, field, high in ((0, minute, 59), (1, hour, 23), (3, month, 12)):
        low = 1 if place == 3 else 0
        assert set(values(written[place], place)) == _meaning(field, low, high)


def _meaning(field: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for item in field.split(","):
        span, _, step = item.partition("/")
        first, _, last = span.partition("-")
        start, end = (low, high) if first == "*" else (int(first), int(last or first))
        found |= set(range(start, end + 1, int(step or 1)))
    return found


@pytest.mark.parametrize(
    ("system", "cron", "expected"),
    [
        ("Asia/Tokyo", "30 2 * * *", "0,30 9,10 * * *"),
        ("Asia/Tokyo", "0 4 * * *", "0 11,12 * * *"),
        ("Asia/Tokyo", "30 * * * *", "30 * * * *"),
        # It is Saturday evening there.
        ("America/Los_Angeles", "30 2 * * 0", "0,30 17,18 * * *"),
        # Cron itself makes up for what is skipped in the same moment.
        ("Europe/Lisbon", "30 2 * * *", "30 1 * * *"),
    ],
)
def test_the_line_in_another_zone_looks_when_a_skipped_time_is_made_up(
    system: str, cron: str, expected: str, system_zone: Callable[[str], None]
) -> None:
    system_zone(system)
    assert Schedule(cron, timezone="Europe/Madrid").line == expected
