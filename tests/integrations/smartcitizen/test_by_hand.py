"""Devices that a person names: scheduled whatever the search would choose, looked at."""

from __future__ import annotations

import json

from scflows.integrations.smartcitizen.demo.kinds import EXPECTED, FIRST_ID, GUEST

IDS = {kind: FIRST_ID + number for number, kind in enumerate(EXPECTED)}


def test_a_device_by_its_number_needs_no_platform(flows, server, crontab, platform):
    answer = flows("manual-schedule", "--device", "999", "--device", str(IDS["private"]))
    assert answer.code == 0, answer.err
    assert platform.requests == []
    shown = json.loads(flows("show", "999", "--json").out)
    assert shown["schedule"].startswith("every 3 h")
    assert shown["params"] == {"device": 999}
    assert shown["flow"].endswith("smartcitizen/process.yml")
    assert shown["log"].endswith("/999/999.log")


def test_each_kind_has_its_name_flow_and_interval(flows, server, crontab, names):
    for kind, every in (("process", "3 h"), ("backup", "6 h"), ("check", "3 h")):
        assert flows("manual-schedule", "--device", "999", "--kind", kind).code == 0
        name = "999" if kind == "process" else f"{kind}-999"
        shown = json.loads(flows("show", name, "--json").out)
        assert shown["schedule"].startswith(f"every {every}")
        assert shown["flow"].endswith(f"smartcitizen/{kind}.yml")
    assert flows("manual-schedule", "--device", "999", "--kind", "check", "--every", "1h", "--overwrite").code == 0
    assert json.loads(flows("show", "check-999", "--json").out)["schedule"].startswith("hourly")
    assert names() == {"999", "backup-999", "check-999"}


def test_a_flow_of_ones_own_takes_the_place_of_the_shipped_one(flows, server, crontab, workspace):
    (workspace / "tasks" / "mine.yml").write_text("params: {device: {type: text}}\nsteps: []\n")
    answer = flows("manual-schedule", "--device", "999", "--kind", "backup", "--task-file", "mine.yml")
    assert answer.code == 0, answer.err
    shown = json.loads(flows("show", "backup-999", "--json").out)
    assert shown["flow"].endswith("/mine.yml")
    assert shown["params"] == {"device": "999"}


def test_a_device_by_its_address_or_name(flows, server, crontab, names):
    number = IDS["patch-refused"]
    for asked in (f"https://smartcitizen.me/kits/{number}", "patch-refused", f"Demo kit {number} (patch-refused)"):
        answer = flows("manual-schedule", "--device", asked, "--overwrite")
        assert answer.code == 0, answer.err
        assert names() == {str(number)}


def test_a_name_that_several_devices_have_or_none_is_told(flows, server, crontab, names):
    several = flows("manual-schedule", "--device", "hardware-")
    assert several.code == 2
    assert f"{IDS['hardware-missing']} (Demo kit" in several.err
    assert flows("manual-schedule", "--device", "no such kit").code == 4
    address = flows("manual-schedule", "--device", "https://smartcitizen.me/users/ana")
    assert address.code == 2
    assert names() == set()


def test_wrong_orders_are_told(flows, server, crontab, names):
    assert flows("manual-schedule", "--kind", "backup").code == 2
    assert flows("manual-schedule", "--device", "9", "--kind", "clean").code == 2
    assert flows("manual-schedule", "--device", "9").code == 0
    assert flows("manual-schedule", "--device", "9").code == 6
    assert names() == {"9"}


def test_devices_are_listed_with_what_becomes_of_them(flows, server, crontab):
    flows("manual-schedule", "--device", str(IDS["gas"]), "--kind", "check")
    answer = flows("devices", "search")
    rows = {line.split("\t")[0]: line.split("\t") for line in answer.out.splitlines()}
    assert len(rows) == len(EXPECTED) - 1
    assert rows[str(IDS["gas"])][5] == f"check-{IDS['gas']}"
    assert rows[str(IDS["never-published"])][2:4] == ["never_published", ""]
    named = json.loads(flows("devices", "search", "low-battery", "--json").out)["items"]
    assert [each["device"] for each in named] == [IDS["low-battery"]]
    assert named[0]["last_reading_at"].endswith("+00:00")
    silent = flows("devices", "search", "--state", "never_published").out.splitlines()
    assert [line.split("\t")[0] for line in silent] == [str(IDS["never-published"])]


def test_one_device_with_what_a_search_would_decide(flows, server, crontab):
    shown = json.loads(flows("devices", "show", str(IDS["hardware-missing"]), "--json").out)
    assert shown["decision"] == "leave"
    assert "404" in shown["why"]
    text = flows("devices", "show", "page-url").out
    assert "a search would\tschedule" in text
    assert flows("devices", "show", "424242").code == 4


def test_a_private_device_is_refused_to_others(flows, server):
    answer = flows("devices", "show", str(IDS["private"]), SC_BEARER=GUEST.token)
    assert answer.code == 5
    assert "403" in answer.err
    assert GUEST.token not in answer.err
