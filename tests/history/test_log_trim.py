"""Logs that stay within their size, whoever writes them and however."""

from __future__ import annotations

import os
import re
import time
from itertools import pairwise

import pytest

from scflows.history.log_trim import trim_log, trim_run
from scflows.history.task_log import TaskLog, timestamp

STAMP = "2026-11-20T13:42:07+01:00"
LEFT_OUT = re.compile(
    r"WARNING (\d+) lines of this run are omitted here, (\d+) bytes: the output exceeds run_log_bytes"
)


@pytest.mark.language("§6 Limits")
def test_of_a_long_run_head_and_tail_are_kept_and_the_rest_is_counted(tmp_path):
    path = tmp_path / "t/t.log"
    before = TaskLog(str(path))
    before.info("of another run")
    before.close()
    start = path.stat().st_size
    log = TaskLog(str(path), limit=200_000)
    for number in range(20_000):
        log.info(f"line {number}")
    log.enforce_limit()
    log.close()
    assert path.stat().st_size - start <= 200_000
    lines = path.read_text().splitlines()
    assert lines[0].endswith("of another run")
    numbers = [int(line.rsplit(" ", 1)[1]) for line in lines[1:] if " INFO " in line]
    gaps = [number for number, later in pairwise(numbers) if later != number + 1]
    assert numbers[0] == 0
    assert numbers[-1] == 19_999
    assert len(gaps) == 1
    (note,) = [found for line in lines if (found := LEFT_OUT.search(line))]
    assert int(note[1]) == 20_000 - len(numbers)
    assert lines.index(note.string) == gaps[0] + 2
    assert numbers.index(gaps[0]) > len(numbers) / 3


def test_a_short_run_is_left_as_it_is(tmp_path):
    path = tmp_path / "t.log"
    path.write_bytes(b"x\n" * 100)
    trim_run(str(path), 0, 200, STAMP)
    assert path.read_bytes() == b"x\n" * 100


@pytest.mark.parametrize("content", [b"x" * 100_000, b"x" * 60_000 + b"\n" + b"y" * 40_000, b"\n" * 100_000])
def test_lines_of_any_length_are_cut(tmp_path, content):
    path = tmp_path / "t.log"
    path.write_bytes(content)
    for _ in range(3):
        trim_run(str(path), 0, 20_000, STAMP)
        assert path.stat().st_size <= 20_000
        with path.open("ab") as file:
            file.write(b"z" * 30_000 + b"\nend\n")
    trim_run(str(path), 0, 20_000, STAMP)
    kept = path.read_bytes()
    assert len(kept) <= 20_000
    assert kept.endswith(b"\nend\n")
    assert kept.count(b"omitted here") == 1


def test_what_a_program_prints_into_the_log_counts_as_well(run_flow, workspace, settings):
    config = workspace / "data/config.yml"
    config.parent.mkdir()
    config.write_text("retention: {run_log_bytes: 100 kB}\n")
    run = run_flow(
        """
        steps:
          - {name: flood, type: shell, shell: {command: "seq 1 100000 >> $LOG", env: {LOG: "{{ __input__.log }}"}}}
    """,
        payload={"log": os.path.join(settings.tasks_path, "flow", "flow.log")},
    )
    assert run.status == "success", run.message
    assert len(run.log) <= 100_000
    assert f"run {run.outcome.run.id} started" in run.log
    assert f"run {run.outcome.run.id} success" in run.log
    assert LEFT_OUT.search(run.log)


def test_a_tasks_log_keeps_its_newer_half(tmp_path):
    path = tmp_path / "t.log"
    path.write_text("".join(f"{number:09}\n" for number in range(1000)))
    assert trim_log(str(path), 4000)
    lines = path.read_text().splitlines()
    assert lines[-1] == "000000999"
    assert 150 <= len(lines) <= 200
    assert not trim_log(str(path), 4000)


def test_lines_that_are_too_old_go(tmp_path):
    path = tmp_path / "t.log"
    now = time.time()
    days = [timestamp(now - day * 86400, "UTC") for day in (200, 150, 95, 10, 0)]
    path.write_text("".join(f"{stamp} INFO    {number}\n  more of it\n" for number, stamp in enumerate(days)))
    assert trim_log(str(path), 10**6, now - 100 * 86400)
    assert path.read_text().splitlines()[0] == f"{days[2]} INFO    2"
    assert not trim_log(str(path), 10**6, now - 90 * 86400)
    assert trim_log(str(path), 10**6, now - 5 * 86400)
    assert path.read_text() == f"{days[4]} INFO    4\n  more of it\n"


def test_who_has_the_log_open_goes_on_at_its_new_end(tmp_path):
    path = tmp_path / "t.log"
    log = TaskLog(str(path))
    for number in range(1000):
        log.info(str(number))
    trim_log(str(path), 1000)
    log.info("after")
    log.close()
    assert path.read_bytes().count(b"\0") == 0
    assert path.read_text().endswith("after\n")
