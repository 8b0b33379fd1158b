"""What is wrong with a device is found, told once, and once more when it is over."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from scflows.errors import UsageError
from scflows.integrations.smartcitizen.checks.thresholds import read_thresholds
from scflows.integrations.smartcitizen.demo.faults import Fault
from tests.integrations.smartcitizen.checks.conftest import HOUR, NUMBERS

pytestmark = pytest.mark.language("§10 device_check")
#: The one thing that is wrong with each kind, and what is said of it.
WRONG = {
    "stale": ("stale", None, "no reading for 30 h"),
    "low-battery": ("low-battery", None, "battery at 4 %"),
    "implausible": ("implausible", 87, "9999 is above 1000"),
    "stuck": ("stuck", 55, "has been 18 for 24 h"),
    "ahead": ("ahead", None, "24 h ahead"),
    "gap": ("gap", None, "no readings for 3 h"),
    "sensor-gap": ("gap", 87, "no readings for 3 h"),
    "silent": ("silent", 87, "has sent nothing for 2 days"),
    "missing": ("missing", 55, "TEMP (55) is missing"),
    "never": ("stale", None, "never published"),
}


def checked(flows, *words):
    answer = flows("check-devices", *words, "--json")
    return answer, {each["device"]: each for each in json.loads(answer.out or '{"items": []}')["items"]}


@pytest.mark.usefixtures("server")
def test_the_one_thing_that_is_wrong_with_each_device_is_found_and_no_other(flows):
    answer, found = checked(flows, *map(str, NUMBERS.values()))
    assert answer.code == 1
    for kind, (name, sensor, text) in WRONG.items():
        (problem,) = found[NUMBERS[kind]]["problems"]
        assert (problem["check"], problem["sensor"]) == (name, sensor), kind
        assert text in problem["message"], kind
        assert found[NUMBERS[kind]]["state"] == ("stale" if name == "stale" else "problem")
    for kind in ("fine", "several"):
        assert (found[NUMBERS[kind]]["state"], found[NUMBERS[kind]]["problems"]) == ("ok", [])
    assert found[NUMBERS["low-battery"]]["battery"] == 4


@pytest.mark.usefixtures("server")
def test_a_fine_device_ends_with_zero_and_the_table_says_what_is_wrong_with_others(flows):
    assert flows("check-devices", str(NUMBERS["fine"])).code == 0
    answer = flows("check-devices", str(NUMBERS["fine"]), str(NUMBERS["stale"]))
    rows = [line.split("\t") for line in answer.out.splitlines()]
    assert [(row[0], row[2], row[5]) for row in rows] == [
        (str(NUMBERS["fine"]), "ok", ""),
        (str(NUMBERS["stale"]), "stale", "no reading for 30 h"),
    ]


def test_many_devices_take_one_page_and_no_readings(flows, server, platform, workspace):
    for kit in platform.kits.values():
        kit.postprocessing = {"id": kit.id, "device_id": kit.id, "hardware_url": "demo-kit"}
    _, found = checked(flows, *map(str, NUMBERS.values()), "--no-readings")
    assert len(found) == len(NUMBERS)
    paths = [each["path"].partition("?")[0] for each in platform.requests]
    assert sorted(paths) == [
        "/base/blueprints/sck_demo.json",
        "/base/hardware/demo-kit.json",
        "/base/names/SCDevice.json",
        "/v0/devices",
    ]


def test_without_a_name_those_with_tasks_are_checked(flows, server, platform, environment, tmp_path, crontab):
    assert flows("check-devices").out == ""
    for kind, what in (("fine", "process"), ("stale", "backup"), ("fine", "check")):
        assert flows("manual-schedule", "--device", str(NUMBERS[kind]), "--kind", what).code == 0
    answer, found = checked(flows)
    assert set(found) == {NUMBERS["fine"], NUMBERS["stale"]}
    assert answer.code == 1


def notes(path):
    return path.read_text().split() if path.exists() else []


@pytest.fixture
def told(workspace):
    """What the hooks of the check have been told."""
    file = workspace / "tasks" / "smartcitizen" / "check.yml"
    file.write_text(file.read_text() + "\non_failure: note.yml\non_recovery: note.yml\n")
    (workspace / "tasks" / "note.yml").write_text(
        "steps: [{name: n, type: file, file: {path: told.txt, mode: append, type: text, data_key: line}}]\n".replace(
            "steps: [",
            'steps: [{name: line, type: set_fact, set_fact: {value: "{{ __input__.hook }}:{{ __input__.reason }} "}}, ',
        )
    )
    return lambda: notes(workspace / "data" / "told.txt")


def test_a_device_that_is_away_is_told_once_and_once_when_it_is_back(server, told, check, platform):
    kit = platform.kits[NUMBERS["stale"]]
    first = check("stale")
    assert (first.run.status, first.run.reason) == ("failed", "STALE")
    assert "no reading for 30 h" in first.run.message
    assert told() == ["on_failure:STALE"]
    for _ in range(2):
        again = check("stale")
        assert (again.run.status, again.run.reason) == ("success", "unchanged")
    assert told() == ["on_failure:STALE"]
    kit.last = platform.now - 60
    kit.first = kit.last - 60 * HOUR
    back = check("stale")
    assert (back.run.status, back.run.reason) == ("success", "")
    assert [each["message"] for each in back.data["check"]["recovered"]] == ["no reading for 30 h"]
    check("stale")
    assert told() == ["on_failure:STALE", "on_recovery:"]


def test_something_else_that_goes_wrong_is_told_too(check, platform):
    kit = platform.kits[NUMBERS["several"]]
    kit.quirk = "low-battery"
    assert check("several").run.reason == "PROBLEMS"
    assert check("several").run.reason == "unchanged"
    kit.quirk = "implausible"
    ended = check("several")
    assert ended.run.reason == "PROBLEMS"
    assert "9999" in ended.run.message
    assert "battery" not in ended.run.message


def test_what_a_device_had_before_it_went_away_is_no_news_when_it_comes_back(check, platform):
    kit = platform.kits[NUMBERS["low-battery"]]
    first, last = kit.first, kit.last
    assert check("low-battery").run.reason == "PROBLEMS"
    kit.first, kit.last = first - 30 * HOUR, last - 30 * HOUR
    assert check("low-battery").run.reason == "STALE"
    kit.first, kit.last = first, last
    back = check("low-battery")
    assert back.run.reason == "unchanged"
    assert [each["message"] for each in back.data["check"]["recovered"]] == ["no reading for 30 h"]


def test_a_battery_around_its_limit_is_told_once(check, platform, workspace):
    kit = platform.kits[NUMBERS["several"]]
    sensors = kit.shown(platform.now, True)["data"]["sensors"]

    def charge(percent):
        for each in sensors:
            if each["id"] == 10:
                each["value"] = percent
        kit.shown_as = {"data": {"sensors": sensors}}
        return check("several").run.reason

    assert [charge(percent) for percent in (16, 14, 16, 14, 26, 16)] == [
        "",
        "PROBLEMS",
        "unchanged",
        "unchanged",
        "",
        "",
    ]


def test_a_dry_run_tells_and_remembers_nothing(check):
    assert check("stale", dry_run=True).run.reason == "STALE"
    assert check("stale").run.reason == "STALE"


def test_another_check_of_the_same_device_has_its_own_memory(check, flows, server):
    assert checked(flows, str(NUMBERS["stale"]))[0].code == 1
    assert check("stale").run.reason == "STALE"


def test_one_device_that_cannot_be_read_leaves_the_others(flows, server, platform):
    platform.faults.add(Fault(f"/devices/{NUMBERS['fine']}/readings", how="not-json"))
    platform.kits[NUMBERS["gap"]].failing = (87,)
    names = ("fine", "gap", "stuck", "stale")
    answer = flows("check-devices", *(str(NUMBERS[kind]) for kind in names), "--json")
    assert answer.code == 7
    found = {each["device"]: each for each in json.loads(answer.out)["items"]}
    assert found[NUMBERS["fine"]]["state"] == "unknown"
    assert found[NUMBERS["gap"]]["state"] == "unknown"
    assert [each["check"] for each in found[NUMBERS["stuck"]]["problems"]] == ["stuck"]
    assert found[NUMBERS["stale"]]["state"] == "stale"


def test_an_outage_changes_nothing_of_what_is_known(check, platform):
    assert check("gap").run.reason == "PROBLEMS"
    platform.faults.add(Fault("/v0/", status=503))
    away = check("gap")
    assert (away.run.status, away.run.reason) == ("failed", "error")
    assert "503" in away.run.message
    platform.faults.clear()
    platform.faults.add(Fault("/readings", status=503))
    assert check("gap").run.reason == "NOT_CHECKED"
    platform.faults.clear()
    assert check("gap").run.reason == "unchanged"


def test_an_answer_that_comes_later_is_waited_for(check, platform, environment):
    environment["SC_RETRY_SECONDS"] = "5"
    platform.faults.add(Fault("/v0/", status=429, text="Retry later\n", retry_after="0", times=2))
    assert check("fine").run.status == "success"


def test_a_device_that_is_gone_or_hidden_is_told_as_that(flows, server, platform, check):
    del platform.kits[NUMBERS["gap"]]
    assert "no longer on the platform" in check("gap").run.message
    platform.kits[NUMBERS["fine"]].is_private = True
    _, found = checked(flows, str(NUMBERS["fine"]), str(NUMBERS["gap"]))
    assert found[NUMBERS["gap"]]["problems"][0]["check"] == "gone"
    assert found[NUMBERS["fine"]]["state"] == "ok"


def test_a_device_whose_date_cannot_be_read_is_unknown_and_not_away(flows, server, platform):
    platform.kits[NUMBERS["fine"]].shown_as = {"last_reading_at": "yesterday"}
    answer, found = checked(flows, str(NUMBERS["fine"]))
    assert answer.code == 7
    assert found[NUMBERS["fine"]]["state"] == "unknown"
    assert "'yesterday'" in found[NUMBERS["fine"]]["notes"][0]


def test_a_device_that_is_new_has_no_gap_before_it_was_there(flows, server, platform):
    kit = platform.kits[NUMBERS["fine"]]
    kit.first = kit.last - 5 * HOUR
    answer, found = checked(flows, str(NUMBERS["fine"]))
    assert (answer.code, found[NUMBERS["fine"]]["problems"]) == (0, [])


def test_thresholds_of_ones_own_decide(flows, server, workspace):
    file = workspace / "tasks" / "smartcitizen" / "check.thresholds.yml"
    limits = yaml.safe_load(file.read_text())
    limits["device"]["stale_hours"] = 40
    limits["battery"] = {"sensor": 10, "low": 3}
    limits["sensors"][87] = {"max": 10_000}
    del limits["sensors"][55]
    limits["measurements"] = {"temp": {"stuck_hours": 100}}
    file.write_text(yaml.safe_dump(limits))
    kinds = ("stale", "low-battery", "implausible", "stuck")
    _, found = checked(flows, *(str(NUMBERS[kind]) for kind in kinds))
    assert [each["check"] for kind in kinds[1:] for each in found[NUMBERS[kind]]["problems"]] == []
    assert "stale" not in [each["check"] for each in found[NUMBERS["stale"]]["problems"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("device: {stale_minutes: 3}", "device: unknown key 'stale_minutes'; use one of stale_hours"),
        ("device: {stale_hours: soon}", "device: stale_hours must be a number"),
        ("device: {gap_minutes: -1}", "device: gap_minutes must not be below 0"),
        ("sensors: {warm: {min: 3}}", "sensors: 'warm' is not the number of a sensor"),
        ("sensors: {55: {min: 3, max: 2}}", "55: min is above max"),
        ("sensors: [55]", "sensors: must be a mapping"),
        ("limits: {}", "unknown key 'limits'"),
        ("a: b: c", "YAML"),
        ("battery: {low: 30, fine: 10}", "battery: fine must not be below low"),
        ("battery: {sensor: 1.5}", "battery: sensor cannot be 1.5"),
        (
            "device:\n  stale_hours: 6\n  stale_hours: 7",
            "my.thresholds.yml:3:3: error: duplicate key 'stale_hours'",
        ),
        ("sensors:\n  55: {min: 1}\n  55: {min: 2}", "my.thresholds.yml:3:3: error: duplicate key '55'"),
        ("sensors: {55: {stuck_hours: 0}}", "stuck_hours must not be 0"),
        ("device: {window_hours: 0}", "window_hours must be from 1 to"),
        ("device: {window_hours: 100000000}", "window_hours must be from 1 to"),
        ("device: {stale_hours: 1" + 400 * "0" + "}", "device: stale_hours cannot be"),
    ],
)
def test_a_mistake_in_the_thresholds_is_told_with_its_place(tmp_path, text, message):
    file = tmp_path / "my.thresholds.yml"
    file.write_text(text)
    with pytest.raises(UsageError, match=re.escape(message)):
        read_thresholds(str(file), "my.thresholds.yml")


def test_thresholds_with_a_mistake_check_nothing(flows, server, platform, workspace):
    (workspace / "tasks" / "my.thresholds.yml").write_text("device: {stale_hours: soon}")
    answer = flows("check-devices", str(NUMBERS["fine"]), "--thresholds", "tasks/my.thresholds.yml")
    validated = flows("validate", "tasks/my.thresholds.yml")
    assert (answer.code, validated.code) == (2, 1)
    assert "stale_hours must be a number" in answer.err
    assert "stale_hours must be a number" in validated.out
    assert platform.requests == []


def test_the_shipped_thresholds_are_sound_and_no_flow(flows, server):
    assert flows("validate").code == 0
    assert "thresholds" not in flows("list-flows").out


def test_no_token_is_in_what_a_check_leaves(check, tmp_path):
    check("stale")
    for path in [*(tmp_path / "cache").rglob("*"), *(tmp_path / "state").rglob("*")]:
        if path.is_file():
            assert b"demo-admin-token" not in path.read_bytes(), path
