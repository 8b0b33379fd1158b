"""What goes wrong while nobody looks: noticed by whoever comes next, told once, and its end told once.

The clock is given to the functions; the hooks are flows that write down what they are told.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scflows.cron.schedule.schedule import Schedule
from scflows.cron.task import Task, TaskStore
from scflows.cron.task_index import read_tasks
from scflows.execution.launch import launch, start_hook
from scflows.execution.request import RunRequest
from scflows.health.task_status import expected, list_task_status
from scflows.health.tasks import condition
from scflows.history.contract import Query
from scflows.history.run import FAILED, RUNNING, SKIPPED, SUCCESS, Run, new_run_id
from scflows.history.store import open_store
from scflows.history.task_groups import task_groups
from scflows.locks import current_process
from scflows.notifications.deadlines import deadlines_of, measured_runs, time_limit
from scflows.notifications.deliver import deliver_alerts
from scflows.notifications.incidents import Incident, change_incident, incident_of, incidents
from scflows.notifications.problems import by_task, find_problems
from scflows.scheduler.housekeeping import run_housekeeping
from scflows.scheduler.reconcile import open_reconciled_history
from scflows.settings import Settings

MINUTE = 60.0
HOUR = 3600.0
#: A full hour of the past, so that what is started for real comes later.
TEN = float(int(time.time()) // 3600 * 3600 - 30 * 86400)
TELL = "steps: [{name: tell, type: file, file: {path: told.json, mode: append, type: json, data_key: __input__}}]\n"
GOOD = "steps: [{name: fine, type: set_fact, set_fact: {value: 1}}]\n"


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    """A task's settings come from the environment and from its file."""
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "CRONTAB_PROGRAM", "HOME"):
        monkeypatch.setenv(name, environment[name])


@pytest.fixture
def told(workspace: Path, settings: Settings) -> Callable[[], list[tuple[str, str]]]:
    """The hooks of `config.yml`, and (hook, kind) of what they were told so far."""
    (workspace / "tasks/tell.yml").write_text(TELL)
    Path(settings.config_file).parent.mkdir(parents=True, exist_ok=True)
    Path(settings.config_file).write_text("on_failure: tell.yml\non_recovery: tell.yml\n")
    return lambda: [(each["hook"], each.get("incident", {}).get("kind", each["status"])) for each in inputs(workspace)]


def inputs(workspace: Path) -> list[dict[str, Any]]:
    path = workspace / "data/told.json"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def put(settings: Settings, workspace: Path) -> Callable[..., Task]:
    """Put an hourly task there, a day before."""

    def put(name: str = "hourly", flow: str = GOOD, every: int = 3600, **given: Any) -> Task:
        path = workspace / "tasks" / f"{name}.yml"
        path.write_text(flow)
        task = Task(
            name=name,
            schedule=given.pop("schedule", Schedule("0 * * * *", every)),
            flow=str(path),
            workspace=str(workspace),
            settings=settings.remembered(),
            created=time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(TEN - 86400)),
            **given,
        )
        files = TaskStore(settings)
        files.write(task)
        os.utime(files.path(name), (TEN - 86400, TEN - 86400))
        return task

    return put


@pytest.fixture
def ran(settings: Settings) -> Callable[..., Run]:
    """Record a run of a slot."""

    def ran(slot: float | None, status: str = SUCCESS, name: str = "hourly", took: float = 1.0, **given: Any) -> Run:
        started, again = given.pop("started", (slot or TEN) + 1), given.pop("again", False)
        run = Run(
            id=new_run_id(started),
            flow=f"{name}.yml",
            task=name,
            trigger=given.pop("trigger", "cron"),
            slot=slot,
            status=status,
            started=started,
            ended=None if status == RUNNING else started + took,
            holder=current_process(),
            **given,
        )
        store = open_store(settings)
        assert store.claim(run, again) is None
        store.close()
        return run

    return ran


