"""Temperatures: checked, summed up, replayed slot by slot; days outside the usual range."""

from __future__ import annotations

import csv
import hashlib
import json
import statistics
from collections import defaultdict
from dataclasses import replace
from xml.etree import ElementTree

import pytest

SUMMARY = "weather/summary.yml"
ALERT = "weather/alert.yml"
RECORD = "weather/seattle-temps.csv"


@pytest.fixture(scope="session")
def hours(shipped):
    """The record, read by other means: (`2010-01-31 23:00`, °C)."""
    with (shipped / RECORD).open(encoding="ascii", newline="") as file:
        return [(row["date"].replace("/", "-"), (float(row["temp"]) - 32) * 5 / 9) for row in csv.DictReader(file)]


def sums(hours, until, length):
    """Hours, lowest, mean and highest by the first `length` characters of the time."""
    groups = defaultdict(list)
    for time, celsius in hours:
        if time <= until:
            groups[time[:length]].append(celsius)
    return {key: (len(each), min(each), statistics.fmean(each), max(each)) for key, each in groups.items()}


def assert_sums(rows, column, expected):
    assert [row[column] for row in rows] == list(expected)
    for row, (count, *values) in zip(rows, expected.values(), strict=True):
        assert int(row["hours"]) == count
        found = [float(row[name]) for name in ("min_c", "mean_c", "max_c")]
        # Rounded to the hundredth.
        assert found == pytest.approx(values, abs=0.00501), row[column]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def rewrite(path, change):
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


def test_the_record_is_the_one_that_its_origin_describes(shipped):
    content = (shipped / RECORD).read_bytes()
    assert hashlib.sha256(content).hexdigest() in (shipped / "weather/ORIGIN.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("slot", "until", "months"),
    [
        ("2026-11-21T05:17", "2010-11-21 05:00", 11),
        ("2026-12-31T23:00", "2010-12-31 23:00", 12),
        ("2027-01-01T00:00", "2010-01-01 00:00", 1),
        ("2028-02-29T12:00", "2010-02-28 23:00", 2),
    ],
)
def test_days_and_months_are_those_of_the_hours_up_to_the_slot(slot, until, months, run_task, hours, data, table):
    run = run_task(SUMMARY, slot)
    assert run.status == "success"
    assert_sums(table(data / "weather/months.csv"), "month", sums(hours, until, 7))
    assert_sums(table(data / "weather/days.csv"), "day", sums(hours, until, 10))
    assert len(table(data / "weather/months.csv")) == months
    stands_for = json.loads((data / "weather/summary.json").read_text(encoding="utf-8"))
    assert stands_for["slot"] == slot
    assert stands_for["until"] == until.replace(" ", "T")


def test_the_one_hour_that_the_record_lacks_is_counted(run_task):
    assert run_task(SUMMARY, "2026-03-14T02:59").result["checks"]["gaps"] == 0
    after = run_task(SUMMARY, "2026-03-14T04:00").result["checks"]
    assert after == {"rows": 1732, "used": 1732, "missing": 0, "implausible": 0, "doubled": 0, "gaps": 1}


def test_a_slot_that_is_run_again_changes_nothing(run_task, data):
    run_task(SUMMARY, "2026-01-20T05:00")
    before = contents(data / "weather")
    assert run_task(SUMMARY, "2026-01-20T05:00").status == "success"
    assert contents(data / "weather") == before


def test_a_later_slot_adds_to_the_results(run_task, data, table):
    run_task(SUMMARY, "2026-01-31T05:00")
    before = table(data / "weather/days.csv")
    run_task(SUMMARY, "2026-01-31T06:00")
    same_day = table(data / "weather/days.csv")
    assert same_day[:-1] == before[:-1]
    assert (before[-1]["hours"], same_day[-1]["hours"]) == ("6", "7")
    run_task(SUMMARY, "2026-02-01T00:00")
    assert [row["day"] for row in table(data / "weather/days.csv")][-2:] == ["2010-01-31", "2010-02-01"]
    assert [row["month"] for row in table(data / "weather/months.csv")] == ["2010-01", "2010-02"]


