"""The stand-in answers as the platform does: pages, readings, permissions, limits, and to the real packages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from scflows.integrations.smartcitizen.demo.kinds import EXPECTED, FIRST_ID, GUEST, LAB, OPERATOR, OTHER_LAB, all_kinds
from scflows.integrations.smartcitizen.demo.platform import Platform
from scflows.integrations.smartcitizen.demo.readings import read_time, rolled_up
from scflows.integrations.smartcitizen.demo.server import serving

NOW = 1_790_000_000
IDS = {kind: FIRST_ID + number for number, kind in enumerate(EXPECTED)}


@pytest.fixture
def server():
    with serving(Platform(clock=lambda: NOW)) as running:
        yield running


def ask(server, path: str, token: str = "", method: str = "GET", body: Any = None) -> tuple[int, Any, Any]:
    """A status, the JSON or text that was answered, the headers."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(server.url + path, content, headers, method=method)
    try:
        answer = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        text = answer.read().decode()
    return answer.status, json.loads(text) if text[:1] in "[{" else text, answer.headers


def test_pages_have_their_headers_and_no_next_on_the_last(server):
    status, devices, headers = ask(server, "/v0/devices/?q[postprocessing_id_not_null]=1&q[s]=id%20asc&per_page=20")
    assert status == 200
    assert [each["id"] for each in devices] == sorted(each["id"] for each in devices)
    # Two are missing: the one without postprocessing, and the private one.
    assert headers["Total"] == str(len(EXPECTED) - 2)
    assert 'rel="next"' in headers["Link"]
    _, last, headers = ask(server, "/v0/devices?q[postprocessing_id_not_null]=1&q[s]=id%20asc&per_page=20&page=3")
    assert len(last) == len(EXPECTED) - 2 - 40
    assert 'rel="next"' not in headers["Link"]
    assert len(ask(server, "/v0/devices?q[s]=id%20asc")[1]) == 25


def test_a_limit_counts_stored_readings_and_times_keep_their_seconds(server):
    path = f"/v0/devices/{IDS['fast']}/readings?sensor_id=55&function=avg&rollup=1m&from=2026-09-20%2010:00:00%2000:00"
    _, answer, _ = ask(server, f"{path}&limit=500")
    times = [time for time, _ in answer["readings"]]
    assert times == sorted(times, reverse=True)
    # Three readings a minute become one.
    assert len(times) in (167, 168)
    assert times[-1].startswith("2026-09-20T10:00:")
    assert not any(time.endswith(":00Z") for time in times[1:-1])
    assert ask(server, f"{path}&limit=500")[1] == answer
    assert ask(server, path.replace("sensor_id=55", "sensor_id=999"))[1]["readings"] == []
    assert (
        "readings" not in ask(server, path.replace(str(IDS["fast"]), str(IDS["failing-sensor"])) + "&sensor_id=87")[1]
    )


def test_rollups_are_averages_at_the_first_reading_of_each():
    begin = read_time("2026-03-01T10:00:23Z")
    readings = [(begin + 60 * number, float(number)) for number in range(10)]
    assert rolled_up(readings, "5m", "avg")[:2] == [["2026-03-01T10:00:23Z", 2.0], ["2026-03-01T10:05:23Z", 7.0]]
    with pytest.raises(ValueError, match="rollup"):
        rolled_up(readings, "5", "avg")


def test_what_is_posted_is_kept_by_device_sensor_and_time(server):
    path = f"/v0/devices/{IDS['due']}/readings"
    body = {"data": [{"recorded_at": "2026-03-01T07:01:23Z", "sensors": [{"id": 301, "value": 3.5}]}]}
    assert ask(server, path, "", "POST", body)[0] == 403
    assert ask(server, path, OTHER_LAB.token, "POST", body)[0] == 403
    for _ in range(2):
        assert ask(server, path, LAB.token, "POST", body)[1]["id"] == "ok"
    time = read_time("2026-03-01T07:01:23Z")
    assert server.platform.posted == [{"device": IDS["due"], "sensor": 301, "time": time, "value": 3.5}] * 2
    assert ask(server, f"/control/posted?device={IDS['due']}")[1] == server.platform.posted
    shown = ask(server, f"/v0/devices/{IDS['due']}")[1]
    assert shown["data"]["sensors"][-1]["id"] == 301
    found = ask(server, f"{path}?sensor_id=301&rollup=1m&from=2026-03-01")[1]["readings"]
    assert found == [["2026-03-01T07:01:23Z", 3.5]]
    assert ask(server, path, LAB.token, "POST", {"data": [{"sensors": []}]})[1]["id"] == "bad"


def test_a_patch_is_taken_from_researchers_and_admins_of_the_device(server):
    path = f"/v0/devices/{IDS['due']}/"
    body = {"postprocessing_attributes": {"latest_postprocessing": "2026-03-01T10:01:00Z", "created_at": "x"}}
    before = server.platform.kits[IDS["due"]].postprocessing
    assert ask(server, path, OTHER_LAB.token, "PATCH", body)[0] == 403
    server.platform.kits[IDS["due"]].owner = GUEST
    assert ask(server, path, GUEST.token, "PATCH", body)[0] == 200
    assert server.platform.kits[IDS["due"]].postprocessing == before
    changed = ask(server, path, OPERATOR.token, "PATCH", body)[1]["postprocessing"]
    assert changed == {**before, "latest_postprocessing": "2026-03-01T10:01:00Z"}
    assert [each["taken"] for each in server.platform.patches] == [False, True]