@pytest.fixture
def missed(ran: Callable[..., Run]) -> Callable[..., None]:
    def missed(*slots: float, at: float) -> None:
        for slot in slots:
            ran(slot, SKIPPED, reason="missed", started=at, trigger="scheduler")

    return missed


def answer(settings: Settings, name: str, slot: float) -> str:
    """Run a task for its slot, as cron does."""
    task = TaskStore(settings).read(name)
    return launch(RunRequest(task=task, trigger="cron", slot=slot), settings).run.status


def test_a_slot_without_a_run_is_told_once_and_its_recovery_once(put, ran, told, settings):
    put()
    ran(TEN)
    run_housekeeping(settings, TEN + HOUR + 9 * MINUTE)
    assert told() == []
    for minute in (11, 13, 50):
        run_housekeeping(settings, TEN + HOUR + minute * MINUTE)
    assert told() == [("on_failure", "late")]
    assert answer(settings, "hourly", TEN + 2 * HOUR) == "success"
    ran(TEN + 3 * HOUR)
    run_housekeeping(settings, TEN + 3 * HOUR + MINUTE)
    assert told() == [("on_failure", "late"), ("on_recovery", "late")]


def test_what_is_told_says_which_slots_and_since_when(put, ran, told, settings, workspace):
    put()
    ran(TEN)
    run_housekeeping(settings, TEN + HOUR + 11 * MINUTE)
    (given,) = inputs(workspace)
    due = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(TEN + HOUR))
    assert (given["task"], given["status"], given["reason"], given["slot"]) == ("hourly", "late", "late", due)
    assert given["message"].endswith("not started 11 min later")
    assert given["incident"] == {"kind": "late", "message": given["message"], "since": due, "slots": [due]}
    assert (given["id"], given["started"], given["flow"]) == (None, None, "hourly.yml")
    answer(settings, "hourly", TEN + 2 * HOUR)
    given = inputs(workspace)[1]
    assert (given["status"], given["incident"]["since"]) == ("success", due)
    log = Path(settings.tasks_path) / "hourly/hourly.log"
    assert "WARNING late: due at " in log.read_text()
    assert "works again: run " in log.read_text()


def test_late_and_then_three_slots_missed_is_one_alert(put, ran, missed, told, settings):
    put()
    ran(TEN)
    run_housekeeping(settings, TEN + HOUR + 11 * MINUTE)
    missed(TEN + HOUR, TEN + 2 * HOUR, at=TEN + 2 * HOUR + 3 * MINUTE)
    run_housekeeping(settings, TEN + 2 * HOUR + 4 * MINUTE)
    missed(TEN + 3 * HOUR, at=TEN + 3 * HOUR + 3 * MINUTE)
    run_housekeeping(settings, TEN + 3 * HOUR + 4 * MINUTE)
    assert told() == [("on_failure", "late")]
    incident = incident_of(settings, "hourly")
    assert incident is not None
    assert (incident.kind, incident.slots) == ("missed", (TEN + HOUR, TEN + 2 * HOUR, TEN + 3 * HOUR))
    assert incident.message.startswith("3 slots missed, from ")
    answer(settings, "hourly", TEN + 4 * HOUR)
    run_housekeeping(settings, TEN + 4 * HOUR + 2 * MINUTE)
    assert told() == [("on_failure", "late"), ("on_recovery", "missed")]


def test_slots_found_missed_after_the_task_runs_again_are_one_alert_and_one_recovery(put, ran, missed, told, settings):
    put()
    ran(TEN)
    ran(TEN + 4 * HOUR)
    missed(TEN + HOUR, TEN + 2 * HOUR, TEN + 3 * HOUR, at=TEN + 4 * HOUR + 2)
    for minute in (1, 3, 5):
        run_housekeeping(settings, TEN + 4 * HOUR + minute * MINUTE)
    assert told() == [("on_failure", "missed"), ("on_recovery", "missed")]


