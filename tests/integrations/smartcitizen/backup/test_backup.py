"""A device is backed up month by month and comes back as it was."""

from __future__ import annotations

import csv
import json
import os
import time

import pyarrow.parquet
import pytest

from scflows.integrations.smartcitizen.demo.faults import Fault
from tests.integrations.smartcitizen.backup.conftest import DEVICE, SENSORS, at

pytestmark = pytest.mark.language("§10 device_backup", "§10 device_restore")


def stored(kit, begin="2000-01-01", end="2100-01-01", sensors=SENSORS):
    """What the platform has: (time, sensor, value) by sensor, then time."""
    return [
        (time, sensor, kit.value(sensor, time))
        for sensor in sensors
        for time in kit.series(sensor, at("2021-05-01")).times(at(begin), at(end) - 1)
    ]


def parquet(path):
    table = pyarrow.parquet.read_table(path)
    times = [time.timestamp() for time in table["time"].to_pylist()]
    return list(zip(times, table["sensor_id"].to_pylist(), table["value"].to_pylist(), strict=True))


def files(workspace):
    top = workspace / "data" / "backup" / "devices" / str(DEVICE)
    return {path.name: path for path in top.iterdir()} if top.exists() else {}


def manifest(workspace, period):
    return json.loads(files(workspace)[f"{period}.json"].read_text())


def test_each_month_is_one_file_and_all_of_them_are_what_the_platform_has(run, kit, workspace, platform):
    ended = run("backup")
    assert (ended["status"], ended["reason"]) == ("success", "BACKUP_DONE"), ended
    kept = []
    for period, begin, end in (("2021-01", "2000-01-01", "2021-02-01"), ("2021-02", "2021-02-01", "2021-03-01")):
        told = manifest(workspace, period)
        rows = parquet(workspace / "data" / "backup" / told["file"])
        assert rows == stored(kit, begin, end)
        assert told["rows"] == len(rows)
        assert told["is_whole"]
        kept += rows
    assert manifest(workspace, "2021-02")["sensors"]["87"]["rows"] == 0
    march = manifest(workspace, "2021-03")
    assert not march["is_whole"]
    kept += parquet(workspace / "data" / "backup" / march["file"])
    assert sorted(kept) == sorted(stored(kit))
    assert ended["data"]["backup"]["rows"] == len(kept)


def test_more_readings_than_one_answer_has_are_asked_for_until_there_are_none(run, kit, workspace, platform):
    kit.interval, kit.sensors = 60, (55,)
    run("backup", again="2021-02")
    told = manifest(workspace, "2021-02")
    assert told["sensors"]["55"]["rows"] == 28 * 1440 > 4 * 10_000
    assert parquet(workspace / "data" / "backup" / told["file"]) == stored(kit, "2021-02-01", "2021-03-01", kit.sensors)


def test_nothing_is_asked_for_twice_until_the_device_has_sent_something(run, kit, workspace, platform):
    run("backup")
    platform.requests.clear()
    before = {name: path.read_bytes() for name, path in files(workspace).items()}
    ended = run("backup")
    assert (ended["status"], ended["reason"]) == ("exit", "NO_NEW_DATA")
    assert len(platform.requests) == 1
    assert {name: path.read_bytes() for name, path in files(workspace).items()} == before


def test_a_device_that_was_silent_for_months_goes_on_with_what_it_had_kept_for_itself(run, kit, workspace, platform):
    run("backup")
    old = manifest(workspace, "2021-03")["file"]
    kit.added = {55: {at("2021-03-28T10:00:00"): 1.5, at("2021-07-02T00:00:00"): 2.5, at("2021-08-01"): 3.5}}
    ended = run("backup")
    assert (ended["status"], ended["reason"]) == ("success", "BACKUP_DONE")
    assert [each["period"] for each in ended["data"]["backup"]["pieces"]] == [
        "2021-03",
        "2021-04",
        "2021-05",
        "2021-06",
        "2021-07",
        "2021-08",
    ]
    march = manifest(workspace, "2021-03")
    assert march["is_whole"]
    assert (at("2021-03-28T10:00:00"), 55, 1.5) in parquet(workspace / "data" / "backup" / march["file"])
    assert manifest(workspace, "2021-04")["file"] is None
    assert manifest(workspace, "2021-07")["rows"] == 1
    assert not os.path.exists(workspace / "data" / "backup" / old)