def test_the_results_stand_for_the_newest_slot_unless_told_to_go_back(run_task, data):
    run_task(SUMMARY, "2026-01-20T05:00")
    earlier = contents(data / "weather")
    run_task(SUMMARY, "2026-01-21T05:00")
    newest = contents(data / "weather")
    late = run_task(SUMMARY, "2026-01-20T05:00")
    assert late.status == "exit"
    assert "already those of 2026-01-21T05:00" in late.message
    assert contents(data / "weather") == newest
    assert run_task(SUMMARY, "2026-01-20T05:00", rewind="yes").status == "success"
    assert contents(data / "weather") == earlier


def test_a_new_year_begins_anew(run_task, data, table):
    run_task(SUMMARY, "2026-02-01T05:00")
    run_task(SUMMARY, "2027-01-01T01:00")
    assert [(row["day"], row["hours"]) for row in table(data / "weather/days.csv")] == [("2010-01-01", "2")]


def test_results_that_were_lost_are_made_again_by_the_same_slot(run_task, data):
    run_task(SUMMARY, "2026-01-20T05:00")
    before = contents(data / "weather")
    (data / "weather/days.csv").unlink()
    run_task(SUMMARY, "2026-01-20T05:00")
    assert contents(data / "weather") == before


def test_the_clock_is_that_of_the_workspaces_zone(run_task, settings):
    there = replace(settings, environment={**settings.environment, "TIMEZONE": "America/Los_Angeles"})
    assert run_task(SUMMARY, "2026-01-02T03:00", there).result["signature"]["until"] == "2010-01-02T03:00"


def test_the_report_has_the_months_a_chart_and_the_checks(run_task, data):
    run_task(SUMMARY, "2026-04-05T06:00")
    report = (data / "weather/report.md").read_text(encoding="utf-8")
    assert "up to 2010-04-05 06:00" in report
    assert "| 2010-02 | 672 | 3.8 | 6.1 | 9.8 |" in report
    assert sum(line.startswith("2010-0") and "●" in line for line in report.splitlines()) == 4
    assert "2262 of 2262 rows are used; 1 hour has no row." in report
    assert "](months.svg)" in report
    picture = ElementTree.fromstring((data / "weather/months.svg").read_bytes())
    assert len(picture.findall(".//{http://www.w3.org/2000/svg}circle")) == 4


def test_hours_that_cannot_be_used_are_counted_and_left_out(run_task, tasks, data, table):
    def spoil(text):
        lines = text.splitlines()[:49]
        lines[3] = "2010/01/01 02:00,"
        lines[4] = "2010/01/01 03:00,999"
        del lines[5]
        return "\n".join([*lines, "2010/01/01 00:00,100", "2010/01/01 02:00,41", ",40", "2010/01/01 03:00,-300"])

    rewrite(tasks / RECORD, spoil)
    run = run_task(SUMMARY, "2026-01-31T00:00")
    assert run.result["checks"] == {
        "rows": 51,
        "used": 46,
        "missing": 1,
        "implausible": 1,
        "doubled": 3,
        "gaps": 1,
    }
    first, second = table(data / "weather/days.csv")
    # 02:00 has its value from the second row for it; 03:00 has none in either; 00:00 keeps that of its first row.
    assert (first["hours"], second["hours"]) == ("22", "24")
    assert float(first["max_c"]) == pytest.approx((43.5 - 32) / 1.8, abs=0.005)
    report = (data / "weather/report.md").read_text(encoding="utf-8")
    assert "3 rows are for an hour that has one already" in report


def test_what_is_plausible_is_a_parameter(run_task):
    checks = run_task(SUMMARY, "2026-01-10T00:00", coldest="4").result["checks"]
    assert 0 < checks["implausible"] < checks["rows"] / 2
    assert checks["used"] + checks["implausible"] == checks["rows"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"", "empty, not even a header"),
        (b"date,temp\n", "seattle-temps.csv has no rows"),
        (b"time,temp\n2010/01/01 00:00,39.4\n", "column 'date' not found"),
        (
            b"date,temp\n2010/01/01 00:00,39.4\n2010/01/01 01:00,warm\n",
            "row 3, column 'temp': 'warm' is not a valid number",
        ),
        (b"date,temp\n2010/01/01 00:00,39.4\n2010/02/30 01:00,39\n", "row 3, column 'date'"),
        (b"date,temp\n2010/01/01 00:00\n", "row 2 has 1 cells, the header 2"),
        (b"date,temp\n2010/01/01 00:00,\n2010/01/01 01:00,\n", "only 0 of 2 rows are valid"),
        (b"date,temp\n\xff\xfe,1\n", "not UTF-8"),
    ],
)
def test_a_broken_record_fails_the_run_and_leaves_the_results(content, message, run_task, tasks, data):
    run_task(SUMMARY, "2026-01-02T00:00")
    before = contents(data / "weather")
    if content is None:
        (tasks / RECORD).unlink()
    else:
        (tasks / RECORD).write_bytes(content)
    run = run_task(SUMMARY, "2026-01-03T00:00")
    assert run.status == "failed"
    assert "seattle-temps.csv" in run.message
    assert message in run.message
    assert contents(data / "weather") == before


