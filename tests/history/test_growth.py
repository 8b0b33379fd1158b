"""Size limits between two prunings, however many runs end within a day."""

from __future__ import annotations

from pathlib import Path

import pytest


def size_of(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())


@pytest.fixture
def chatty(workspace: Path) -> None:
    """A task whose result and output have 60 kB."""
    (workspace / "data").mkdir(exist_ok=True)
    (workspace / "data/config.yml").write_text("allow: [shell]\nretention: {total_bytes: 150 kB, log_bytes: 100 kB}\n")
    command = "head -c 60000 /dev/zero | tr '\\\\000' x | fold -w 100"
    (workspace / "tasks/chatty.yml").write_text(
        f'steps:\n  - {{name: say, type: shell, shell: {{command: "{command}"}}}}\n'
    )


def test_run_folders_and_logs_stay_within_their_limits_between_two_prunings(chatty, flows, settings, environment):
    runs, log = Path(settings.state_path, "runs"), Path(settings.tasks_path, "chatty/chatty.log")
    for number in range(6):
        assert flows("run", "chatty.yml").code == 0
        assert size_of(runs) <= 150_000, number
        assert log.stat().st_size <= 100_000, number
    # The newest folders and lines remain.
    assert size_of(runs) >= 50_000
    assert "success" in log.read_text().splitlines()[-1]
    assert len(flows("history").out.splitlines()) == 6


def test_a_limit_that_was_lowered_holds_after_the_next_run(chatty, flows, settings, workspace):
    runs = Path(settings.state_path, "runs")
    (workspace / "data/config.yml").write_text("allow: [shell]\n")
    for _ in range(4):
        assert flows("run", "chatty.yml").code == 0
    assert size_of(runs) > 200_000
    (workspace / "data/config.yml").write_text("allow: [shell]\nretention: {total_bytes: 150 kB}\n")
    assert flows("run", "chatty.yml").code == 0
    assert size_of(runs) <= 150_000


def test_a_count_that_cannot_be_read_is_made_again(chatty, flows, settings):
    for _ in range(2):
        assert flows("run", "chatty.yml").code == 0
    count = Path(settings.state_path, "run-folders-size")
    assert int(count.read_text()) == size_of(Path(settings.state_path, "runs"))
    count.write_text("-3 of what?\n")
    assert flows("run", "chatty.yml").code == 0
    assert size_of(Path(settings.state_path, "runs")) <= 150_000