def test_what_is_private_is_for_owners_and_admins(server):
    path = f"/v0/devices/{IDS['private']}"
    assert [ask(server, path, token)[0] for token in ("", LAB.token, OTHER_LAB.token, OPERATOR.token)] == [
        403,
        403,
        200,
        200,
    ]
    assert ask(server, path, "nobody's")[0] == 401
    assert ask(server, f"/v0/devices/{IDS['due']}")[1]["device_token"] == "[FILTERED]"
    assert ask(server, f"/v0/devices/{IDS['due']}", LAB.token)[1]["device_token"] != "[FILTERED]"


def test_too_many_requests_are_refused_until_somebody_known_asks(server):
    server.platform.rate.limit = 3
    path = f"/v0/devices/{IDS['due']}"
    assert [ask(server, path)[0] for _ in range(4)] == [200, 200, 200, 429]
    assert isinstance(ask(server, path)[1], str)
    server.platform.rate.limit = 10
    assert ask(server, path, LAB.token)[0] == 200
    assert [ask(server, path)[0] for _ in range(20)] == [200] * 20


def test_it_fails_as_it_is_told_by_anybody(server):
    path = f"/v0/devices/{IDS['due']}"
    told = {"path": path, "status": 503, "retry_after": "7", "skip": 1, "times": 1}
    assert ask(server, "/control/faults", "", "POST", told)[0] == 200
    assert [ask(server, path)[0] for _ in range(3)] == [200, 503, 200]
    assert ask(server, "/control/faults", "", "POST", {"path": path, "how": "burn"})[0] == 400
    assert ask(server, "/control/nothing")[0] == 404


def test_the_same_clock_makes_the_same_devices():
    shown = [[kit.shown(NOW, True) for kit in all_kinds(NOW)] for _ in range(2)]
    assert shown[0] == shown[1]


PROGRAM = """
import asyncio, contextlib, io, json, os, sys

with contextlib.redirect_stdout(io.StringIO()):
    import scdata
    found = {}
    for number in sys.argv[1:]:
        device = scdata.Device(params=scdata.APIParams(id=int(number)))
        device.options.min_date = device.handler.latest_postprocessing
        device.options.limit = 500
        device.options.channels = device.required_sensors
        done = asyncio.run(device.load()) and device.process() and device.update_postprocessing_date()
        done = done and asyncio.run(device.post(columns="channels", with_postprocessing=True))
        found[number] = [bool(done), {name: each["readings"] for name, each in device.handler.posted.items()}]
print(json.dumps(found))
"""


def test_the_real_packages_load_process_post_and_patch(server, environment, tmp_path):
    numbers = [str(IDS[kind]) for kind in ("due", "gas", "behind")]
    done = subprocess.run(
        # The packages warn of what they use themselves.
        [sys.executable, "-W", "ignore", "-P", "-c", PROGRAM, *numbers],
        env={
            **environment,
            "API_URL": server.settings["SC_API_URL"],
            "BASE_POSTPROCESSING_URL": server.settings["BASE_POSTPROCESSING_URL"],
            "SC_BEARER": OPERATOR.token,
            "XDG_CONFIG_HOME": str(tmp_path / "config"),
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    posted = {(each["device"], each["sensor"], each["time"]) for each in server.platform.posted}
    assert len(posted) == len(server.platform.posted)
    for number, channels in zip(numbers, ({301, 302, 303}, {152, 153, 154}, {301, 302, 303}), strict=True):
        assert found[number][0]
        assert {sensor for device, sensor, _ in posted if device == int(number)} == channels
        counts = set(found[number][1].values())
        assert len(counts) == 1
        assert 0 not in counts
        assert counts == {sum(device == int(number) for device, _, _ in posted) // 3}
    assert found[numbers[2]][1]["TEMP_CLEAN"] == 500
    assert [each["device"] for each in server.platform.patches] == [int(number) for number in numbers]
    assert not any(each["token"] for each in server.platform.requests if each["path"].startswith("/base/"))


@pytest.mark.usefixtures("interruptible")
def test_the_demo_schedules_in_a_workspace_of_its_own(workspace: Path, environment: dict[str, str], tmp_path: Path):
    top = tmp_path / "demo"
    own = {"XDG_STATE_HOME", "XDG_CACHE_HOME", "CRONTAB_PROGRAM"}
    clean = {name: value for name, value in environment.items() if name not in own}
    command = [sys.executable, "-P", "-m", "scflows"]
    process = subprocess.Popen(
        [*command, "demo", "smartcitizen", str(top), "--port", "0"],
        env=environment,
        cwd=workspace,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    told = []
    try:
        for line in process.stdout:
            told.append(line)
            if "Ctrl-C" in line:
                break
        listed = subprocess.run([*command, "list-tasks", "--home", str(top)], env=clean, capture_output=True, text=True)
        shown = subprocess.run(
            [*command, "devices", "show", "due", "--home", str(top)], env=clean, capture_output=True, text=True
        )
    finally:
        os.kill(process.pid, signal.SIGINT)
        process.stdout.close()
        assert process.wait(60) in (0, 130)
    assert len(listed.stdout.splitlines()) == sum(outcome == "scheduled" for outcome in EXPECTED.values())
    assert f"tasks\t{IDS['due']}" in shown.stdout
    assert not (tmp_path / "state").exists()
    assert not (Path(environment["HOME"]) / ".local").exists()
