"""This machine's load, memory and disk: sampled, summed up by hour, told when beyond a limit."""

from __future__ import annotations

import json
import os
import statistics
import time

import pytest

SAMPLE = "host/sample.yml"
SUMMARY = "host/summary.yml"
ALERT = "host/alert.yml"


@pytest.fixture
def host(data):
    """The folder of the results, made before any flow does."""
    folder = data / "host"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def samples(host):
    """Write samples, (time, load, memory, disk), into the file of a month."""

    def write(month, rows):
        lines = [f"{time}+00:00,1,{load},1,2,4000,{memory},9000,{disk}" for time, load, memory, disk in rows]
        header = "time,load1,load5,load15,cores,memory_mb,memory_percent,disk_mb,disk_percent"
        (host / f"samples-{month}.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")

    return write


@pytest.fixture
def latest(host):
    """Write the newest sample."""

    def write(time_text="2026-11-21T05:00:00+00:00", age=60, **values):
        sample = {"time": time_text, "measured": time.time() - age, "load5": 1.0, "cores": 2}
        sample |= {"memory_percent": 50, "disk_percent": 50, **values}
        (host / "latest.json").write_text(json.dumps(sample), encoding="utf-8")

    return write


def test_a_sample_is_what_this_machine_says_of_itself(run_task, data, table):
    run = run_task(SAMPLE, "2026-11-21T05:05")
    assert run.status == "success"
    (row,) = table(data / "host/samples-2026-11.csv")
    assert row["time"] == "2026-11-21T05:05:00+00:00"
    assert int(row["cores"]) == len(os.sched_getaffinity(0))
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert int(row["memory_mb"]) == pytest.approx(pages / 2**20, rel=0.05)
    disk = os.statvfs("/")
    assert int(row["disk_mb"]) == pytest.approx(disk.f_blocks * disk.f_frsize / 2**20, rel=0.01)
    assert float(row["load5"]) >= 0
    assert 0 < float(row["memory_percent"]) <= 100
    assert 0 <= float(row["disk_percent"]) <= 100
    newest = json.loads((data / "host/latest.json").read_text(encoding="utf-8"))
    assert {name: str(value) for name, value in newest.items() if name != "measured"} == row
    assert newest["measured"] == pytest.approx(time.time(), abs=60)


def test_samples_are_added_once_a_slot_and_each_month_has_its_file(run_task, data, table):
    for slot in ("2026-11-30T23:50", "2026-11-30T23:55", "2026-11-30T23:55", "2026-12-01T00:00"):
        run_task(SAMPLE, slot)
    times = {path.name: [row["time"][:16] for row in table(path)] for path in data.glob("host/*.csv")}
    assert times == {
        "samples-2026-11.csv": ["2026-11-30T23:50", "2026-11-30T23:55"],
        "samples-2026-12.csv": ["2026-12-01T00:00"],
    }


def test_the_disk_is_a_parameter_that_no_shell_reads(run_task, tmp_path):
    folder = tmp_path / "a disk; $(exit 3) 'x'"
    folder.mkdir()
    assert run_task(SAMPLE, disk=str(folder)).status == "success"
    missing = run_task(SAMPLE, disk=str(folder / "none"))
    assert missing.status == "failed"
    assert "No such file or directory" in missing.message


def test_a_flow_that_others_may_write_runs_no_program_unless_it_is_allowed(run_task, tasks, data):
    (tasks / SAMPLE).chmod(0o666)
    refused = run_task(SAMPLE)
    assert refused.status == "failed"
    assert "allow: [shell]" in refused.message
    data.mkdir(exist_ok=True)
    (data / "config.yml").write_text("allow: [shell]\n", encoding="utf-8")
    assert run_task(SAMPLE).status == "success"


def test_hours_that_are_over_are_summed_up(run_task, samples, host, table):
    rows = [(f"2026-11-21T{n // 12:02}:{n % 12 * 5:02}:00", n % 7 / 4, 40 + n % 5, 60 + n / 10) for n in range(30)]
    samples("2026-11", rows)
    assert run_task(SUMMARY, "2026-11-21T02:30").status == "success"
    found = table(host / "hours.csv")
    assert [row["hour"] for row in found] == ["2026-11-21T00:00", "2026-11-21T01:00"]
    for row in found:
        _, loads, memory, disk = zip(*(each for each in rows if each[0][:13] == row["hour"][:13]), strict=True)
        assert row["samples"] == "12"
        expected = [statistics.fmean(loads), max(loads), statistics.fmean(memory), max(memory), max(disk)]
        names = ("load_mean", "load_max", "memory_mean", "memory_max", "disk_max")
        assert [float(row[name]) for name in names] == pytest.approx(expected, abs=0.00501)