def test_slots_that_are_caught_up_are_one_alert_and_one_recovery(put, ran, told, settings):
    put()
    ran(TEN)
    ran(TEN + 4 * HOUR)
    ran(TEN + HOUR, started=TEN + 4 * HOUR + 10, trigger="catch_up")
    ran(TEN + 2 * HOUR, started=TEN + 4 * HOUR + 20, trigger="catch_up")
    run_housekeeping(settings, TEN + 4 * HOUR + MINUTE)
    ran(TEN + 3 * HOUR, started=TEN + 4 * HOUR + 70, trigger="catch_up")
    run_housekeeping(settings, TEN + 4 * HOUR + 3 * MINUTE)
    assert told() == [("on_failure", "late"), ("on_recovery", "late")]


def test_slots_that_were_given_up_while_they_waited_are_one_alert_and_one_recovery(put, ran, told, settings):
    put()
    ran(TEN)
    for number in (1, 2):
        ran(TEN + number * HOUR, SKIPPED, reason="queue_timeout", started=TEN + number * HOUR + 55 * MINUTE)
    run_housekeeping(settings, TEN + 3 * HOUR)
    assert told() == [("on_failure", "missed")]
    found = incident_of(settings, "hourly")
    assert found is not None
    assert found.message.endswith("given up after waiting longer than MAX_WAIT_SECONDS")
    assert [view.state for view in list_task_status(settings, now=TEN + 3 * HOUR).views] == ["late"]
    assert answer(settings, "hourly", TEN + 3 * HOUR) == "success"
    assert told() == [("on_failure", "missed"), ("on_recovery", "missed")]
    assert [view.state for view in list_task_status(settings, now=TEN + 3 * HOUR + MINUTE).views] == ["enabled"]


def test_slots_from_before_a_task_was_scheduled_anew_are_not_counted(put, ran, missed, settings, flows):
    task = put()
    now = time.time() // 3600 * 3600
    missed(now - HOUR, now, at=now)
    store = open_store(settings)
    files = TaskStore(settings)
    os.utime(files.path("hourly"), (now - 86400, now - 86400))
    group = next(task_groups(settings, store, read_tasks(settings)[0]))

    def found() -> list[str]:
        return [
            each.kind
            for each in find_problems(group, by_task(store.late_runs(now - 86400, time.time())), time.time() + 1)
        ]

    assert found() == ["missed"]
    files.write(task)
    assert found() == []
    store.close()


def test_a_second_outage_is_told_again(put, ran, told, settings):
    put()
    ran(TEN)
    run_housekeeping(settings, TEN + HOUR + 11 * MINUTE)
    answer(settings, "hourly", TEN + 2 * HOUR)
    run_housekeeping(settings, TEN + 3 * HOUR + 11 * MINUTE)
    assert [hook for hook, _ in told()] == ["on_failure", "on_recovery", "on_failure"]


def test_a_run_by_hand_ends_no_outage_of_the_scheduler(put, ran, told, settings):
    put()
    ran(TEN)
    run_housekeeping(settings, TEN + HOUR + 11 * MINUTE)
    launch(RunRequest(task=TaskStore(settings).read("hourly")), settings)
    assert told() == [("on_failure", "late")]


def test_a_run_that_takes_too_long_is_told_and_its_good_end_is_the_recovery(put, ran, told, settings, workspace):
    put(end_within=600.0)
    run = ran(TEN, RUNNING)
    run_housekeeping(settings, TEN + 9 * MINUTE)
    assert told() == []
    run_housekeeping(settings, TEN + 11 * MINUTE)
    run_housekeeping(settings, TEN + 13 * MINUTE)
    assert told() == [("on_failure", "too_long")]
    (given,) = inputs(workspace)
    assert (given["id"], given["status"], given["reason"]) == (run.id, "running", "too_long")
    assert given["message"] == "running for 11 min, expected to end within 10 min"
    run.status, run.ended = SUCCESS, TEN + 14 * MINUTE
    store = open_store(settings)
    assert store.finish(run)
    store.close()
    run_housekeeping(settings, TEN + 15 * MINUTE)
    assert told() == [("on_failure", "too_long"), ("on_recovery", "too_long")]


