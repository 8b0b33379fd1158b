"""Durations: a number of seconds, or a number with a unit, wherever a flow or a setting takes seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scflows.errors import UsageError
from scflows.settings import read_settings
from scflows.validation import duration_seconds


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (90, 90),
        (1.5, 1.5),
        ("90", 90),
        ("45s", 45),
        ("30m", 1800),
        ("1.5h", 5400),
        ("2 d", 172800),
        ("1W", 604800),
        ("0.25", 0.25),
        *(
            (text, None)
            for text in ("", "m", "-1s", "1e3", "1y", "1:30", "5 5m", "1..5s", "٣s", "9" * 20, True, None, [])
        ),
    ],
)
def test_a_duration_is_a_number_with_or_without_a_unit(written: Any, seconds: float | None) -> None:
    assert duration_seconds(written) == seconds


def test_each_limit_of_a_flow_takes_a_unit(run_flow: Callable[..., Any]) -> None:
    run = run_flow(
        "timeout: 2h\nsteps:\n"
        "  - {name: a, type: sleep, timeout: 1m, sleep: {seconds: 0s}, retry: {delay: 0.1s, max_delay: 1m}}\n"
        "  - {name: b, type: sleep, timeout: 0.1s, sleep: {seconds: 5m}}\n"
    )
    assert run.status == "failed"
    assert run.message.startswith("b: ")
    assert "0.1 s" in run.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("timeout: soon", "1:1: error: timeout must be a duration such as 90, 30s or 15m, not text ('soon')"),
        ("timeout: 0s", "1:1: error: timeout must be more than 0"),
        ("timeout: -5", "1:1: error: timeout must be more than 0"),
    ],
)
def test_what_is_no_duration_is_told(flows: Callable[..., Any], workspace: Path, text: str, message: str) -> None:
    (workspace / "tasks/one.yml").write_text(f"{text}\nsteps: []\n")
    told = flows("validate", "one.yml")
    assert told.code == 1
    assert message in told.out + told.err


def test_an_option_that_is_no_duration_is_told(flows: Callable[..., Any], workspace: Path) -> None:
    (workspace / "tasks/one.yml").write_text("steps: [{name: s, type: sleep, sleep: {seconds: 5x}}]\n")
    told = flows("validate", "one.yml")
    assert "'seconds' must be a duration such as 90, 30s or 15m, not text ('5x')" in told.out + told.err
    (workspace / "tasks/one.yml").write_text("steps: [{name: s, type: sleep, sleep: {seconds: 99999999w}}]\n")
    told = flows("validate", "one.yml")
    assert "the maximum is" in told.out + told.err


def test_settings_take_a_unit(workspace: Path, environment: dict[str, str]) -> None:
    settings = read_settings(str(workspace), {**environment, "FLOW_TIMEOUT_SECONDS": "30m", "MAX_WAIT_SECONDS": "2h"})
    assert (settings.timeout_seconds, settings.max_wait_seconds) == (1800, 7200)
    for wrong in ("0", "-1", "soon", "nan"):
        with pytest.raises(UsageError, match="FLOW_TIMEOUT_SECONDS must be a duration above 0"):
            _ = read_settings(str(workspace), {**environment, "FLOW_TIMEOUT_SECONDS": wrong}).timeout_seconds