def test_a_slot_that_is_run_again_adds_nothing_and_a_later_one_what_is_new(run_task, samples, host, table):
    samples("2026-11", [(f"2026-11-21T{hour:02}:10:00", 1, 50, 50) for hour in range(4)])
    run_task(SUMMARY, "2026-11-21T02:30")
    before = (host / "hours.csv").read_bytes()
    run_task(SUMMARY, "2026-11-21T02:30")
    assert (host / "hours.csv").read_bytes() == before
    # The runs of two hours were missed.
    run_task(SUMMARY, "2026-11-21T05:30")
    assert (host / "hours.csv").read_bytes().startswith(before)
    assert [row["hour"][11:] for row in table(host / "hours.csv")] == ["00:00", "01:00", "02:00", "03:00"]


def test_the_last_hours_of_a_month_are_summed_up_in_the_next(run_task, samples, host, table):
    samples("2026-12", [("2026-12-31T22:10:00", 1, 50, 50), ("2026-12-31T23:10:00", 2, 50, 50)])
    samples("2027-01", [("2027-01-01T00:10:00", 3, 50, 50), ("2027-01-01T01:10:00", 4, 50, 50)])
    assert run_task(SUMMARY, "2027-01-01T01:30").status == "success"
    loads = [(row["hour"], row["load_max"]) for row in table(host / "hours.csv")]
    assert loads == [("2026-12-31T22:00", "1"), ("2026-12-31T23:00", "2"), ("2027-01-01T00:00", "3")]


def test_without_finished_hours_the_summary_ends_early(run_task, samples, host):
    assert run_task(SUMMARY, "2026-11-21T02:30").status == "exit"
    samples("2026-11", [("2026-11-21T02:10:00", 1, 50, 50)])
    run = run_task(SUMMARY, "2026-11-21T02:30")
    assert run.status == "exit"
    assert "host/sample.yml collects them" in run.message
    assert not (host / "hours.csv").exists()


def test_a_broken_file_of_samples_fails_the_summary(run_task, host):
    (host / "samples-2026-11.csv").write_text("time,load5\n2026-11-21T02:10:00,high\n", encoding="utf-8")
    run = run_task(SUMMARY, "2026-11-21T04:30")
    assert run.status == "failed"
    assert "host/samples-2026-11.csv" in run.message


def test_each_limit_that_is_passed_is_told_once_a_sample(run_task, latest, host, table):
    latest(load5=5.0, memory_percent=95.5, disk_percent=90)
    run = run_task(ALERT)
    assert run.status == "success"
    expected = [("load per core", "2.5", "2"), ("memory %", "95.5", "90")]
    assert [(row["what"], row["value"], row["limit"]) for row in table(host / "alerts.csv")] == expected
    assert "load per core" in run.log
    again = run_task(ALERT)
    assert again.status == "exit"
    assert len(table(host / "alerts.csv")) == 2
    latest("2026-11-21T05:15:00+00:00", disk_percent=99)
    assert run_task(ALERT).status == "success"
    assert [row["what"] for row in table(host / "alerts.csv")] == ["load per core", "memory %", "disk %"]


def test_within_the_limits_the_alert_flow_ends_early(run_task, latest, host):
    latest()
    run = run_task(ALERT)
    assert run.status == "exit"
    assert "load 1 on 2 cores, memory 50 %, disk 50 %" in run.message.replace("1.0", "1")
    assert not (host / "alerts.csv").exists()


@pytest.mark.parametrize("name", ["load_per_core", "memory_percent", "disk_percent"])
def test_a_limit_is_a_parameter(name, run_task, latest, host, table):
    latest()
    assert run_task(ALERT, **{name: "0.4"}).status == "success"
    (row,) = table(host / "alerts.csv")
    assert row["limit"] == "0.4"


def test_samples_that_stay_away_are_told(run_task, latest, host, table):
    latest(age=45 * 60)
    assert run_task(ALERT).status == "success"
    (row,) = table(host / "alerts.csv")
    assert row["what"] == "minutes since the sample"
    assert float(row["value"]) == pytest.approx(45, abs=1)
    assert run_task(ALERT).status == "exit"


def test_without_a_sample_the_alert_flow_says_what_it_waits_for(run_task):
    run = run_task(ALERT)
    assert run.status == "exit"
    assert "host/sample.yml writes it" in run.message


def test_the_flows_fit_each_other(run_task, data, table):
    for slot in ("2026-11-21T05:05", "2026-11-21T05:10"):
        run_task(SAMPLE, slot)
    assert run_task(ALERT, "2026-11-21T05:15", disk_percent="0").status == "success"
    assert run_task(SUMMARY, "2026-11-21T06:01").status == "success"
    (hour,) = table(data / "host/hours.csv")
    assert (hour["hour"], hour["samples"]) == ("2026-11-21T05:00", "2")
    assert table(data / "host/alerts.csv")[0]["time"] == "2026-11-21T05:10:00+00:00"
