"""Slots as a user sees them: missed, made up, within a minute, and touched by the clocks."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from scflows.cron.schedule.fields import normalised
from scflows.cron.schedule.schedule import Schedule
from scflows.cron.task import Task, TaskStore
from scflows.history.crashes import record_crashes
from scflows.history.recorder import LOST_AFTER, Recorder, claim_path, import_claims, run_to_dict
from scflows.history.run import Run, new_run_id
from scflows.history.store import open_store
from scflows.locks import Lock, current_process, holder
from scflows.queue.entries import entries, mutex_folder
from scflows.queue.permits import wake_worker
from scflows.scheduler.cron_entry import due_slot, run_task_from_cron
from scflows.settings import Settings

HOUR = 3600
NOTE = (
    "steps:\n"
    "- {name: row, type: set_fact, set_fact: {value: [{slot: '{{ __slot__ }}'}]}}\n"
    "- {name: keep, type: table, table: {mode: append, path: slots.csv, data_key: row}}\n"
)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def task(settings: Settings, workspace: Path) -> Callable[..., Task]:
    """A task, made some hours ago, whose line starts an hour from now: no slot of it is due while the test runs."""

    def put(hours: float = 3.5, **given: Any) -> Task:
        flow = workspace / "tasks" / "one.yml"
        flow.write_text(NOTE)
        now = time.time()
        minute = int(now // 60 + 30) % 60
        made = datetime.fromtimestamp(now - hours * HOUR, UTC).isoformat(timespec="seconds")
        task = Task("one", Schedule(f"{minute} * * * *", HOUR), str(flow), workspace=str(workspace), created=made)
        task = replace(task, settings=settings.remembered(), **given)
        TaskStore(settings).write(task)
        return task

    return put


def slots_before(task: Task, hours: float) -> list[int]:
    now = datetime.now(UTC)
    begin = datetime.fromtimestamp(now.timestamp() - hours * HOUR, UTC)
    return [int(slot.timestamp()) for slot in task.schedule.slots(begin, now)]


def history(flows: Callable[..., Any]) -> list[dict[str, Any]]:
    return sorted(
        json.loads(flows("history", "--limit", "0", "--json").out)["items"], key=lambda run: run["slot"] or ""
    )


def _put(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def epoch(run: dict[str, Any]) -> int:
    return int(datetime.fromisoformat(run["slot"]).timestamp())


@pytest.mark.parametrize("look", [("history",), ("list-tasks",), ("show", "one")])
def test_any_look_records_what_was_missed(flows, task, look) -> None:
    slots = slots_before(task(), 3.5)
    assert flows(*look).code == 0
    runs = history(flows)
    assert [epoch(run) for run in runs] == slots
    assert {(run["status"], run["reason"]) for run in runs} == {("skipped", "missed")}


def test_a_missed_slot_is_run_by_hand_once(flows, task) -> None:
    slot = slots_before(task(), 3.5)[0]
    flows("history")
    dry = flows("run", "one", "--slot", str(slot), "--dry-run")
    first = flows("run", "one", "--slot", str(slot))
    second = flows("run", "one", "--slot", str(slot))
    assert (dry.code, first.code, second.code) == (0, 0, 0)
    assert "this slot was already run" in second.out
    done = [run["status"] for run in history(flows) if epoch(run) == slot and run["trigger"] == "manual"]
    assert sorted(done) == ["skipped", "success", "success"]


def test_a_time_that_is_no_slot_is_refused(flows, task) -> None:
    slot = slots_before(task(), 3.5)[0]
    odd, future = flows("run", "one", "--slot", str(slot + 60)), flows("run", "one", "--slot", str(slot + 6 * HOUR))
    assert (odd.code, future.code) == (2, 2)
    assert "is not a slot of task 'one' (hourly at :" in odd.err
    assert "the nearest slots are" in odd.err
    assert "is in the future" in future.err
    assert flows("run", "one", "--slot", str(slot + 60), "--force").code == 0
    # Known by now, as those of an earlier schedule are.
    assert flows("run", "one", "--slot", str(slot + 60)).code == 0


@pytest.mark.parametrize(("policy", "count"), [("last", 1), ("all", 3)])
def test_missed_slots_are_made_up_oldest_first(flows, task, workspace, policy, count) -> None:
    slots = slots_before(task(catch_up=policy), 3.5)[-count:]
    answer = flows("cron", "catch-up")
    assert answer.code == 0
    assert f"Caught up {count} missed slot" in answer.err + answer.out
    made_up = [run for run in history(flows) if run["trigger"] == "catch_up"]
    assert [(epoch(run), run["status"]) for run in made_up] == [(slot, "success") for slot in slots]
    # In their order, each with its own time.
    rows = (workspace / "data" / "slots.csv").read_text().split()[1:]
    assert [int(datetime.fromisoformat(row).timestamp()) for row in rows] == slots
    assert flows("cron", "catch-up").code == 0
    assert len(history(flows)) == 3 or policy == "last"


def test_missed_slots_are_made_up_one_after_another_though_they_wait_for_a_mutex(
    flows, task, settings, workspace
) -> None:
    slots = slots_before(task(catch_up="all"), 3.5)
    (workspace / "tasks/one.yml").write_text("mutex: m\n" + NOTE)
    mutex = Lock(mutex_folder(settings.lock_path), "m")
    assert mutex.acquire("another")
    try:
        with ThreadPoolExecutor(1) as pool:
            catching_up = pool.submit(flows, "cron", "catch-up")
            deadline = time.monotonic() + 60
            while len(entries(settings.state_path)) < len(slots):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert {entry.task for entry in entries(settings.state_path)} == {"one"}
            mutex.release()
            wake_worker(settings.state_path)
            assert catching_up.result().code == 0
    finally:
        mutex.release()
    while entries(settings.state_path) or holder(settings.lock_path, "one") is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    made_up = [run for run in history(flows) if run["trigger"] == "catch_up"]
    assert [epoch(run) for run in made_up] == slots
    assert "skipped" not in {run["status"] for run in made_up}


def test_whoever_ends_a_run_has_missed_slots_made_up(flows, task, settings, workspace) -> None:
    slots = slots_before(task(catch_up="all"), 3.5)
    (workspace / "tasks" / "other.yml").write_text("steps: []\n")
    assert flows("run", "other.yml").code == 0
    deadline = time.monotonic() + 60
    path = workspace / "data" / "slots.csv"
    while not path.exists() or len(path.read_text().split()) <= len(slots):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    while holder(settings.state_path, "worker") is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [epoch(run) for run in history(flows) if run["trigger"] == "catch_up"] == slots


@pytest.fixture
def broken_history(settings: Settings) -> Callable[[], Callable[[], None]]:
    """Break the history; what comes back mends it."""
    path = Path(settings.state_path) / "history.sqlite"

    def break_it() -> Callable[[], None]:
        whole = path.read_bytes()
        path.write_bytes(b"this is no database" + whole[19:])
        return lambda: _put(path, whole)

    return break_it


def test_a_slot_that_was_claimed_by_a_file_is_not_run_again_once_the_history_works(
    flows, task, settings, workspace, broken_history
) -> None:
    slot = slots_before(task(), 3.5)[0]
    flows("history")
    mend = broken_history()
    start = ("run", "--task", "one", "--state", settings.state_path, "--slot", str(slot))
    assert flows(*start).code == 0
    claim = Path(claim_path(settings, "one", slot))
    assert claim.exists()
    mend()
    flows(*start)
    flows(*start)
    assert len((workspace / "data/slots.csv").read_text().split()) == 2  # With the header.
    ran = [run for run in history(flows) if epoch(run) == slot and run["status"] == "success"]
    assert [run["trigger"] for run in ran] == ["scheduler"]
    # The history has it now.
    assert not claim.exists()


def claimed(settings: Settings, slot: float, holder: str) -> Run:
    """A run that claimed a slot by a file, and that goes on as long as its process does."""
    run = Run(new_run_id(), "one.yml", "one", trigger="cron", slot=slot, started=time.time(), holder=holder)
    path = Path(claim_path(settings, "one", slot))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(run_to_dict(run)))
    return run


def test_a_slot_claimed_by_a_run_that_goes_on_is_not_run_again_once_the_history_works(
    flows, task, settings, workspace
) -> None:
    slot = slots_before(task(), 3.5)[0]
    run = claimed(settings, float(slot), current_process())
    flows("run", "--task", "one", "--state", settings.state_path, "--slot", str(slot))
    assert not (workspace / "data/slots.csv").exists()
    assert [each["status"] for each in history(flows) if each["id"] == run.id] == ["running"]
    # The history has it now.
    assert not Path(claim_path(settings, "one", slot)).exists()


def test_a_claim_whose_process_is_dead_is_a_crash_like_any_other(flows, task, settings, workspace) -> None:
    slot = slots_before(task(), 3.5)[0]
    run = claimed(settings, float(slot), "gone:1:2:3")
    answered = [each for each in history(flows) if each["id"] == run.id]
    assert [(each["status"], each["reason"], epoch(each)) for each in answered] == [("crashed", "died", slot)]
    flows("run", "--task", "one", "--state", settings.state_path, "--slot", str(slot))
    again = [each for each in history(flows) if epoch(each) == slot and each["id"] != run.id]
    assert [(each["status"], each["reason"]) for each in again] == [("skipped", "slot")]


def test_a_claim_that_a_full_disk_left_empty_keeps_its_slot_and_is_a_crash_after_a_day(
    flows, task, settings, workspace
) -> None:
    slot = slots_before(task(), 3.5)[0]
    claim = Path(claim_path(settings, "one", slot))
    claim.parent.mkdir(parents=True)
    claim.touch()
    flows("run", "--task", "one", "--state", settings.state_path, "--slot", str(slot))
    assert not (workspace / "data/slots.csv").exists()
    assert claim.exists()
    os.utime(claim, (time.time() - LOST_AFTER - 1,) * 2)
    assert [each["status"] for each in history(flows) if epoch(each) == slot and each["reason"] == "died"] == [
        "crashed"
    ]
    assert not claim.exists()


def test_a_record_that_is_written_while_its_claim_is_imported_is_not_lost(settings, monkeypatch) -> None:
    run = claimed(settings, 60.0, current_process())
    ended = replace(run, status="success", ended=time.time())
    with open_store(settings) as store:
        begin = store.begin

        def begin_while_it_ends(given: Run) -> bool | None:
            monkeypatch.setattr("scflows.history.recorder.open_store", _cannot_be_opened)
            Recorder(settings).finish(ended)
            return begin(given)

        monkeypatch.setattr(store, "begin", begin_while_it_ends)
        import_claims(settings, store)
        monkeypatch.undo()
        import_claims(settings, store)
        found = store.run(run.id)
        assert found is not None
        assert found.status == "success"
    assert os.listdir(os.path.dirname(claim_path(settings, "one", 60.0))) == []


def _cannot_be_opened(settings: Settings) -> None:
    raise OSError("cannot be opened")


def test_a_queued_run_that_begins_while_the_history_is_broken_is_imported_as_running(settings, monkeypatch) -> None:
    queued = Run(new_run_id(), "one.yml", "one", trigger="cron", slot=60.0, status="queued", holder="gone:1:2:3")
    with monkeypatch.context() as patch:
        patch.setattr("scflows.history.recorder.open_store", _cannot_be_opened)
        assert Recorder(settings).claim(queued) is None
        assert Recorder(settings).claim(replace(queued, id=new_run_id())) == queued.id
        begun = replace(queued, status="running", holder=current_process())
        assert Recorder(settings).begin(begun) is None
    with open_store(settings) as store:
        import_claims(settings, store)
        found = store.run(queued.id)
        assert found is not None
        assert (found.status, found.holder) == ("running", begun.holder)
        assert record_crashes(store, settings) == []


def test_a_claim_that_cannot_be_opened_becomes_a_crash_after_a_day(settings) -> None:
    path = claim_path(settings, "one", 60.0)
    os.makedirs(os.path.dirname(path))
    os.symlink(path, path)  # ELOOP, also for root.
    with open_store(settings) as store:
        assert import_claims(settings, store) == 0
        old = time.time() - LOST_AFTER - 60
        os.utime(path, (old, old), follow_symlinks=False)
        assert import_claims(settings, store) == 1
        [run] = record_crashes(store, settings)
    assert (run.task, run.slot, run.status) == ("one", 60.0, "crashed")
    assert not os.path.lexists(path)


def test_records_of_another_workspace_and_history_wait_for_it(settings) -> None:
    other = Settings(f"{settings.home}/other", {**settings.environment, "SCFLOWS_DATABASE_URL": "sqlite:///own.sqlite"})
    Path(other.home).mkdir()
    Path(other.home, "own.sqlite").mkdir()
    run = Run(new_run_id(), "one.yml", "one", slot=60.0, status="running", holder=current_process())
    recorder = Recorder(other)
    assert recorder.claim(run) is None
    recorder.finish(replace(run, status="success", ended=time.time()))
    with open_store(settings) as store:
        assert import_claims(settings, store) == 0
    Path(other.home, "own.sqlite").rmdir()
    with open_store(other) as store:
        assert import_claims(other, store) == 1


def test_a_finer_line_does_not_come_to_a_slot_that_was_claimed_by_a_file(flows, task, settings, workspace) -> None:
    one = task(hours=20, schedule=Schedule("* * * * *", 7 * HOUR))
    slot = one.schedule.latest_epoch(time.time())
    claim = Path(claim_path(settings, "one", slot))
    claimed(settings, float(slot), current_process())
    flows("run", "--task", "one", "--state", settings.state_path)
    assert not (workspace / "data/slots.csv").exists()
    claim.unlink()
    flows("run", "--task", "one", "--state", settings.state_path)
    assert (workspace / "data/slots.csv").exists()


@pytest.mark.parametrize(
    ("cron", "second", "late", "slot"),
    [
        ("17 * * * *", 0, 0.3, 0),
        ("17 * * * *", 35, 35.3, 0),
        ("17 * * * *", 35, 34.2, 0),  # the sleep ended a little early, as where the clock is adjusted
        ("17 * * * *", 35, 34.2 - 35, 0),  # without its sleep, in the minute before: the hour before
        ("17 * * * *", 35, 0.3, 0),  # without its sleep
        ("17 * * * *", 55, 55 + 58.0, 0),  # cron was a minute late
        ("17 * * * *", 55, 55 + 130.0, 0),
        ("* * * * *", 0, 0.3, 0),
        ("* * * * *", 55, 55.3, 0),
        ("* * * * *", 55, 54.1, 0),
        ("* * * * *", 55, 55 + 40.0, 0),
        ("*/5 * * * *", 30, 30 + 61.0, 0),
    ],
)
def test_a_start_is_for_the_slot_that_its_line_slept_for(task, cron, second, late, slot) -> None:
    one = task(schedule=Schedule(normalised(cron), second=second))
    minute = datetime(2026, 6, 1, 12, 17 if cron.startswith("17") else 15).timestamp()
    expected = minute + slot if late > 0 else minute - HOUR
    assert due_slot(one, minute + late) == expected


def test_a_line_runs_the_slots_of_its_minute_at_their_seconds(flows, task, settings) -> None:
    task(schedule=Schedule("* * * * *", 20, 13))
    minute = time.time() // 60 * 60
    run_task_from_cron("one", now=lambda: minute + 1.2)
    expected = [slot for slot in range(int(minute), int(minute) + 60) if (slot - 13) % 20 == 0]
    assert [entry.at for entry in entries(settings.state_path)] == expected
    assert [epoch(run) for run in history(flows)] == expected
    assert {run["trigger"] for run in history(flows)} == {"cron"}


def test_where_the_queue_cannot_be_written_a_line_runs_its_slots_itself(flows, task, settings) -> None:
    task(schedule=Schedule("* * * * *", 20, 13))
    minute = time.time() // 60 * 60 - 600
    Path(settings.state_path, "queue").write_text("a file, where a folder should be")
    moment, waited = [minute + 1.2], []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        moment[0] += seconds

    run_task_from_cron("one", now=lambda: moment[0], wait=wait)
    runs = [run for run in history(flows) if run["status"] == "success"]
    expected = [slot for slot in range(int(minute), int(minute) + 60) if (slot - 13) % 20 == 0]
    assert [epoch(run) for run in runs] == expected
    assert moment[0] == expected[-1]


def test_scheduling_tells_what_the_clocks_will_do(flows, workspace) -> None:
    (workspace / "tasks" / "one.yml").write_text("steps: []\n")
    given = ("manual-schedule", "one.yml", "--cron", "30 2 * * *", "--timezone", "Europe/Madrid")
    told = flows(*given, "--dry-run", CRON_TIMEZONE="Europe/Madrid")
    assert "02:30 Europe/Madrid does not exist on 20" in told.err
    assert ": the task runs at 03:00" in told.err
    assert "02:30 Europe/Madrid occurs twice on 20" in told.err
    answer = flows(*given, "--json", CRON_TIMEZONE="Europe/Madrid")
    notes = json.loads(answer.out)["items"][0]["notes"]
    assert len(notes) == 2
    assert "clocks" in flows("show", "one", CRON_TIMEZONE="Europe/Madrid").out
    # The line in another zone looks for it then, too.
    other = flows(*given, "--name", "other", "--dry-run", CRON_TIMEZONE="Asia/Tokyo")
    assert ": the task runs at 03:00" in other.err


def test_scheduling_says_how_an_interval_is_kept(flows, workspace) -> None:
    (workspace / "tasks" / "one.yml").write_text("steps: []\n")
    answer = flows("manual-schedule", "one.yml", "--every", "7h", "--json")
    (item,) = json.loads(answer.out)["items"]
    assert item["schedule"] == "every 7 h, checked hourly"
    assert item["notes"] == ["7 h does not divide 24 h: the slots are counted"]
    assert "7 h does not divide 24 h" in flows("show", "one").out
    other = flows("manual-schedule", "one.yml", "--name", "fine", "--every", "20s")
    (shown,) = [line for line in flows("show", "fine").out.splitlines() if line.startswith("next")]
    assert re.search(r"\d\d:\d\d:\d\d", shown)
    assert "every 20 s, checked every minute (20 s is not a multiple of 1 min" in other.out
