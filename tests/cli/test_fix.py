"""`flows check --fix` mends what can be mended, says each thing, and leaves the rest to its owner."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.test_crontab import FIRST, Tab, tab
from tests.conftest import Answer

__all__ = ["tab"]
Flows = Callable[..., Answer]
#: No process has such a number.
NOBODY = 4_194_305


def told(answer: Answer, level: str) -> dict[str, str]:
    rows = [line.split("\t") for line in answer.out.splitlines()]
    return {row[1]: row[2] for row in rows if row[0] == level}


@pytest.fixture
def broken(flows: Flows, tab: Tab, workspace: Path, tmp_path: Path) -> Path:
    """An installation with one of everything that can be mended; its state folder."""
    assert flows("manual-schedule", "one.yml", "two.yml", "--every", "1h").code == 0
    state = tmp_path / "state/scflows"
    # A line that was moved out of the block by hand.
    lines = tab.content.splitlines(keepends=True)
    moved = next(line for line in lines if line.rstrip().endswith(b"# two"))
    tab.content = b"".join(line for line in lines if line != moved) + moved
    (workspace / ".env").write_text("TIMEZONE=UTC\n")
    (workspace / ".env").chmod(0o644)
    left = state / "tasks" / f".one.json.{NOBODY}.0123abcd.tmp"
    left.write_text("{")
    os.utime(left, (0, 0))
    (state / "locks").mkdir(exist_ok=True)
    (state / "locks" / "one.lock").write_text(f"run\nboot:ns:{NOBODY}:1\n0\n")
    (workspace / "data").rmdir() if (workspace / "data").exists() else None
    return state


def test_a_dry_run_tells_and_changes_nothing(flows: Flows, tab: Tab, workspace: Path, broken: Path) -> None:
    def everything() -> dict[Path, tuple[int, bytes]]:
        paths = [path for folder in (workspace, broken) for path in folder.rglob("*") if path.is_file()]
        return {path: (path.stat().st_mode, path.read_bytes()) for path in paths if "history" not in path.name}

    before, crontab = everything(), tab.content
    answer = flows("check", "--fix", "--dry-run")
    assert set(told(answer, "would")) == {"folders", "modes", "leftovers", "locks", "crontab"}
    assert told(answer, "fixed") == {}
    assert (everything(), tab.content) == (before, crontab)


def test_all_of_it_is_mended_and_told_and_then_there_is_nothing_left(
    flows: Flows, tab: Tab, workspace: Path, broken: Path
) -> None:
    fixed = told(flows("check", "--fix"), "fixed")
    assert set(fixed) == {"folders", "modes", "leftovers", "locks", "crontab"}
    assert fixed["folders"] == f"create {workspace / 'data'}"
    assert "mode 0644 → 0600" in fixed["modes"]
    assert "move lines into the block: two" in fixed["crontab"]
    assert tab.foreign == FIRST
    assert sorted(line.rpartition(" ")[2] for line in tab.block) == ["one", "two"]
    assert stat.S_IMODE((workspace / ".env").stat().st_mode) == 0o600
    assert not list((broken / "tasks").glob(".*"))
    assert not list((broken / "locks").iterdir())
    assert told(flows("check", "--fix"), "fixed") == {}


def test_a_block_that_is_gone_is_written_again_and_can_be_undone(flows: Flows, tab: Tab) -> None:
    assert flows("manual-schedule", "one.yml").code == 0
    tab.content = FIRST
    answer = flows("check", "--fix", "--json")
    items = json.loads(answer.out)["items"]
    first = next(item for item in items if (item["level"], item["topic"]) == ("fixed", "crontab"))
    assert any(line.startswith("+") and line.endswith("# one") for line in first["lines"])
    assert len(tab.block) == 1
    assert flows("crontab", "restore", "--yes").code == 0
    assert tab.foreign == FIRST


def test_what_is_its_owner_s_to_decide_is_told_and_left(flows: Flows, tab: Tab, tmp_path: Path) -> None:
    assert flows("manual-schedule", "one.yml").code == 0
    tab.content = tab.content.replace(b"# <<< scflows <<<", b"# my comment")
    before = tab.content
    answer = flows("check", "--fix")
    assert answer.code == 1
    assert "not fixed: the marks of our block" in told(answer, "warn")["crontab"]
    assert tab.content == before


@pytest.mark.parametrize("given", [("--dry-run",), ("--fix", "--as-cron")])
def test_fix_goes_with_a_check_alone(flows: Flows, given: tuple[str, ...]) -> None:
    assert flows("check", *given).code == 2
