"""A step run by itself, where a flow around it would say nothing more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scflows.expressions.templates import Expressions
from scflows.history.task_log import TaskLog
from scflows.settings import Settings
from scflows.steps import Context, json_value
from scflows.steps.registry import find_step


@pytest.fixture
def data_folder(workspace: Path) -> Path:
    folder = workspace / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def perform(workspace: Path, settings: Settings) -> Callable[..., Any]:
    """The result of one step, from its options as they are once rendered."""

    def run(kind: str, options: dict[str, Any], data: dict[str, Any] | None = None) -> Any:
        step_class = find_step(kind)
        assert step_class is not None
        assert list(step_class.check(options)) == []
        flow_file = workspace / "tasks" / "flow.yml"
        flow_file.touch(mode=0o644)
        folders = (settings.templates_path, str(flow_file.parent))
        ctx = Context(settings, data or {}, Expressions(folders), TaskLog(""), str(flow_file))
        return json_value(step_class(**options).run(ctx))

    return run


@pytest.fixture
def table(perform: Callable[..., Any]) -> Callable[..., Any]:
    """One step; `rows` is what its data_key leads to."""

    def run(mode: str, rows: Any = None, **options: Any) -> Any:
        given = {} if rows is None else {"data_key": "rows"}
        return perform("table", {"mode": mode, **given, **options}, {"rows": rows, "__job_id__": "7", "limit_of": 2})

    return run


@pytest.fixture
def mistakes() -> Callable[..., list[str]]:
    """What the check of a step type finds in options, without any flow around them."""

    def check(kind: str, options: dict[str, Any]) -> list[str]:
        step_class = find_step(kind)
        assert step_class is not None
        return [f"{name}: {message}" for name, message in step_class.check(options)]

    return check
