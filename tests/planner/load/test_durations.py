from __future__ import annotations

import random
import statistics
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scflows.history.run import quantile
from scflows.planner.load.durations import DEFAULT, Durations, expected

NUMBERS = st.lists(st.floats(0, 1e6), min_size=1, max_size=50)


def task(name: str, source: str = "flows", kind: str = "") -> SimpleNamespace:
    return SimpleNamespace(name=name, source=source, kind=kind)


@given(NUMBERS)
def test_the_middle_quantile_is_the_median(values: list[float]) -> None:
    assert quantile(values, 0.5) == pytest.approx(statistics.median(values))


@given(NUMBERS, st.floats(0, 1), st.floats(0, 1))
def test_a_quantile_lies_among_the_values_and_grows_with_its_part(values: list[float], one: float, two: float) -> None:
    low, high = (quantile(values, part) for part in sorted((one, two)))
    assert min(values) <= low <= high * (1 + 1e-12) <= max(values) * (1 + 1e-12)


def test_the_quantile_is_the_eighth_of_hyndman_and_fan() -> None:
    # (5 + 1/3) * 0.75 + 1/3 = 4 + 1/3: a third of the way from the fourth value to the fifth.
    assert quantile([16, 1, 8, 2, 4], 0.75) == pytest.approx(8 + 8 / 3)


def test_one_run_that_hung_does_not_change_what_is_expected_of_the_rest() -> None:
    seeded = random.Random(5)
    runs = [seeded.uniform(20, 30) for _ in range(19)]
    assert expected([*runs, 36_000.0]) == pytest.approx(expected(runs), abs=2)


def test_fewer_than_three_runs_are_not_enough() -> None:
    assert expected([]) is None
    assert expected([5.0, 6.0]) is None
    assert expected([5.0, 5.0, 5.0]) == 5.0


def test_a_task_without_runs_counts_as_the_median_of_its_kind_then_of_its_source() -> None:
    tasks = [task("a", kind="process"), task("b", kind="process"), task("c", kind="process"), task("d", kind="backup")]
    runs = {"a": [10.0] * 5, "b": [20.0] * 5, "c": [90.0] * 5, "d": [600.0] * 5}
    durations = Durations(tasks, runs)
    assert durations.of("a", "flows", "process") == 10
    assert durations.of("new", "flows", "process") == 20
    assert durations.of("new", "flows", "backup") == 600
    assert durations.of("new", "flows", "other") == 55
    assert durations.of("new", "manual", "process") == DEFAULT
