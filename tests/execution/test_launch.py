"""One run at a time, every run recorded, whatever goes wrong around it."""

from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scflows.history.contract import Query
from scflows.history.journal_file import journal_path
from scflows.history.store import open_store
from scflows.locks import holders
from scflows.scheduler.reconcile import open_reconciled_history

SLOW = "steps: [{name: wait, type: sleep, sleep: {seconds: 60}}]"
QUICK = "steps: [{name: s, type: set_fact, set_fact: {value: 1}}]"


@pytest.fixture
def start(workspace, environment):
    """Start `flows …` and go on; whatever still runs is killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **options) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "scflows", *arguments],
            cwd=workspace,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def write_flow(workspace):
    def write(text: str, name: str = "flow.yml") -> Path:
        path = workspace / "tasks" / name
        path.write_text(text)
        return path

    return write


def wait_for(condition, seconds: float = 60.0):
    """The condition's value once it is true; fails when it stays false."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


def running(settings):
    """The runs that are recorded as running, once there are any."""

    def look():
        if not os.path.exists(os.path.join(settings.state_path, "history.sqlite")):
            return []
        store = open_store(settings)
        try:
            return [run for run in store.unfinished() if run.status == "running"]
        finally:
            store.close()

    return wait_for(look)


@pytest.mark.language("§7 One run at a time")
def test_a_second_run_of_a_running_flow_is_skipped_and_recorded(start, flows, write_flow, settings):
    write_flow(SLOW)
    first = start("run", "flow.yml")
    holder = running(settings)[0]
    answer = flows("run", "flow.yml", "--json")
    assert answer.code == 0
    told = json.loads(answer.out)
    assert told["status"] == "skipped"
    assert holder.id in told["message"]
    statuses = [run.status for run in open_reconciled_history(settings).find(Query())]
    assert sorted(statuses) == ["running", "skipped"]
    assert first.poll() is None


def test_a_killed_run_shows_as_crashed_and_the_next_one_starts(start, flows, write_flow, settings):
    write_flow(SLOW)
    process = start("run", "flow.yml")
    run = running(settings)[0]
    process.send_signal(signal.SIGKILL)
    process.wait()
    shown = json.loads(flows("history", "--json").out)["items"]
    assert [(item["id"], item["status"]) for item in shown] == [(run.id, "crashed")]
    write_flow(QUICK)
    assert flows("run", "flow.yml").code == 0
    assert flows("history").out.count("\tsuccess\t") == 1


THIRD_STEP_WAITS = """
steps:
  - {name: first, type: set_fact, set_fact: {value: 1}}
  - {name: second, when: "false", type: set_fact, set_fact: {value: 2}}
  - {name: third, type: sleep, sleep: {seconds: 60}}
"""


def shown_steps(flows, run):
    shown = json.loads(flows("runs", "show", run, "--json").out)
    return [(step["name"], step["status"]) for step in shown["steps"]]


def test_a_run_that_goes_on_shows_the_step_at_work(start, flows, write_flow, settings):
    write_flow(THIRD_STEP_WAITS)
    process = start("run", "flow.yml")
    run = running(settings)[0]
    expected = [("first", "success"), ("second", "skipped"), ("third", "running")]
    wait_for(lambda: shown_steps(flows, run.id) == expected)
    assert process.poll() is None


def test_a_killed_run_shows_which_steps_had_ended(start, flows, write_flow, settings):
    write_flow(THIRD_STEP_WAITS)
    process = start("run", "flow.yml")
    run = running(settings)[0]
    # Sooner than the history has heard of the third step.
    journal = Path(journal_path(settings, run.id))
    wait_for(lambda: journal.exists() and b'"third"' in journal.read_bytes())
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert shown_steps(flows, run.id) == [("first", "success"), ("second", "skipped"), ("third", "failed")]
    shown = json.loads(flows("runs", "show", run.id, "--json").out)
    assert shown["message"] == "its process died in step 'third' before the run ended"
    assert shown["steps"][2]["message"] == shown["message"]
    assert [step["type"] for step in shown["steps"]] == ["set_fact", "set_fact", "sleep"]


def test_the_next_run_starts_in_the_moment_of_the_kill(start, run_flow, write_flow, settings):
    for _ in range(5):
        write_flow(SLOW)
        process = start("run", "flow.yml")
        running(settings)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert run_flow(QUICK).status == "success"