def unusual(hours, until, days, factor):
    """(day, `warm` or `cold`) of the finished days that lie outside, worked out by other means."""
    means = [(day, round(values[2], 2)) for day, values in sums(hours, until, 10).items()]
    if not until.endswith("23:00"):
        means.pop()
    found = []
    for index in range(days, len(means)):
        before = [mean for _, mean in means[index - days : index]]
        away = means[index][1] - statistics.fmean(before)
        if abs(away) > factor * statistics.stdev(before):
            found.append((means[index][0], "warm" if away > 0 else "cold"))
    return found


@pytest.mark.parametrize(("days", "factor"), [(10, 3.0), (7, 2.5)])
def test_alerts_are_the_finished_days_outside_the_range_of_those_before(days, factor, run_task, hours, data, table):
    run_task(SUMMARY, "2026-10-30T12:00")
    run = run_task(ALERT, "2026-10-30T12:30", days=str(days), factor=str(factor))
    assert run.status == "success"
    rows = table(data / "weather/alerts.csv")
    assert [(row["day"], row["what"]) for row in rows] == unusual(hours, "2010-10-30 12:00", days, factor)
    for row in rows:
        low, mean, high = (float(row[name]) for name in ("usual_from_c", "mean_c", "usual_to_c"))
        # Rounded, a mean just outside may look as if it were the limit itself.
        assert mean >= high if row["what"] == "warm" else mean <= low
        assert row["day"] in run.log


def test_an_alert_is_told_once_and_nothing_new_ends_the_run_early(run_task, data, table):
    run_task(SUMMARY, "2026-02-05T12:00")
    assert run_task(ALERT, "2026-02-05T12:30").status == "success"
    before = (data / "weather/alerts.csv").read_bytes()
    again = run_task(ALERT, "2026-02-05T12:30")
    assert again.status == "exit"
    assert "no unusual day up to 2010-02-05" in again.message
    assert (data / "weather/alerts.csv").read_bytes() == before
    # The 5th is judged once it is over.
    run_task(SUMMARY, "2026-02-05T23:00")
    assert run_task(ALERT, "2026-02-05T23:30").status == "success"
    assert (data / "weather/alerts.csv").read_bytes().startswith(before)
    assert [row["day"] for row in table(data / "weather/alerts.csv")][-1] == "2010-02-05"


def test_a_day_of_a_few_hours_is_not_judged(run_task, data):
    (data / "weather").mkdir(parents=True)
    usual = [f"2010-01-{day:02},24,{4 + day % 2},23:00" for day in range(1, 15)]
    rows = ["day,hours,mean_c,last_hour", *usual, "2010-01-15,5,-9,23:00", "2010-01-16,24,4.5,23:00"]
    (data / "weather/days.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    assert run_task(ALERT).status == "exit"


def test_without_a_summary_the_alert_flow_says_what_it_waits_for(run_task):
    run = run_task(ALERT)
    assert run.status == "exit"
    assert "weather/summary.yml writes it" in run.message


def test_a_broken_table_of_days_fails_the_alert_flow(run_task, data):
    (data / "weather").mkdir(parents=True)
    (data / "weather/days.csv").write_text("day,hours,mean_c\n2010-01-01,24,mild\n", encoding="utf-8")
    run = run_task(ALERT)
    assert run.status == "failed"
    assert "weather/days.csv: row 2, column 'mean_c': 'mild' is not a valid number" in run.message


@pytest.mark.parametrize(("name", "value"), [("days", "2"), ("factor", "0"), ("days", "many")])
def test_a_parameter_that_cannot_be_is_refused(name, value, run_task, data):
    run = run_task(ALERT, **{name: value})
    assert (run.status, run.outcome.run.reason) == ("failed", "refused")
    assert name in run.message