def test_the_flows_own_limit_says_what_is_too_long(put, ran, told, settings):
    task = put(flow="timeout: 3600\n" + GOOD)
    ran(TEN, RUNNING)
    run_housekeeping(settings, TEN + 50 * MINUTE)
    assert told() == []
    assert expected(settings, task).end_within == 3600
    run_housekeeping(settings, TEN + 61 * MINUTE)
    assert told() == [("on_failure", "too_long")]


def test_a_short_limit_of_the_flow_and_a_long_one_of_the_task_are_the_short_one(put, ran, settings):
    task = put(flow="timeout: 120\n" + GOOD, timeout=7200.0)
    assert time_limit(task, 600.0) == 120.0
    assert time_limit(put("other", timeout=7200.0), 600.0) == 7200.0
    assert time_limit(put("third"), 5.0) == 600.0


@pytest.mark.parametrize("trigger", ["retry", "resume", "manual"])
def test_a_run_by_hand_of_an_old_slot_is_not_late(put, ran, told, settings, trigger):
    task = put()
    for hour in range(1, 8):
        ran(TEN - hour * HOUR, started=TEN - hour * HOUR + 5)
    ran(TEN - 5 * HOUR, started=TEN + MINUTE, trigger=trigger, again=True)
    ran(TEN, started=TEN + 5)
    run_housekeeping(settings, TEN + 2 * MINUTE)
    assert told() == []
    with open_store(settings) as store:
        # Nor does it make a long wait in the queue look usual.
        assert deadlines_of(task, measured_runs(task, store), 600.0).start_within < 660.0


def test_slots_from_before_a_task_was_scheduled_are_not_late(put, ran, told, settings):
    task = put()
    created = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(TEN - 30 * MINUTE))
    # A task of that name was removed an hour ago.
    ran(TEN - HOUR, started=TEN - 20 * MINUTE)
    ran(TEN - 2 * HOUR, SKIPPED, reason="missed")
    TaskStore(settings).write(replace(task, created=created))
    ran(TEN, started=TEN + 5)
    run_housekeeping(settings, TEN + 2 * MINUTE)
    assert told() == []


def test_a_run_that_took_too_long_and_then_failed_is_one_alert_of_the_settings(put, ran, told, settings):
    put(
        end_within=600.0,
        flow="on_failure: own.yml\n" + GOOD.replace("set_fact: {value: 1}", "set_fact: {value: '{{ 1 / 0 }}'}"),
    )
    own = TELL.replace("told.json", "own.json")
    (Path(settings.home) / "tasks/own.yml").write_text(own)
    ran(TEN, RUNNING)
    run_housekeeping(settings, TEN + 11 * MINUTE)
    assert answer(settings, "hourly", TEN + HOUR) == "failed"
    assert told() == [("on_failure", "too_long")]
    # The flow's own hears of each: that it takes long, and that a run failed.
    lines = (Path(settings.home) / "data/own.json").read_text().splitlines()
    assert [json.loads(line)["reason"] for line in lines] == ["too_long", "error"]
    (Path(settings.home) / "tasks/hourly.yml").write_text(GOOD)
    assert answer(settings, "hourly", TEN + 2 * HOUR) == "success"
    assert told() == [("on_failure", "too_long"), ("on_recovery", "too_long")]


def test_a_paused_an_edited_and_a_dry_task_are_not_told_of(put, ran, told, settings):
    put("paused", enabled=False)
    put("resumes", paused_until=TEN + 2 * HOUR)
    put("dry", dry=True)
    edited = put("edited")
    os.utime(TaskStore(settings).path(edited.name), (TEN + HOUR + 1, TEN + HOUR + 1))
    for name in ("paused", "resumes", "dry", "edited"):
        ran(TEN, name=name)
    run_housekeeping(settings, TEN + HOUR + 30 * MINUTE)
    assert told() == []