def test_a_period_without_readings_is_done_with_and_says_so(run, kit, workspace, platform):
    kit.added = {55: {at("2021-08-01"): 3.5}}
    run("backup", again="2021-06")
    ended = run("backup", again="2021-06")
    assert (ended["status"], ended["reason"]) == ("exit", "EMPTY_DATA")
    assert manifest(workspace, "2021-06")["rows"] == 0


def test_a_device_that_never_published_has_no_data(run, kit, platform, workspace):
    kit.has_published = False
    ended = run("backup")
    assert (ended["status"], ended["reason"]) == ("exit", "NO_NEW_DATA")
    assert files(workspace) == {}


def test_a_fault_leaves_the_state_where_it_was_and_the_next_run_goes_on(run, kit, workspace, platform):
    platform.faults.add(Fault("/readings", skip=8))
    ended = run("backup")
    assert (ended["status"], ended["reason"]) == ("failed", "BACKUP_FAILED")
    assert "500" in ended["message"]
    assert "2021-01.json" in files(workspace)
    assert "2021-02.json" not in files(workspace)
    assert json.loads(files(workspace)["state.json"].read_text())["next"] == "2021-02-01T00:00:00Z"
    platform.faults.clear()
    platform.requests.clear()
    ended = run("backup")
    assert [each["period"] for each in ended["data"]["backup"]["pieces"]] == ["2021-02", "2021-03"]
    assert not any("from=1970" in each["path"] for each in platform.requests)


@pytest.mark.parametrize("how", ["not-json", "cut", "drop"])
def test_no_half_answer_becomes_a_backup(run, platform, workspace, how):
    platform.faults.add(Fault("/readings", how=how))
    assert run("backup")["reason"] == "BACKUP_FAILED"
    assert set(files(workspace)) <= {"device.json"}


def test_a_sensor_that_the_storage_does_not_find_fails_the_backup(run, kit, workspace):
    kit.failing = (55,)
    ended = run("backup")
    assert ended["reason"] == "BACKUP_FAILED"
    assert "sensor 55" in ended["message"]
    assert set(files(workspace)) <= {"device.json"}


def test_a_run_ends_after_so_many_periods_and_the_next_one_takes_the_rest(run_flow, server, settings, kit, workspace):
    kit.added = {55: {at("2021-12-15"): 1.0}}
    flow = f"steps: [{{name: b, type: device_backup, device_backup: {{id: '{DEVICE}', max_periods: 5}}}}]"
    from scflows.settings import read_settings

    used = read_settings(str(workspace), {**settings.environment, **server.settings})
    ends = []
    while not ends or ends[-1][0] != "NO_NEW_DATA":
        ended = run_flow(flow, settings=used)
        ends.append(
            (ended.reason, len([name for name in files(workspace) if name.startswith("2021-") and ".json" in name]))
        )
    # Of the months from June to October there is nothing, which is no reason to stop.
    assert ends == [("BACKUP_DONE", 5), ("EMPTY_DATA", 10), ("BACKUP_DONE", 12), ("NO_NEW_DATA", 12)]


def test_a_run_that_was_killed_before_it_noted_its_state_is_done_again_with_the_same_end(run, workspace):
    run("backup")
    before = {name: path.read_bytes() for name, path in files(workspace).items()}
    files(workspace)["state.json"].unlink()
    assert run("backup")["reason"] == "BACKUP_DONE"
    assert {name: path.read_bytes() for name, path in files(workspace).items()} == before


def test_a_period_that_is_not_over_is_not_taken(run, kit, platform, workspace):
    now = int(time.time())
    kit.first, kit.last = now - 2 * 3600, None
    platform.clock = lambda: now
    ended = run("backup")
    assert (ended["status"], ended["reason"]) == ("exit", "NO_NEW_DATA")
    assert "after the period ends" in ended["message"]
    assert files(workspace) == {}


def test_what_has_gone_from_the_platform_stays_in_the_backup(run, kit, workspace):
    run("backup")
    before = manifest(workspace, "2021-02")
    kit.holes[55] = ((at("2021-02-01"), at("2021-02-20")),)
    kit.added = {10: {at("2021-02-03T00:00:01"): 7.0}}
    assert run("backup", again="2021-02")["reason"] == "BACKUP_DONE"
    after = manifest(workspace, "2021-02")
    assert after["sensors"]["55"]["rows"] == before["sensors"]["55"]["rows"]
    assert after["sensors"]["10"]["rows"] == before["sensors"]["10"]["rows"] + 1


