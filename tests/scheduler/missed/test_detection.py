"""Slots that nobody answered for are recorded as missed, or owed to tasks that catch up."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from scflows.cron.schedule.schedule import OVERDUE, Schedule
from scflows.cron.scheduler_lock import acquire_scheduler_lock
from scflows.cron.task import Task, TaskStore
from scflows.history.contract import Query
from scflows.history.recorder import claim_path
from scflows.history.run import SUCCESS, Run, new_run_id
from scflows.history.store import open_store
from scflows.scheduler.missed.detection import MOST_OF_A_TASK, CatchUpSlot, MissedSlots, record_missed
from scflows.scheduler.slot_queue import SlotQueue
from scflows.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.history.contract import RunStore

MINUTE = 60
HOUR = 3600
DAY = 86400
#: A Monday, 12:00 UTC, and when the tasks were made.
NOON = 1780315200
BEFORE = "2026-06-01T11:57:00+00:00"
HOURLY = Schedule("17 * * * *", every=HOUR)
SLOT = NOON + 17 * MINUTE


@pytest.fixture
def store(settings: Settings) -> Iterator[RunStore]:
    opened = open_store(settings)
    yield opened
    opened.close()


@pytest.fixture
def put(settings: Settings, workspace: Path) -> Callable[..., Task]:
    def put(name: str, schedule: Schedule = HOURLY, **given: object) -> Task:
        task = Task(name, schedule, "f.yml", workspace=str(workspace), settings=settings.remembered(), created=BEFORE)
        task = replace(task, **given)  # type: ignore[arg-type]
        TaskStore(settings).write(task)
        return task

    return put


@pytest.fixture
def look(store: RunStore, settings: Settings) -> Callable[..., MissedSlots]:
    """Look at all tasks; every look counts, however soon."""

    def look(now: float, **given: object) -> MissedSlots:
        account = Path(settings.state_path) / "watermark"
        if account.exists():
            account.write_text(json.dumps({**json.loads(account.read_text()), "again": 0}))
        return record_missed(store, settings, now, **given)  # type: ignore[arg-type]

    return look


def ran(store: RunStore, name: str, slot: float, status: str = SUCCESS) -> None:
    run = Run(new_run_id(slot + 1), "f.yml", name, "cron", slot, status, started=slot + 1, ended=slot + 2)
    assert store.claim(run) is None


def missed(store: RunStore, name: str = "hourly") -> list[float]:
    found = store.find(Query(task=name, statuses=("skipped",), limit=0))
    assert {(run.reason, run.trigger) for run in found} <= {("missed", "housekeeping")}
    return sorted(run.slot or 0 for run in found)


def test_three_hours_without_cron_are_three_missed_slots(put, look, store) -> None:
    put("hourly")
    for hour in (0, 1):
        ran(store, "hourly", SLOT + hour * HOUR)
    look(SLOT + HOUR + 30)
    assert missed(store) == []
    found = look(SLOT + 5 * HOUR + 30)
    assert missed(store) == [SLOT + hour * HOUR for hour in (2, 3, 4)]
    assert [run.slot for run in found.missed] == missed(store)
    assert "not started in time" in found.missed[0].message
    # The newest is within the grace, and cron starts it.
    ran(store, "hourly", SLOT + 5 * HOUR)
    assert look(SLOT + 5 * HOUR + OVERDUE + 1).missed == []
    assert len(missed(store)) == 3


def test_missed_slots_are_recorded_also_when_two_ids_would_be_the_same(put, look, store, monkeypatch) -> None:
    put("hourly")
    ids = iter([new_run_id(NOON + number) for number in (1, 1, 2, 2, 3)])
    drawn = [next(ids)] * 3 + list(ids)
    monkeypatch.setattr("scflows.scheduler.missed.detection.new_run_id", lambda now: drawn.pop(0))
    look(NOON + 3 * HOUR)
    assert missed(store) == [SLOT, SLOT + HOUR, SLOT + 2 * HOUR]


def test_many_missed_slots_are_recorded_some_at_a_time(put, look, store, monkeypatch) -> None:
    monkeypatch.setattr("scflows.scheduler.missed.detection.AT_ONCE", 2)
    names = [f"hourly-{number}" for number in range(5)]
    for name in names:
        put(name)
    assert sorted(run.task for run in look(NOON + HOUR).missed) == names
    assert [missed(store, name) for name in names] == [[SLOT]] * 5


def test_a_second_look_records_nothing_again(put, look, store) -> None:
    put("hourly")
    look(NOON)
    assert len(look(NOON + 3 * HOUR).missed) == 3
    assert look(NOON + 3 * HOUR + 1).missed == []
    assert look(NOON + 2 * HOUR).missed == []
    assert look(NOON + 4 * HOUR).missed[0].slot == SLOT + 3 * HOUR


@pytest.mark.parametrize("status", ["running", "failed", "crashed", "skipped", "cancelled"])
def test_whatever_became_of_a_run_its_slot_is_answered(put, look, store, status) -> None:
    put("hourly")
    look(NOON)
    ran(store, "hourly", SLOT, status)
    assert look(NOON + HOUR).missed == []


def test_a_slot_that_was_claimed_by_a_file_is_answered(put, look, store, settings) -> None:
    put("hourly")
    look(NOON)
    claim = Path(claim_path(settings, "hourly", SLOT))
    claim.parent.mkdir(parents=True)
    claim.touch()
    assert look(NOON + HOUR).missed == []


def test_a_paused_task_misses_nothing(put, look, store) -> None:
    put("hourly", enabled=False)
    look(NOON)
    look(NOON + 3 * HOUR)
    put("hourly", since="2026-06-01T15:00:00+00:00")
    assert [run.slot for run in look(NOON + 5 * HOUR).missed] == [SLOT + 3 * HOUR, SLOT + 4 * HOUR]


def test_a_new_task_waits_for_its_first_slot(put, look, store) -> None:
    put("hourly", created="2026-06-01T12:17:30+00:00")
    assert look(NOON + 2 * HOUR).missed[0].slot == SLOT + HOUR


@pytest.mark.parametrize("since", ["", "2026-06-01T12:05:03+00:00"], ids=["new", "edited or enabled"])
@pytest.mark.parametrize("is_scheduler", [False, True], ids=["cron", "flows cron run"])
def test_a_sub_minute_task_waits_for_the_first_full_minute(put, look, store, since, is_scheduler) -> None:
    put("fine", Schedule("* * * * *", every=10), created="2026-06-01T12:00:03+00:00", since=since)
    first = NOON + (6 if since else 1) * MINUTE
    assert look(first + 30, is_scheduler=is_scheduler).missed == []
    found = look(first + 20 + OVERDUE, is_scheduler=is_scheduler)
    assert [run.slot for run in found.missed] == [first, first + 10, first + 20]


def test_a_sub_minute_task_made_just_before_a_minute_waits_for_the_one_after(put, look, store) -> None:
    put("fine", Schedule("* * * * *", every=10), created="2026-06-01T12:00:59+00:00")
    found = look(NOON + 120 + OVERDUE)
    assert [run.slot for run in found.missed] == [NOON + 120]


def test_the_first_look_ever_does_not_go_back_before_it_where_cron_was_at_work(put, look, store) -> None:
    put("hourly")
    ran(store, "hourly", SLOT)
    assert look(NOON + 10 * HOUR).missed == []
    assert [run.slot for run in look(NOON + 11 * HOUR).missed] == [SLOT + 10 * HOUR]


def test_a_month_off_is_a_hundred_records_and_one_for_all_others(put, look, store) -> None:
    put("often", Schedule("* * * * *", every=MINUTE))
    put("cron", Schedule("*/7 * * * *"))
    look(NOON)
    found = look(NOON + 30 * DAY)
    often = missed(store, "often")
    last = NOON + 30 * DAY - 3 * MINUTE
    assert often == list(range(last - 100 * MINUTE, last + 1, MINUTE))
    others = next(run for run in found.missed if run.task == "often")
    total = 30 * DAY // MINUTE
    assert others.message.startswith(
        f"{total - MOST_OF_A_TASK} slots from 2026-06-01T11:58:00+00:00 on, this one the last"
    )
    assert others.slot == often[0]
    assert len(missed(store, "cron")) == MOST_OF_A_TASK + 1
    assert look(NOON + 30 * DAY + 1).missed == []


def test_a_task_in_another_workspace_is_recorded_in_its_own_history(put, look, store, tmp_path, settings) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / ".env").write_text("SCFLOWS_DATABASE_URL=sqlite:///runs.sqlite\n")
    (other / ".env").chmod(0o600)
    put("there", workspace=str(other))
    look(NOON)
    found = look(NOON + HOUR)
    assert [(run.task, run.slot) for run in found.missed] == [("there", SLOT)]
    assert missed(store, "there") == []
    assert (other / "runs.sqlite").exists()


def test_a_history_that_cannot_be_used_is_made_up_for_later(put, look, store, tmp_path, settings) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / ".env").write_text("SCFLOWS_DATABASE_URL=sqlite:///runs.sqlite\n")
    (other / ".env").chmod(0o600)
    (other / "runs.sqlite").write_text("x" * 5000)
    put("there", workspace=str(other))
    put("hourly")
    look(NOON)
    found = look(NOON + HOUR)
    assert [run.task for run in found.missed] == ["hourly"]
    assert len(found.problems) == 1
    (other / "runs.sqlite").unlink()
    assert [run.slot for run in look(NOON + 2 * HOUR).missed if run.task == "there"] == [SLOT, SLOT + HOUR]


def test_while_a_scheduler_is_at_work_only_it_looks(put, look, store, settings) -> None:
    put("hourly")
    look(NOON)
    lock = acquire_scheduler_lock(settings)
    try:
        assert look(NOON + HOUR).missed == []
        assert len(look(NOON + HOUR, is_scheduler=True).missed) == 1
    finally:
        lock.release()


def test_a_slot_that_waits_in_the_queue_is_answered(put, look, store, settings) -> None:
    task = put("hourly")
    look(NOON)
    with SlotQueue(settings) as slots:
        slots.add(task, SLOT, "scheduler", SLOT, SLOT)
    assert look(NOON + HOUR, is_scheduler=True).missed == []
    assert look(NOON + HOUR).missed == []


@pytest.mark.parametrize(
    ("policy", "owed"),
    [
        ({"catch_up": "last"}, [5]),
        ({"catch_up": "all"}, [0, 1, 2, 3, 4, 5]),
        ({"catch_up": "all", "catch_up_cap": 2}, [4, 5]),
    ],
    ids=["last", "all", "capped"],
)
def test_what_a_task_catches_up_is_owed_and_not_missed(put, look, store, policy, owed) -> None:
    put("hourly", **policy)
    look(NOON)
    found = look(NOON + 6 * HOUR)
    slots = [SLOT + hour * HOUR for hour in range(6)]
    assert found.to_catch_up == [CatchUpSlot(slots[hour], "hourly") for hour in owed]
    assert missed(store) == [slot for slot in slots if CatchUpSlot(slot, "hourly") not in found.to_catch_up]
    # It stays owed until somebody answers; what came since displaces the oldest.
    ran(store, "hourly", slots[owed[0]])
    still = look(NOON + 6 * HOUR + 1).to_catch_up
    assert still == found.to_catch_up[1:]
    later = look(NOON + 7 * HOUR).to_catch_up
    assert later[-1].slot == SLOT + 6 * HOUR
    assert len(later) == min(len(still) + 1, policy.get("catch_up_cap", 24), 1 if policy["catch_up"] == "last" else 24)


def test_what_is_owed_is_missed_once_the_task_catches_up_no_more(put, look, store) -> None:
    put("hourly", catch_up="all")
    look(NOON)
    assert len(look(NOON + 2 * HOUR).to_catch_up) == 2
    put("hourly")
    assert look(NOON + 2 * HOUR + 1).to_catch_up == []
    assert missed(store) == [SLOT, SLOT + HOUR]


def test_a_finer_line_still_comes_to_a_slot_of_an_odd_interval(put, look, store) -> None:
    odd = Schedule("17 * * * *", 7 * HOUR, NOON % (7 * HOUR) + 17 * MINUTE)
    put("odd", odd)
    look(NOON)
    assert look(NOON + 3 * HOUR).missed == []
    assert look(SLOT + 6 * HOUR - 1).missed == []
    # After the last look of its line the next slot has come.
    assert [run.slot for run in look(SLOT + 6 * HOUR + OVERDUE).missed] == [SLOT]


def test_a_clock_that_was_years_ahead_is_forgotten(put, look, store) -> None:
    put("hourly")
    look(NOON)
    look(NOON + 400 * DAY)
    assert look(NOON + HOUR).missed == []
    assert [run.slot for run in look(NOON + 3 * HOUR).missed] == [SLOT + HOUR, SLOT + 2 * HOUR]


def test_a_clock_that_was_years_behind_has_nothing_answered_again(put, look, store) -> None:
    put("hourly")
    put("made-up", catch_up="all")
    look(NOON)
    for hour in range(10):
        ran(store, "hourly", SLOT + hour * HOUR)
        ran(store, "made-up", SLOT + hour * HOUR)
    look(NOON + 10 * HOUR)
    # By now these are pruned.
    store.remove([run.id for run in store.find(Query(limit=0))])
    assert look(NOON + 11 * HOUR).to_catch_up == [CatchUpSlot(SLOT + 10 * HOUR, "made-up")]
    # As on a machine whose battery is empty, until the network tells it the time.
    for wrong in (NOON - 6000 * DAY, NOON - 6000 * DAY + 90, NOON - 3000 * DAY, NOON - 5000 * DAY):
        assert look(wrong) == MissedSlots()
    found = look(NOON + 12 * HOUR)
    assert missed(store) == [SLOT + 10 * HOUR, SLOT + 11 * HOUR]
    # What was owed before still is.
    assert found.to_catch_up == [CatchUpSlot(SLOT + hour * HOUR, "made-up") for hour in (10, 11)]


def test_a_clock_that_was_ahead_for_a_while_misses_nothing_when_that_time_comes(put, look, store) -> None:
    put("hourly")
    look(NOON)
    look(NOON + DAY)
    known = missed(store)
    for hour in range(1, 30):
        ran(store, "hourly", SLOT + hour * HOUR)
        assert look(NOON + hour * HOUR + HOUR).missed == []
    assert missed(store) == known
    assert [run.slot for run in look(NOON + 31 * HOUR).missed] == [SLOT + 30 * HOUR]


def test_a_clock_that_is_set_back_a_little_misses_nothing_again(put, look, store) -> None:
    put("hourly")
    look(NOON)
    ran(store, "hourly", SLOT)
    look(NOON + HOUR)
    assert look(NOON).missed == look(NOON + HOUR + 1).missed == []


@pytest.mark.parametrize(
    "broken",
    [
        {"open": []},
        {"behind": []},
        {"open": {"hourly": 5}},
        {"open": {"hourly": ["x"]}},
        {"open": {"hourly": [1e300]}},
        {"behind": {"hourly": "x"}},
        {"behind": {"hourly": float("nan")}},
        {"until": "nan"},
        {"until": float("nan")},
        {"until": -1e300},
        {"until": 10**400},
        {"again": float("nan")},
        {"former": 5},
        {"former": [{"until": "x", "open": {}, "behind": {}}]},
    ],
)
def test_a_broken_account_is_as_none(put, store, settings, broken) -> None:
    put("hourly")
    ran(store, "hourly", SLOT)
    account = Path(settings.state_path) / "watermark"
    account.write_text(json.dumps({"until": SLOT + OVERDUE, "open": {}, "behind": {}, "again": 0, **broken}))
    # Older slots may have been answered and pruned, and none of them is told.
    assert record_missed(store, settings, SLOT + 3 * HOUR) == MissedSlots()
    assert json.loads(account.read_text())["until"] == SLOT + 3 * HOUR - OVERDUE
    record_missed(store, settings, SLOT + 4 * HOUR, at_once=True)
    assert missed(store) == [SLOT + 3 * HOUR]
