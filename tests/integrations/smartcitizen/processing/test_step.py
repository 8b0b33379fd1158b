"""The step `device` and the flow that is shipped, as cron and people run them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scflows.integrations.smartcitizen.demo.faults import Fault
from scflows.integrations.smartcitizen.demo.kinds import OPERATOR
from scflows.integrations.smartcitizen.demo.readings import read_time

pytestmark = pytest.mark.language("§10 device")

SHIPPED = Path(__file__).parents[4] / "tasks" / "smartcitizen"
FLOW = ("run", "smartcitizen/process.yml", "-p")


@pytest.fixture(autouse=True)
def shipped(workspace: Path, server, environment) -> None:
    """The shipped flow, and the token where it belongs."""
    shutil.copytree(SHIPPED, workspace / "tasks" / "smartcitizen")
    environment.pop("SC_BEARER", None)
    (workspace / ".env").write_text(f"SC_BEARER={OPERATOR.token}\n")
    (workspace / ".env").chmod(0o600)


def test_the_code_of_the_outcome_is_the_runs_reason(flows, kit, platform):
    import json

    first = flows(*FLOW, f"device={kit('due').id}", "--json")
    told = json.loads(first.out)
    assert (first.code, told["status"], told["reason"]) == (0, "success", "SUCCESS PROCESSED AND UPLOADED")
    assert "540 readings of 3 channels" in told["message"]
    assert told["data"]["process"]["channels"]["TEMP_CLEAN"] == {"id": 301, "readings": 180}
    # Nothing to do is no failure.
    again = flows(*FLOW, f"device={kit('due').id}", "--json")
    told = json.loads(again.out)
    assert (again.code, told["status"], told["reason"]) == (0, "exit", "ABORTED EMPTY_DATA")
    wrong = flows(*FLOW, f"device={kit('uncalibrated').id}", "--json")
    told = json.loads(wrong.out)
    assert (wrong.code, told["status"], told["reason"]) == (1, "failed", "ABORTED PROCESSING_FAILED")
    assert "162999999" in told["message"]
    shown = json.loads(flows("history", "--json").out)["items"]
    assert [run["reason"] for run in shown] == [
        "ABORTED PROCESSING_FAILED",
        "ABORTED EMPTY_DATA",
        "SUCCESS PROCESSED AND UPLOADED",
    ]


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(("--dry-run",), id="run"),
        pytest.param(("-p", "dry_run=true"), id="parameter", marks=pytest.mark.slow),
    ],
)
def test_a_dry_run_changes_nothing(flows, kit, platform, how):
    answer = flows(*FLOW, f"device={kit('due').id}", *how, "--json")
    assert '"readings": 540' in answer.out
    assert {each["method"] for each in platform.requests} == {"GET"}


def test_a_run_that_is_killed_between_posting_and_the_date_is_made_good(
    flows, kit, platform, posted, expected, workspace, environment, tmp_path
):
    device = kit("due")
    begin = read_time(device.postprocessing["latest_postprocessing"])
    platform.faults.add(Fault.from_dict({"path": "/v0/", "method": "PATCH", "how": "slow", "seconds": 60, "times": 1}))
    command = [sys.executable, "-P", "-m", "scflows", *FLOW, f"device={device.id}"]
    run = subprocess.Popen(command, cwd=workspace, env=environment, stderr=subprocess.DEVNULL)
    try:
        ends = time.monotonic() + 60
        while not any(each["method"] == "PATCH" for each in platform.requests) and time.monotonic() < ends:
            time.sleep(0.02)
        held = _below(run.pid)
        words = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in held]
    finally:
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    assert len(held) >= 3
    assert not any(OPERATOR.token.encode() in each for each in words)
    # Nothing of it goes on.
    ends = time.monotonic() + 60
    while any(_is_alive(pid) for pid in held) and time.monotonic() < ends:
        time.sleep(0.02)
    assert not any(_is_alive(pid) for pid in held)
    assert len(posted(device)) == 180
    assert read_time(device.postprocessing["latest_postprocessing"]) == begin
    assert flows(*FLOW, f"device={device.id}").code == 0
    wanted = expected(device, begin, platform.now)
    assert dict(posted(device)) == pytest.approx(wanted, abs=1e-3)
    assert len(set(posted(device))) == len(wanted)
    assert os.listdir(Path(environment["XDG_STATE_HOME"]) / "scflows" / "device") == [".lock"]
    # No file has the token but the one in which it was written.
    holders = [path for path in tmp_path.rglob("*") if path.is_file() and OPERATOR.token.encode() in path.read_bytes()]
    assert holders == [workspace / ".env"]


def test_a_step_that_is_over_takes_its_process_with_it(run_flow, kit, platform, environment, settings):
    platform.faults.add(Fault.from_dict({"path": "/v0/", "how": "slow", "seconds": 60}))
    ended = run_flow(f"steps: [{{name: process, type: device, timeout: 2, device: {{id: {kit('due').id}}}}}]")
    assert (ended.status, ended.steps) == ("failed", [("process", "failed")])
    assert "longer than 2 s" in ended.message
    assert os.listdir(os.path.join(settings.state_path, "device")) == [".lock"]


@pytest.mark.slow
def test_twelve_at_once_leave_each_other_alone(platform, workspace, environment, tmp_path):
    own = tmp_path / "home" / ".config" / "scdata" / "config.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("# somebody's own\n")
    kits = [kit for kit in platform.kits.values() if kit.postprocessing and not kit.refused][:12]
    for kit in kits:
        kit.postprocessing = {**kit.postprocessing, "hardware_url": "demo-kit", "meta": None}
        kit.has_place = True
    started = []
    for kit in kits:
        variables = {**environment, "MAX_RUNS": "12", "LOCK_PATH": str(tmp_path / "locks" / str(kit.id))}
        command = [sys.executable, "-P", "-m", "scflows", *FLOW, f"device={kit.id}"]
        started.append(subprocess.Popen(command, cwd=workspace, env=variables, stderr=subprocess.DEVNULL))
    assert [process.wait() for process in started] == [0] * 12
    assert {each["device"] for each in platform.posted} == {kit.id for kit in kits}
    files = [each["path"] for each in platform.requests if each["path"].startswith("/base/")]
    assert len(files) == len(set(files)) == 5
    assert own.read_text() == "# somebody's own\n"
    assert os.listdir(Path(environment["XDG_STATE_HOME"]) / "scflows" / "device") == [".lock"]


@pytest.mark.parametrize(
    ("options", "mistake"),
    [
        ("id: kit", "'id' must be an integer of at least 1"),
        ("id: 0", "'id' must be an integer of at least 1"),
        ("id: 1, memory: 10", "'memory' must be an integer of at least 256"),
        ('id: 1, limit: "many"', "'limit' must be an integer of at least 1"),
    ],
)
def test_what_can_be_no_number_is_a_mistake(run_flow, options, mistake):
    ended = run_flow(f"steps: [{{name: process, type: device, device: {{{options}}}}}]")
    assert ended.reason == "refused"
    assert mistake in ended.message


def _below(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    for each in found:
        for path in Path(f"/proc/{each}/task").glob("*/children"):
            found += [int(number) for number in re.findall(r"\d+", path.read_text())]
    return found


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