def test_no_token_is_in_a_backup_a_log_or_a_record(run, workspace, environment, tmp_path):
    run("backup")
    device = files(workspace)["device.json"].read_text()
    assert json.loads(device)["name"] == f"Demo kit {DEVICE} (plain)"
    for path in [*files(workspace).values(), *(tmp_path / "cache").rglob("*"), *(tmp_path / "state").rglob("*")]:
        if path.is_file():
            content = path.read_bytes()
            assert b"demo-admin-token" not in content, path
            assert f"demo-token-{DEVICE}".encode() not in content, path


def test_a_reading_that_is_no_number_is_kept_as_null_and_told(run, kit, workspace, platform):
    kit.last = at("2021-02-02")
    odd = [at("2021-01-15"), at("2021-01-16"), at("2021-01-17"), at("2021-01-18")]
    kit.added[55] = dict(zip(odd, ("NaN", True, 10**400, None), strict=True))
    rolled = platform.readings

    def as_they_are(kit, query):
        answer = rolled(kit, {**query, "function": "count"}) if query["sensor_id"] == "55" else rolled(kit, query)
        for each in answer["readings"]:
            each[1] = kit.added[55].get(at(each[0][:-1]), 1.0)
        return answer

    platform.readings = as_they_are
    ended = run("backup")
    assert (ended["status"], ended["reason"]) == ("success", "BACKUP_DONE"), ended
    assert "3 values that are not numbers are stored as null" in ended["message"]
    assert [each["odd"] for each in ended["data"]["backup"]["pieces"]] == [3, 0]
    told = manifest(workspace, "2021-01")
    assert told["sensors"]["55"]["nulls"] == 4
    rows = parquet(workspace / "data" / "backup" / told["file"])
    assert [time for time, _, value in rows if value is None] == odd
    assert run("restore", period="2021-01")["status"] == "success"


def test_a_dry_run_asks_and_writes_nothing(run, platform, workspace):
    assert run("backup", dry_run=True)["status"] == "success"
    assert platform.requests == []
    assert files(workspace) == {}


def test_a_month_comes_back_as_csv_and_parquet_with_the_values_it_had(run, kit, workspace):
    run("backup")
    ended = run("restore", period="2021-02")
    assert ended["status"] == "success", ended
    wanted = stored(kit, "2021-02-01", "2021-03-01")
    path = workspace / "data" / "restored" / f"{DEVICE}-2021-02.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(at(row["time"][:-1]), int(row["sensor_id"]), float(row["value"])) for row in rows] == wanted
    assert {row["unit"] for row in rows if row["sensor_id"] == "55"} == {"ºC"}
    assert run("restore", period="2021-02", format="parquet")["status"] == "success"
    assert parquet(path.with_suffix(".parquet")) == wanted


def broken_file(path, told):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def no_file(path, told):
    path.unlink()


def other_rows(path, told):
    told["sensors"]["55"]["rows"] += 1


def other_values(path, told):
    told["sensors"]["55"]["sum"] += 0.25


@pytest.mark.parametrize("spoil", [broken_file, no_file, other_rows, other_values])
def test_what_is_not_what_was_written_does_not_come_back(run, workspace, spoil):
    run("backup")
    told = manifest(workspace, "2021-02")
    spoil(workspace / "data" / "backup" / told["file"], told)
    files(workspace)["2021-02.json"].write_text(json.dumps(told))
    ended = run("restore", period="2021-02")
    assert ended["status"] == "failed"
    assert "2021-02" in ended["message"]
    assert ("run the backup with `again`" in ended["message"]) is (spoil in (broken_file, no_file))
    assert not (workspace / "data" / "restored").exists()


def test_a_period_that_is_not_there_is_told_with_those_that_are(run, workspace):
    run("backup")
    assert "it has 2021-01, 2021-02, 2021-03" in run("restore", period="2020-12")["message"]
    assert "not a valid period" in run("restore", period="../../x")["message"]


def test_a_state_that_cannot_be_read_is_told_and_left(run, workspace):
    run("backup")
    files(workspace)["state.json"].write_text("{")
    ended = run("backup")
    assert ended["reason"] == "BACKUP_FAILED"
    assert "state.json" in ended["message"]
    assert files(workspace)["state.json"].read_text() == "{"