def test_nothing_of_a_killed_run_stays_behind(start, write_flow, settings, workspace):
    mark = f"7{os.getpid()}"
    write_flow(f"steps: [{{name: s, type: shell, shell: {{command: [sleep, '{mark}']}}}}]")
    process = start("run", "flow.yml")
    running(settings)

    def children():
        found = subprocess.run(["pgrep", "-f", f"^sleep {mark}$"], capture_output=True, text=True)
        return found.stdout.split()

    wait_for(children)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: not children())


@pytest.mark.language("§1 How a run ends", "§3 The final step")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_run_is_cancelled_and_its_final_step_runs(start, write_flow, settings, workspace, number, code):
    write_flow("""
finally_step: last
steps:
  - {name: wait, type: sleep, sleep: {seconds: 60}}
  - {name: last, type: file, file: {path: last.json, mode: write, type: json, data_key: __errors__}}
""")
    process = start("run", "flow.yml")
    run = running(settings)[0]
    wait_for(lambda: "wait" in json.dumps([step.name for step in _steps(settings, run.id)]))
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == code
    ended = open_reconciled_history(settings).run(run.id)
    assert ended is not None
    assert ended.status == "cancelled"
    assert "asked to stop" in (workspace / "data/last.json").read_text()


def _steps(settings, run_id):
    store = open_store(settings)
    run = store.run(run_id)
    store.close()
    assert run is not None
    return run.steps


def test_many_starts_in_the_same_second_all_have_their_record(start, write_flow, settings):
    # `bench/starts.py` has 200.
    for number in range(60):
        write_flow(QUICK, f"f{number}.yml")
    processes = [start("run", f"f{number}.yml") for number in range(60)]
    for process in processes:
        _, told = process.communicate(timeout=120)
        assert (process.returncode, told) == (0, "")
    runs = open_reconciled_history(settings).find(Query(limit=1000))
    assert len(runs) == 60
    assert {run.status for run in runs} == {"success"}
    assert len({run.task for run in runs}) == 60


def test_an_unwritable_log_folder_is_told_in_one_line_and_the_flow_runs(flows, write_flow, environment, settings):
    write_flow(QUICK)
    Path(environment["XDG_CACHE_HOME"]).write_text("a file, where a folder should be")
    answer = flows("run", "flow.yml")
    assert answer.code == 0
    assert answer.err.count("\n") == 1
    assert "log " in answer.err
    assert open_reconciled_history(settings).find(Query())[0].status == "success"


def test_a_broken_history_is_told_in_one_line_and_nothing_is_lost(flows, write_flow, settings):
    write_flow(QUICK)
    assert flows("run", "flow.yml").code == 0
    path = Path(settings.state_path) / "history.sqlite"
    whole = path.read_bytes()
    broken = b"this is no database" + whole[19:]
    path.write_bytes(broken)
    answer = flows("run", "flow.yml")
    assert answer.code == 0
    assert answer.err.count("\n") == 1
    assert str(path) in answer.err
    assert path.read_bytes() == broken
    # Who looks is told, too, and with the file mended both runs are there.
    looked = flows("history")
    assert looked.code != 0
    assert str(path) in looked.err
    path.write_bytes(whole)
    assert len(flows("history").out.splitlines()) == 2


def test_a_full_disk_is_told_and_the_flow_runs(start, write_flow, workspace, environment, settings, flows):
    write_flow(QUICK)
    assert flows("run", "flow.yml").code == 0

    def nothing_more() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    process = start("run", "flow.yml", preexec_fn=nothing_more)
    out, told = process.communicate(timeout=60)
    assert process.returncode == 0, out + told
    assert "history" in told
    assert "Traceback" not in told
    # The record of a run by hand needs no space either.
    assert [run.status for run in open_reconciled_history(settings).find(Query())] == ["success", "success"]


