from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scflows.history import log_reader as log_lines
from scflows.history.log_reader import extract_run, follow, last_lines, read_backwards
from scflows.history.log_trim import trim_log

Flows = Callable[..., Any]
FIRST, SECOND, THIRD = (letter * 16 for letter in "ABC")


def line(message: str, second: int = 0, level: str = "INFO") -> str:
    return f"2026-11-20T13:42:{second:02}+01:00 {level:<7} {message}"


@pytest.mark.parametrize("block", [1, 3, 7, 1 << 16])
@pytest.mark.parametrize("text", ["", "a", "a\n", "a\nbb\n\nccc", "\na\n", "ä\nöö\n"])
def test_a_file_is_read_backwards_in_blocks_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, text: str
) -> None:
    monkeypatch.setattr(log_lines, "BLOCK", block)
    (tmp_path / "log").write_text(text)
    assert list(read_backwards(str(tmp_path / "log"))) == text.splitlines()[::-1]


def test_the_end_of_a_large_log_is_read_without_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with open(path, "w") as file:
        file.truncate(1 << 32)  # Four gigabytes of nothing; only the end is ever looked at.
        file.seek(1 << 32)
        file.write("".join(f"\n{line(str(number))}" for number in range(300)) + "\n")
    assert last_lines(str(path), 2) == [line("298"), line("299")]


def test_the_last_lines_are_chosen_by_pattern_and_time(tmp_path: Path) -> None:
    path = tmp_path / "log"
    lines = [line("old", 1), "printed", line("new", 5), "printed too", line("newest", 9)]
    path.write_text("\n".join(lines) + "\n")
    since = log_lines.written_at(lines[2])
    assert last_lines(str(path), None, since) == lines[2:]
    assert last_lines(str(path), 1, since, lambda each: "print" in each) == ["printed too"]
    assert last_lines(str(path), 0) == []


def test_the_lines_of_a_run_are_told_from_those_of_others() -> None:
    first = [line(f"run {FIRST} started: flow a.yml"), line("step: one"), line(f"run {FIRST} success after 1.0 s")]
    refused = [line("a.yml:1:1: error: x", level="ERROR"), line(f"run {SECOND} failed after 0.0 s: x", level="ERROR")]
    skipped = [line(f"run {THIRD} skipped: it is already running (run {FIRST})")]
    mixed = [*first[:2], *skipped, first[2], *refused]
    assert extract_run(mixed, FIRST) == first
    assert extract_run(mixed, SECOND) == refused
    assert extract_run(mixed, THIRD)[-1:] == skipped
    killed = [*first[:2], line(f"run {SECOND} started: flow a.yml"), line("step: two")]
    assert extract_run(killed, FIRST) == first[:2]
    assert extract_run(killed, SECOND) == killed[2:]
    assert extract_run(killed, THIRD) == []


def test_following_goes_on_when_the_log_is_cut_replaced_or_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_lines, "POLL_SECONDS", 0)
    path = tmp_path / "log"
    seen = follow(str(path), 0)
    assert next(seen) == []
    path.write_text("".join(f"{line(str(number))}\n" for number in range(100)))
    assert len(next(seen)) == 100
    with open(path, "a") as file:
        file.write("half a ")
    assert next(seen) == []
    with open(path, "a") as file:
        file.write("line\n")
    assert next(seen) == ["half a line"]
    assert trim_log(str(path), limit=1000)
    with open(path, "a") as file:
        file.write("after the cut\n")
    assert next(seen) == ["after the cut"]
    (tmp_path / "other").write_text("in its place\n")
    os.replace(tmp_path / "other", path)
    assert next(seen) == ["in its place"]
    path.write_text("anew\n")
    assert next(seen) == ["anew"]


def test_a_task_shows_the_end_of_its_log_and_a_run_its_own_lines(shipped: Path, flows: Flows) -> None:
    runs = [json.loads(flows("run", "fail.yml", "--json").out)["run_id"] for _ in range(2)]
    assert flows("logs", "fail", "-n", "1").out.split("run ")[1].startswith(f"{runs[1]} failed after ")
    assert flows("logs", "fail").out.count(" started: ") == 2
    own = flows("logs", runs[0]).out
    assert runs[0] in own.splitlines()[0]
    assert runs[1] not in own
    assert own.splitlines()[-1].split("run ")[1].startswith(runs[0])
    assert flows("logs", "fail", "--grep", "second: ", "-n", "1").out.count("\n") == 1
    assert flows("logs", "fail", "-n", "0").out == ""
    items = json.loads(flows("logs", runs[0], "-n", "1", "--json").out)["items"]
    assert [(item["level"], item.keys()) for item in items] == [("ERROR", {"time", "level", "message"})]
    path = flows("logs", "fail", "--path").out.strip()
    assert flows("logs", runs[0], "--path").out.strip() == path
    Path(path).write_text("")
    assert (gone := flows("logs", runs[0])).code == 4
    assert "no longer in" in gone.err
    assert flows("logs", "fail", "--grep", "(").code == 2


def test_a_run_is_followed_to_its_end_and_its_outcome(
    running: tuple[Any, str], started: Callable[..., Any], flows: Flows
) -> None:
    process, run = running
    watching = started("logs", "-f", run)
    first = watching.stdout.readline()
    assert f"run {run} started" in first
    process.send_signal(signal.SIGTERM)
    out, err = watching.communicate(timeout=60)
    assert (watching.returncode, err) == (143, "")
    assert out.splitlines()[-1].split("run ")[1].startswith(f"{run} cancelled after ")
    assert process.wait(60) == 143
    process.communicate()
    assert flows("logs", "-f", run).code == 143


def test_following_a_run_that_is_killed_ends(running: tuple[Any, str], started: Callable[..., Any]) -> None:
    process, run = running
    watching = started("logs", "-f", run, "--json")
    assert json.loads(watching.stdout.readline())["level"] == "INFO"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    begun = time.monotonic()
    watching.communicate(timeout=60)
    assert watching.returncode == 1
    assert time.monotonic() - begun < 50


def test_a_log_cannot_move_the_cursor_of_a_terminal(shipped: Path, flows: Flows, terminal: Any) -> None:
    flows("run", "greet.yml")
    path = Path(flows("logs", "greet", "--path").out.strip())
    with open(path, "a") as file:
        file.write("\x1b[2Jcleared\n")
    assert flows("logs", "greet", "-n", "1").out == "\x1b[2Jcleared\n"
    assert terminal.run("logs", "greet", "-n", "1").text == "\\x1b[2Jcleared\n"