@pytest.mark.parametrize(
    "pause", [{"enabled": False}, {"paused_until": TEN + 9 * HOUR}], ids=["without end", "for a time"]
)
def test_what_was_wrong_with_a_task_that_is_paused_is_forgotten(put, ran, told, settings, pause):
    put()
    ran(TEN)
    run_housekeeping(settings, TEN + HOUR + 11 * MINUTE)
    put(**pause)
    run_housekeeping(settings, TEN + HOUR + 13 * MINUTE)
    assert incidents(settings) == []
    assert told() == [("on_failure", "late")]


@pytest.mark.parametrize(("count", "waits"), [(1, True), (3, False)])
def test_nobody_waits_for_a_look_at_very_many_tasks(put, ran, settings, monkeypatch, count, waits):
    for number in range(count):
        put(f"hourly-{number}")
        ran(TEN, name=f"hourly-{number}")
    left: list[Callable[[], object]] = []
    monkeypatch.setattr("scflows.cron.task_index.VERY_MANY", 2)
    monkeypatch.setattr("scflows.connectors.process.run_detached", left.append)
    run_housekeeping(settings, TEN + HOUR + 11 * MINUTE, aside=True)
    assert bool(incidents(settings)) is waits
    for action in left:
        action()
    assert len(incidents(settings)) == count


@pytest.mark.parametrize(("count", "waits"), [(1, True), (3, False)])
def test_nobody_waits_for_the_missed_slots_of_very_many_tasks(put, settings, monkeypatch, count, waits):
    for number in range(count):
        put(f"hourly-{number}")
    monkeypatch.setattr("scflows.cron.task_index.VERY_MANY", 2)
    store = open_reconciled_history(settings)
    assert bool(store.find(Query(statuses=(SKIPPED,)))) is waits
    store.close()


