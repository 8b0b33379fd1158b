from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from scflows.history.run import Run, new_run_id
from scflows.history.store import open_store
from scflows.settings import Settings

if TYPE_CHECKING:
    from scflows.history.contract import RunStore


@pytest.fixture
def store(settings: Settings) -> Iterator[RunStore]:
    opened = open_store(settings)
    yield opened
    opened.close()


def ran(store: RunStore, task: str, at: float, took: float | None, status: str = "success", dry: bool = False) -> None:
    run = Run(new_run_id(at), f"{task}.yml", task, started=at, dry_run=dry)
    assert store.claim(run) is None
    if took is not None:
        run.status, run.ended = status, at + took
        assert store.finish(run)


def test_the_newest_good_runs_of_each_task_are_told_newest_first(store: RunStore) -> None:
    for number in range(30):
        ran(store, "hourly", 1_790_000_000 + number * 3600, 10.0 + number)
    ran(store, "daily", 1_700_000_000, 7.0)
    assert store.durations(3) == {"hourly": [39.0, 38.0, 37.0], "daily": [7.0]}


def test_runs_that_say_nothing_of_how_long_the_work_takes_are_left_out(store: RunStore) -> None:
    begun = 1_790_000_000
    ran(store, "report", begun, 5.0)
    ran(store, "report", begun + 1, 6.0, "exit")
    for number, status in enumerate(("failed", "cancelled", "crashed", "skipped")):
        ran(store, "report", begun + 10 + number, 99.0, status)
    ran(store, "report", begun + 20, 99.0, dry=True)
    ran(store, "report", begun + 30, None)
    ran(store, "never-good", begun, 99.0, "failed")
    assert store.durations(20) == {"report": [6.0, 5.0]}


def test_a_clock_that_was_set_back_makes_no_negative_duration(store: RunStore) -> None:
    ran(store, "report", 1_790_000_000, -50.0)
    assert store.durations(20) == {"report": [0.0]}


def test_runs_of_a_clock_that_was_ahead_are_left_out(store: RunStore) -> None:
    for hours in range(4):
        ran(store, "report", 1_790_000_000 + hours * 3600, 5.0 + hours)
    assert store.durations(2, 1_790_000_000 + 3600 + 60) == {"report": [6.0, 5.0]}