def test_a_locked_history_is_waited_for(flows, write_flow, settings):
    write_flow(QUICK)
    assert flows("run", "flow.yml").code == 0
    other = sqlite3.connect(os.path.join(settings.state_path, "history.sqlite"), check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    import threading

    timer = threading.Timer(1.5, other.rollback)
    timer.start()
    answer = flows("run", "flow.yml")
    timer.join()
    other.close()
    assert (answer.code, answer.err) == (0, "")
    assert len(open_reconciled_history(settings).find(Query())) == 2


def test_a_locked_history_costs_a_run_one_wait_in_all(run_flow, settings, monkeypatch):
    run_flow(QUICK)
    monkeypatch.setattr("scflows.history.recorder.PATIENCE", 0.6)
    monkeypatch.setattr("scflows.history.recorder.PATIENCE_AT_END", 0.1)
    monkeypatch.setattr("scflows.history.recorder.PROGRESS_EVERY", 0.0)
    other = sqlite3.connect(os.path.join(settings.state_path, "history.sqlite"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    steps = ", ".join(f"{{name: s{number}, type: sleep, sleep: {{seconds: 0.05}}}}" for number in range(10))
    began = time.monotonic()
    run = run_flow(f"timeout: 60\nsteps: [{steps}]\n")
    took = time.monotonic() - began
    other.execute("ROLLBACK")
    other.close()
    assert run.status == "success"
    assert "database is locked" in run.outcome.problems[0]
    # The steps take half a second; a wait for each would take ten times as long.
    assert took < 5
    with open_reconciled_history(settings) as store:
        found = store.run(run.outcome.run.id)
        assert found is not None
        assert (found.status, len(found.steps)) == ("success", 10)


def test_a_run_that_waits_for_a_locked_history_can_be_stopped(start, flows, write_flow, settings):
    write_flow(QUICK)
    assert flows("run", "flow.yml").code == 0
    other = sqlite3.connect(os.path.join(settings.state_path, "history.sqlite"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    process = start("run", "flow.yml")
    # Its lock is held while it waits.
    wait_for(lambda: any(lock.alive for lock in holders(settings.lock_path)))
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    took = time.monotonic() - began
    other.execute("ROLLBACK")
    other.close()
    assert took < 15
    assert process.returncode in (0, 143)


@pytest.mark.language("§7 Schedule")
def test_a_slot_is_answered_once_unless_again_is_asked_for(flows, write_flow, settings):
    write_flow(QUICK)
    slot = "2026-11-21T05:00:00+00:00"
    first = json.loads(flows("run", "flow.yml", "--slot", slot, "--json").out)
    second = json.loads(flows("run", "flow.yml", "--slot", slot, "--json").out)
    assert (first["status"], second["status"]) == ("success", "skipped")
    assert first["run_id"] in second["message"]
    third = json.loads(flows("run", "flow.yml", "--slot", slot, "--json", "--force").out)
    assert third["status"] == "success"


def test_a_slot_is_answered_once_also_without_a_history(flows, write_flow, settings):
    write_flow(QUICK)
    state = Path(settings.state_path)
    (state / "history.sqlite").mkdir(parents=True)
    codes = [json.loads(flows("run", "flow.yml", "--slot", "1790000000", "--json").out)["status"] for _ in range(2)]
    assert codes == ["success", "skipped"]
    (state / "history.sqlite").rmdir()
    assert sorted(run.status for run in open_reconciled_history(settings).find(Query())) == ["skipped", "success"]


@pytest.mark.language("§1 Where a flow is found")
def test_a_missing_flow_is_refused_with_the_nearest_name(flows, write_flow):
    write_flow(QUICK, "readings.yml")
    answer = flows("run", "reading.yml")
    assert answer.code == 2
    assert "readings.yml" in answer.err
    answer = flows("run", "reading.yml", "--json")
    assert answer.code == 2
    assert json.loads(answer.out)["status"] == "failed"


@pytest.mark.language("§9 Time limits")
def test_a_timeout_ends_with_its_own_code(flows, write_flow, settings):
    write_flow(SLOW)
    answer = flows("run", "flow.yml", "--timeout", "0.3s")
    assert answer.code == 124
    run = open_reconciled_history(settings).find(Query())[0]
    assert (run.status, run.reason) == ("failed", "timeout")


def test_a_final_status_never_changes(settings):
    from scflows.history.run import Run, new_run_id

    store = open_store(settings)
    run = Run(new_run_id(), "flow.yml", "flow", started=time.time())
    assert store.claim(run) is None
    run.status, run.ended = "success", time.time()
    assert store.finish(run)
    run.status = "failed"
    assert not store.finish(run)
    found = store.run(run.id)
    assert found is not None
    assert found.status == "success"
    store.close()


def test_the_history_is_private(flows, write_flow, settings):
    write_flow(QUICK)
    flows("run", "flow.yml")
    assert os.stat(os.path.join(settings.state_path, "history.sqlite")).st_mode & 0o077 == 0