def test_two_who_look_at_once_tell_once(put, ran, told, settings, workspace):
    put()
    ran(TEN)
    now = TEN + HOUR + 11 * MINUTE
    code = f"""
import sys
from scflows.scheduler.housekeeping import run_housekeeping
from scflows.settings import read_settings
sys.stdin.read()
run_housekeeping(read_settings({str(workspace)!r}), {now!r})
"""
    processes = [
        subprocess.Popen([sys.executable, "-P", "-c", code], stdin=subprocess.PIPE, cwd=workspace) for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    assert [process.wait(60) for process in processes] == [0] * 4
    assert told() == [("on_failure", "late")]


def test_two_who_tell_at_once_tell_once(put, ran, told, settings, workspace):
    put()
    ran(TEN)
    begun = []

    def slowly(path: str, given: dict[str, Any], about: str, used: Settings) -> str:
        begun.append(given["hook"])
        time.sleep(0.2)
        return ""

    from scflows.notifications.monitor import update_incidents

    store = open_store(settings)
    update_incidents(settings, store, TEN + HOUR + 11 * MINUTE)
    store.close()
    threads = [threading.Thread(target=deliver_alerts, args=(settings, slowly)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert begun == ["on_failure"]


def test_a_hook_that_hangs_keeps_back_the_alerts_of_its_own_task_alone(put, ran, told, settings):
    from scflows.notifications.monitor import update_incidents

    for name in ("first", "second", "third"):
        put(name)
        ran(TEN, name=name)
    store = open_store(settings)
    update_incidents(settings, store, TEN + HOUR + 11 * MINUTE)
    store.close()
    begun: list[str] = []
    hangs, goes_on = threading.Event(), threading.Event()

    def start(path: str, given: dict[str, Any], about: str, used: Settings) -> str:
        begun.append(given["task"])
        if given["task"] == "first":
            hangs.set()
            assert goes_on.wait(60)
        return ""

    thread = threading.Thread(target=deliver_alerts, args=(settings, start))
    thread.start()
    assert hangs.wait(60)
    deliver_alerts(settings, start)
    deliver_alerts(settings, start, "first")
    assert begun == ["first", "second", "third"]
    goes_on.set()
    thread.join()
    deliver_alerts(settings, start)
    assert begun == ["first", "second", "third"]
    assert [each.delivered for each in incidents(settings)] == [True] * 3


@pytest.mark.parametrize("when", ["before the hook", "after the hook"])
def test_who_is_killed_while_telling_has_it_told_by_the_next(put, ran, told, settings, workspace, when):
    put()
    ran(TEN)
    code = f"""
import os, signal
import scflows.execution.launch as launching
from scflows.scheduler.housekeeping import run_housekeeping
from scflows.settings import read_settings
start = launching.start_hook
def killed(*given):
    if {when!r} == "after the hook":
        start(*given)
    os.kill(os.getpid(), signal.SIGKILL)
launching.start_hook = killed
run_housekeeping(read_settings({str(workspace)!r}), {TEN + HOUR + 11 * MINUTE!r})
"""
    assert subprocess.run([sys.executable, "-P", "-c", code], cwd=workspace, timeout=60).returncode == -9
    before = len(told())
    for minute in (13, 15, 17):
        run_housekeeping(settings, TEN + HOUR + minute * MINUTE)
    assert told()[before:] == [("on_failure", "late")]


def test_who_keeps_being_killed_by_a_hook_does_not_try_for_ever(put, ran, told, settings, workspace):
    put()
    ran(TEN)
    tries = []

    def dies(*given: Any) -> str:
        tries.append(given[0])
        raise KeyboardInterrupt

    from scflows.notifications.monitor import update_incidents

    store = open_store(settings)
    update_incidents(settings, store, TEN + HOUR + 11 * MINUTE)
    store.close()
    for _ in range(9):
        try:
            deliver_alerts(settings, dies)
        except KeyboardInterrupt:
            continue
    assert len(tries) == 5


def test_a_history_that_cannot_be_written_still_has_what_is_late_told(put, ran, told, settings):
    put()
    ran(TEN)
    path = Path(settings.state_path) / "history.sqlite"
    moved = path.with_name("elsewhere.sqlite")
    path.rename(moved)
    moved.chmod(0o400)
    path.symlink_to("/proc/self/mem")  # Neither root nor anybody else can make a database of it.
    run_housekeeping(settings, TEN + HOUR + 11 * MINUTE)
    assert told() == []
    path.unlink()
    moved.rename(path)
    run_housekeeping(settings, TEN + HOUR + 13 * MINUTE)
    assert told() == [("on_failure", "late")]


def test_with_a_broken_config_the_flows_own_hook_is_called(put, ran, told, settings, workspace):
    put(flow="on_failure: tell.yml\n" + GOOD)
    ran(TEN)
    Path(settings.config_file).write_text("on_failure: [x]\n")
    run_housekeeping(settings, TEN + HOUR + 11 * MINUTE)
    assert told() == [("on_failure", "late")]
    log = Path(settings.tasks_path) / "hourly/hourly.log"
    assert "config.yml:1:1: error: on_failure must be text" in log.read_text()


def test_with_a_broken_flow_the_hook_of_the_settings_is_called(put, ran, told, settings):
    put(flow="steps: [")
    ran(TEN)
    run_housekeeping(settings, TEN + HOUR + 11 * MINUTE)
    assert told() == [("on_failure", "late")]


def test_one_workspace_that_is_gone_keeps_nobody_from_looking_after_the_others(put, ran, told, settings, tmp_path):
    put()
    ran(TEN)
    put("astray")
    task = TaskStore(settings).read("astray")
    TaskStore(settings).write(Task(**{**task.__dict__, "workspace": str(tmp_path / "gone")}))
    (Path(settings.state_path) / "tasks/broken.json").write_text("{")
    run_housekeeping(settings, TEN + HOUR + 11 * MINUTE)
    assert told() == [("on_failure", "late")]


def test_it_is_done_once_a_minute_and_less_often_where_it_takes_long(put, ran, told, settings):
    put()
    ran(TEN)
    now = TEN + HOUR + 11 * MINUTE
    stamp = Path(settings.state_path) / "housekeeping"
    stamp.write_text(f"{now - 50} 0.1\n")
    run_housekeeping(settings, now)
    stamp.write_text(f"{now - 70} 10.0\n")
    run_housekeeping(settings, now)
    assert told() == []
    stamp.write_text(f"{now - 201} 10.0\n")
    run_housekeeping(settings, now)
    assert told() == [("on_failure", "late")]


@pytest.mark.parametrize("took", ["28800.0", "1e300", "inf", "nan", "-1e9", ""])
def test_what_was_stopped_in_the_midst_of_a_look_is_looked_for_again_within_a_quarter_of_an_hour(
    put, ran, told, settings, took
):
    put()
    ran(TEN)
    now = TEN + HOUR + 31 * MINUTE
    (Path(settings.state_path) / "housekeeping").write_text(f"{now - 15 * MINUTE} {took}\n")
    run_housekeeping(settings, now)
    assert told() == [("on_failure", "late")]


def test_what_is_expected_comes_from_schedule_and_history_unless_it_is_said(put, ran, settings):
    task = put(every=86400, schedule=Schedule("0 4 * * *", 86400))
    store = open_store(settings)
    assert deadlines_of(task, measured_runs(task, store), 600).to_dict() == {"start_within": 600.0, "end_within": 600.0}
    for number in range(20):
        ran(TEN + number * HOUR, took=40.0, started=TEN + number * HOUR + 120)
    found = deadlines_of(task, measured_runs(task, store), 3600)
    assert (found.start_within, found.end_within) == (720.0, 120.0)
    # One that hung is no measure.
    ran(TEN + 30 * HOUR, took=3000.0)
    assert deadlines_of(task, measured_runs(task, store), 3600).end_within == 120.0
    set_by_hand = put(start_within=30.0, end_within=90.0)
    assert deadlines_of(set_by_hand, measured_runs(set_by_hand, store), 3600).to_dict() == {
        "start_within": 30.0,
        "end_within": 90.0,
    }
    assert deadlines_of(put(every=60, schedule=Schedule("* * * * *", 60)), [], 600).start_within == 150.0
    store.close()


def test_a_start_deadline_set_by_hand_holds(put, ran, told, settings):
    put(start_within=60.0)
    ran(TEN)
    run_housekeeping(settings, TEN + HOUR + 59)
    assert told() == []
    run_housekeeping(settings, TEN + HOUR + 122)
    assert told() == [("on_failure", "late")]


def test_a_slot_that_was_skipped_is_answered(put, ran, told, settings):
    put()
    ran(TEN, RUNNING)
    ran(TEN + HOUR, SKIPPED, reason="locked")
    run_housekeeping(settings, TEN + HOUR + 9 * MINUTE)
    assert [each for each in told() if each[1] == "late"] == []


def test_a_crash_after_an_alert_is_no_second_one_of_the_settings(put, ran, told, settings):
    put(end_within=600.0)
    run = ran(TEN, RUNNING)
    run_housekeeping(settings, TEN + 11 * MINUTE)
    store = open_store(settings)
    # Its process is of an earlier boot now.
    store._connection.execute("UPDATE runs SET holder = 'earlier:0:1:1' WHERE id = ?", (run.id,))
    store.close()
    run_housekeeping(settings, TEN + 13 * MINUTE)
    assert told() == [("on_failure", "too_long")]
    answer(settings, "hourly", TEN + HOUR)
    assert told() == [("on_failure", "too_long"), ("on_recovery", "too_long")]


def test_a_hook_is_started_once_with_the_real_one_too(put, ran, told, settings):
    put()
    ran(TEN)
    run_housekeeping(settings, TEN + HOUR + 11 * MINUTE)
    deliver_alerts(settings, start_hook)
    assert told() == [("on_failure", "late")]


@pytest.mark.parametrize(
    "broken",
    [
        {"until": "abc"},
        {"until": None},
        {"until": float("nan")},
        {"since": 1e300},
        {"found": "x"},
        {"slots": ["a"]},
        {"slots": [1e300]},
        {"slots": 5},
        {"tries": "x"},
        {"tries": 1.5},
        {"kind": "bogus"},
        {"kind": []},
        {"message": 5},
        {"run": []},
        {"recovery": 7},
        {"delivered": "no"},
        {"is_open": 1},
        {"more": 1},
    ],
)
def test_a_broken_incident_is_none_and_a_run_goes_on(put, settings: Settings, broken: dict[str, Any]) -> None:
    task = put()
    whole = {
        "task": "hourly", "kind": "late", "since": TEN, "until": TEN, "found": TEN, "message": "x", "slots": [TEN],
        "run": "", "delivered": True, "attempts": 0, "recovery": "", "is_open": True,
    }  # fmt: skip
    path = Path(settings.state_path) / "incidents/hourly.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(whole))
    assert len(incidents(settings)) == 1
    path.write_text(json.dumps({**whole, **broken}))
    assert incidents(settings) == []
    assert incident_of(settings, "hourly") is None
    assert launch(RunRequest(task=task, trigger="cron", slot=TEN), settings).run.status == SUCCESS


def test_runs_of_a_clock_that_was_ahead_hide_no_failure(put, ran, settings):
    put()
    ran(TEN + 40 * HOUR)
    ran(TEN, FAILED)
    now = TEN + 10 * MINUTE
    (view,) = list_task_status(settings, now=now).views
    assert (view.state, view.failures) == ("failing", 1)
    store = open_store(settings)
    assert [problem.kind for problem in condition(settings, store, now).problems] == ["failing"]
    store.close()


def test_slots_that_a_clock_that_was_ahead_missed_are_not_reported(put, ran, missed, told, settings):
    put()
    missed(*(TEN + hours * HOUR for hours in range(1, 30)), at=TEN + 30 * HOUR)
    ran(TEN)
    run_housekeeping(settings, TEN + 10 * MINUTE)
    assert told() == []
    assert incident_of(settings, "hourly") is None


def test_an_incident_that_a_clock_that_was_ahead_found_blocks_no_alert(put, ran, missed, told, settings):
    put()
    ran(TEN)
    run_housekeeping(settings, TEN + 31 * HOUR)
    assert told() == [("on_failure", "late")]
    run_housekeeping(settings, TEN + HOUR + 11 * MINUTE)
    assert told() == [("on_failure", "late")] * 2
    incident = incident_of(settings, "hourly", TEN + HOUR + 11 * MINUTE)
    assert incident is not None
    assert incident.until == TEN + HOUR


def test_an_incident_that_grew_while_the_clock_was_ahead_ends_with_the_next_good_run(put, ran, told, settings):
    put()
    ran(TEN)
    run_housekeeping(settings, TEN + HOUR + 11 * MINUTE)
    run_housekeeping(settings, TEN + 31 * HOUR)
    ran(TEN + 2 * HOUR)
    run_housekeeping(settings, TEN + 2 * HOUR + MINUTE)
    assert [hook for hook, _ in told()] == ["on_failure", "on_recovery"]


def test_a_failure_is_told_although_an_incident_lies_in_the_future(put, told, settings, workspace):
    put(flow="steps: [{name: a, type: file, file: {path: nowhere.txt, type: text}}]\n")
    ahead = time.time() + 86400
    found = Incident("hourly", "missed", ahead - HOUR, ahead, ahead, slots=(ahead,), delivered=True)
    change_incident(settings, "hourly", lambda before: found)
    assert answer(settings, "hourly", TEN) == "failed"
    assert told() == [("on_failure", "failed")]
