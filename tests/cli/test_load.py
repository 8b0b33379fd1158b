"""The load as it is planned and as it was; and levelling it again."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from scflows.cron.task import Task, TaskStore
from scflows.history.run import Run, new_run_id
from scflows.history.store import open_store
from scflows.settings import Settings

FLOW = "params: {device: {type: text}}\nsteps: [{name: s, type: set_fact, set_fact: {value: 1}}]\n"
DEVICES = [word for number in range(24) for word in ("--device", f"d{number}")]


def record(settings: Settings, *runs: tuple[str, float, float]) -> None:
    """Put runs into the history: of which task, when they started, how long they took."""
    store = open_store(settings)
    for task, started, took in runs:
        run = Run(new_run_id(started), "one.yml", task, started=started)
        assert store.claim(run) is None
        run.status, run.ended = "success", started + took
        assert store.finish(run)
    store.close()


def planned(settings: Settings) -> dict[str, Task]:
    return {task.name: task for task in TaskStore(settings).read_all()[0]}


def load(flows: Any) -> dict[str, Any]:
    answer = flows("load", "--json")
    assert answer.code == 0, answer.err
    found: dict[str, Any] = json.loads(answer.out)
    return found


@pytest.fixture
def longer(workspace: Path, settings: Settings, flows: Any) -> dict[str, Task]:
    """Tasks that were placed as short ones, of which the history says now that they take 20 minutes."""
    (workspace / "tasks" / "one.yml").write_text(FLOW)
    assert flows("manual-schedule", "one.yml", "--every", "1h", *DEVICES).code == 0
    for name in ("cron", "round"):
        how = ("--cron", "0 * * * *") if name == "cron" else ("--every", "1h", "--no-balance")
        assert flows("manual-schedule", "one.yml", "--name", name, *how).code == 0
    before = planned(settings)
    now = time.time()
    record(settings, *((name, now - (30 + age) * 86400, 1200.0) for name in before for age in range(3)))
    return before


def test_a_measured_duration_moves_nobody_and_shows_in_the_load(longer, flows, settings, workspace):
    before = load(flows)["planned"]
    assert before["mean"] == pytest.approx(26 / 3, rel=0.01)
    assert flows("manual-schedule", "one.yml", "--every", "1h", "--name", "new").code == 0
    now = planned(settings)
    assert {name: now[name] for name in longer} == longer
    # One of its kind is expected to take as long, and lies where it makes no higher peak if there is such a place.
    assert load(flows)["planned"]["mean"] == pytest.approx(27 / 3, rel=0.01)
    assert load(flows)["planned"]["peak"] <= before["peak"] + 1


def test_rebalance_moves_few_and_only_those_whose_slots_are_ours(longer, flows, settings):
    before = load(flows)["planned"]["peak"]
    answer = flows("rebalance", "--yes", "--json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    gain = told["rebalanced"]
    assert gain["before"] == before
    assert gain["after"] < before
    assert gain["after"] <= max(gain["fresh"] * 1.1, gain["fresh"] + 1)
    assert load(flows)["planned"]["peak"] == gain["after"]
    now = planned(settings)
    moved = {name for name in longer if now[name] != longer[name]}
    assert moved == {item["name"] for item in told["items"]}
    assert 0 < len(moved) == gain["moves"] <= 26 * 0.3
    assert moved.isdisjoint({"cron", "round"})
    for item in told["items"]:
        before, after = item["why"].removeprefix("every 1 h, first at ").split(" → ")
        for at, task in ((before, longer[item["name"]]), (after, now[item["name"]])):
            assert at == f"00:{int(task.schedule.cron.split(' ')[0]):02}:{task.schedule.second:02}"
        assert before != after
    again = flows("rebalance", "--yes")
    assert again.code == 0
    assert again.out.startswith("No task was moved: the load is even.")
    assert planned(settings) == now


def test_rebalance_asks_first_and_a_dry_run_changes_nothing(longer, flows, settings):
    tab = Path(settings.tabfile).read_bytes()
    refused = flows("rebalance")
    assert refused.code == 2
    assert "--yes" in refused.err
    shown = flows("rebalance", "--dry-run", "--exit-code")
    assert shown.code == 10
    assert "Peak concurrency: " in shown.out
    assert "placed from scratch" in shown.out
    assert planned(settings) == longer
    assert Path(settings.tabfile).read_bytes() == tab


def test_rebalance_moves_no_more_than_it_may(longer, flows, settings):
    assert flows("rebalance", "--yes", "--max-moves", "5%").code == 0
    now = planned(settings)
    assert sum(now[name] != longer[name] for name in longer) == 1


def test_a_wrong_number_of_moves_is_refused(flows):
    for most in ("x", "101%", "²"):
        assert flows("rebalance", "--max-moves", most).code == 2


def test_the_load_of_the_last_day_is_how_many_ran_at_once(flows, settings, workspace):
    now = time.time()
    begun = (now - 3 * 3600) // 3600 * 3600
    runs = (("a", 60, 100), ("b", 100, 100), ("c", 159, 10), ("d", 160, 5), ("e", 2000, 60))
    record(settings, *((name, begun + start, took) for name, start, took in runs))
    found = load(flows)
    minutes = {item["minute"]: item["measured"] for item in found["items"]}
    # In UTC and every zone of whole hours; of others the minutes are turned.
    assert sorted(minutes.values())[-4:] == [1, 1, 2, 3]
    assert found["measured"]["peak"] == 3
    assert found["measured"]["mean"] == pytest.approx(275 / 86400, abs=1e-3)
    assert found["planned"] == {"peak": 0, "mean": 0}


def test_the_load_is_shown_without_a_history(flows, settings, workspace):
    found = load(flows)
    assert found["measured"] == {"peak": None, "mean": None}
    assert not Path(settings.state_path, "history.sqlite").exists()


def test_a_task_of_seconds_starts_as_often_in_a_minute_as_it_says(flows, workspace):
    (workspace / "tasks" / "one.yml").write_text(FLOW)
    for every in ("20s", "90s"):
        assert flows("manual-schedule", "one.yml", "--every", every, "--name", f"t{every}").code == 0
    assert {item["starts"] for item in load(flows)["items"]} == {round(3 + 60 / 90, 3)}


def test_next_shows_the_second_in_which_a_run_starts(longer, flows, settings):
    items = json.loads(flows("next", "--hours", "1", "--json").out)["items"]
    seconds = {item["name"]: int(item["at"][17:19]) for item in items}
    assert seconds == {name: task.schedule.second for name, task in longer.items()}
    assert len(set(seconds.values())) > 1
    assert [item["at"] for item in items] == sorted(item["at"] for item in items)
