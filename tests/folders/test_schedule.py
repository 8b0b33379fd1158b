"""A working folder as a task: every minute, mostly with nothing to do."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from scflows.history.contract import Query
from scflows.history.run import EXIT, RUNNING, SKIPPED, UNCHANGED, Run, new_run_id
from scflows.history.sqlite import SqliteStore
from tests.folders.conftest import CHAIN
from tests.folders.test_hard_cases import wait_for
from tests.folders.test_trigger import FAIL_ON_BAD

MINUTE = 60.0
TELL = """
steps: [{name: s, type: file, file: {path: told.jsonl, mode: append, type: json, data_key: __input__}}]
"""


@pytest.fixture
def scheduled(work, crontab):
    """The folder as a task; returns what starts it for a slot, some minutes from now."""

    def start(minutes: int, code: int = 0) -> None:
        slot = datetime.fromtimestamp(time.time() // 60 * 60 + (minutes - 10) * 60, UTC).isoformat()
        answer = work.flows("run", "my-work", "--slot", slot)
        assert answer.code == code, answer.err

    return start


def schedule(work, *options: str) -> None:
    answer = work.flows("manual-schedule", "--folder", str(work.path), *options)
    assert answer.code == 0, answer.err


def history(work) -> list[dict]:
    answer = work.flows("history", "my-work", "--json")
    return json.loads(answer.out)["items"]


def test_it_is_a_task_like_any_other(work, scheduled, crontab):
    work.write(CHAIN, one="1")
    schedule(work)
    listed = json.loads(work.flows("list-tasks", "--all", "--json").out)["items"]
    assert [(task["name"], task["schedule"]) for task in listed] == [("my-work", "every minute")]
    scheduled(0)
    assert work.made("last") == ["one"]
    (run,) = history(work)
    shown = json.loads(work.flows("runs", "show", run["id"], "--json").out)
    assert [(step["name"], step["status"], step["message"]) for step in shown["steps"]] == [
        ("first", "success", "1 made, 0 up to date, 0 waiting"),
        ("second", "success", "1 made, 0 up to date, 0 waiting"),
    ]


def test_its_interval_and_name_may_be_given(work, scheduled):
    work.write(CHAIN)
    schedule(work, "--every", "15m", "--name", "files")
    listed = json.loads(work.flows("list-tasks", "--all", "--json").out)["items"]
    assert [task["name"] for task in listed] == ["files"]
    assert "15 min" in listed[0]["schedule"]


def test_mistakes_are_told_when_it_is_scheduled(work, scheduled):
    work.write("jobs: [{name: a}]")
    answer = work.flows("manual-schedule", "--folder", str(work.path))
    assert answer.code == 2
    assert "config.yml:1:8: error: job 'a': option 'target' is missing" in answer.err


def test_runs_without_work_are_one_row_with_a_count(work, scheduled):
    work.write(CHAIN, one="1")
    schedule(work)
    for minute in range(4):
        scheduled(minute)
    work.put("source/two")
    scheduled(4)
    scheduled(5)
    found = [(run["status"], run["why"]) for run in history(work)]
    assert found == [("exit", "nothing to do (4 runs like this)"), ("success", ""), ("success", "")]
    log = work.flows("logs", "my-work").out
    assert "nothing to do" not in log
    assert log.count(" started: ") == 2


def test_runs_without_work_leave_no_folder(work, tmp_path):
    work.write(CHAIN, one="1")
    run = work.run()["run_id"]
    for _ in range(3):
        work.run()
    assert [path.name for path in (tmp_path / "state/scflows/runs").iterdir()] == [run]


def test_a_failing_file_is_no_quiet_run(work, scheduled):
    work.write(FAIL_ON_BAD, bad="1")
    schedule(work)
    scheduled(0, code=1)
    scheduled(1, code=1)
    assert [run["status"] for run in history(work)] == ["failed", "failed"]


def test_hooks_hear_of_the_failure_and_the_recovery_but_not_of_quiet_runs(work, scheduled):
    work.write(FAIL_ON_BAD + "\non_failure: tell.yml\non_recovery: tell.yml\n", bad="1")
    work.put("tell.yml", TELL)
    schedule(work)
    scheduled(0, code=1)
    (work.path / "source/bad").unlink()
    for minute in (1, 2, 3):
        scheduled(minute)
    told = [json.loads(line)["hook"] for line in (work.path / "told.jsonl").read_text().splitlines()]
    assert told == ["on_failure", "on_recovery"]


def test_a_source_that_does_not_come_is_reported_once_and_its_recovery_too(work, scheduled, tmp_path):
    work.write(
        CHAIN.replace("name: first,", "name: first, expect: 1d,") + "on_failure: tell.yml\non_recovery: tell.yml\n"
    )
    work.put("tell.yml", TELL)
    work.put("source/one")
    schedule(work)
    scheduled(0)

    def told() -> list[tuple[str, str]]:
        path = work.path / "told.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        entries = [json.loads(line) for line in lines]
        return [(entry["hook"], entry["incident"]["kind"]) for entry in entries if "incident" in entry]

    (record,) = (tmp_path / "state/scflows/folders").glob("*.sqlite")
    with sqlite3.connect(record) as connection:
        connection.execute("UPDATE arrivals SET latest = latest - 90000")
    for minute in (1, 2):
        # Housekeeping, which delivers alerts, is due at most once a minute.
        (tmp_path / "state/scflows/housekeeping").unlink()
        scheduled(minute)
    wait_for(lambda: told() == [("on_failure", "no_source")])
    work.put("source/two")
    scheduled(3)
    wait_for(lambda: told() == [("on_failure", "no_source"), ("on_recovery", "no_source")])


def test_a_quiet_start_by_cron_loads_no_library_for_tables(work, environment):
    work.write(CHAIN, one="1")
    schedule(work)
    work.run()
    program = (
        "import sys, os; from scflows.cli import main\n"
        "sys.argv = ['flows', 'folders', 'run', sys.argv[1]]\n"
        "import scflows.execution.folder_workload as f\n"
        "run = f.FolderWorkload.run\n"
        "def noted(self, *rest):\n"
        "    code = run(self, *rest)\n"
        "    open(os.path.join(self.settings.home, '..', 'modules'), 'w').write('\\n'.join(sys.modules))\n"
        "    return code\n"
        "f.FolderWorkload.run = noted\n"
        "main()\n"
    )
    subprocess.run([sys.executable, "-P", "-c", program, str(work.path)], env=environment, check=False)
    loaded = set((work.path.parent / "modules").read_text().split())
    assert "scflows.connectors.folders" in loaded
    assert loaded.isdisjoint({"pandas", "numpy", "openpyxl", "sqlalchemy"})


class TestRecords:
    """What the store promises of runs without work."""

    @pytest.fixture
    def store(self, settings):
        with SqliteStore(settings) as store:
            yield store

    def quiet(self, store, slot: float | None) -> Run:
        run = Run(new_run_id(), "flow", "task", slot=slot, started=time.time(), status=RUNNING)
        assert store.claim(run) is None
        run.status, run.reason, run.message, run.ended, run.count = EXIT, UNCHANGED, "nothing to do", time.time(), 1
        assert store.finish(run)
        return run

    def test_the_newest_stands_for_all(self, store):
        for number in range(5):
            last = self.quiet(store, 1000.0 + number * MINUTE)
        (found,) = store.find(Query(task="task"))
        assert (found.id, found.count, found.message) == (last.id, 5, "nothing to do (5 runs like this)")

    def test_their_slots_are_not_missed_and_not_run_again(self, store):
        now = time.time() // 60 * 60
        slots = [now + number * MINUTE for number in range(3)]
        for slot in slots:
            last = self.quiet(store, slot)
        assert store.slots("task", now - 1, now + 200) == set(slots)
        again = Run(new_run_id(), "flow", "task", slot=slots[0], started=now)
        taken = store.claim(again)
        assert taken is not None
        assert taken.id == last.id
        missed = Run(new_run_id(), "flow", "task", slot=slots[1], started=now, status=SKIPPED, reason="missed")
        assert store.skip([missed]) == []

    def test_slots_of_long_ago_are_dropped(self, store):
        old = time.time() // 60 * 60 - 3 * 86400
        self.quiet(store, old)
        self.quiet(store, old + MINUTE)
        assert store.slots("task", old - 1, old + 200) == {old + MINUTE}

    def test_runs_by_hand_count_too(self, store):
        self.quiet(store, None)
        self.quiet(store, None)
        (found,) = store.find(Query(task="task"))
        assert found.count == 2
