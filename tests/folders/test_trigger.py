"""When a job of a working folder runs."""

from __future__ import annotations

import os
import time

import pytest

from tests.folders.conftest import CHAIN, COPY

pytestmark = pytest.mark.language("§10 folder")

FAIL_ON_BAD = """
jobs:
  - name: first
    source: source
    target: middle
    script: [sh, -c, 'case "$1" in *bad*) echo "no such column" >&2; exit 3;; esac; cp "$1" "$2"', sh]
  - {name: second, source: middle, target: last, script: [cp]}
"""
MERGE = """
jobs:
  - name: merge
    sources: {a: scores/File_A.*, b: stamps/File_B.*}
    target: merged/Merged.*
    script: [sh, -c, 'cat "$1" "$2" > "$3"', sh, "{a}", "{b}", "{target}"]
"""


def test_each_source_without_a_target_is_processed(work):
    work.write(CHAIN, one="1", two="2")
    assert work.run()["status"] == "success"
    assert work.made("middle") == ["one", "two"]
    assert (work.path / "middle/one").read_text() == "1"


def test_a_target_that_is_there_is_not_made_again_whoever_made_it(work):
    work.write(CHAIN, one="new")
    target = work.put("middle/one", "by hand")
    os.utime(target, (1, 1))
    work.run()
    assert target.read_text() == "by hand"
    assert (work.path / "last/one").read_text() == "by hand"


def test_making_a_middle_file_anew_leaves_the_later_ones(work):
    work.write(CHAIN, one="1")
    work.run()
    work.put("source/one", "changed")
    (work.path / "middle/one").unlink()
    work.run()
    assert (work.path / "middle/one").read_text() == "changed"
    assert (work.path / "last/one").read_text() == "1"


@pytest.mark.parametrize("how", ["option", "property"])
def test_with_newer_changes_travel_down_the_chain(work, how):
    config = CHAIN if how == "option" else CHAIN.replace("target:", "newer: true, target:")
    work.write(config, one="1")
    work.run()
    past = time.time() - 100
    for folder in ("source", "middle", "last"):
        os.utime(work.path / folder / "one", (past, past))
    (work.path / "source/one").write_text("2")
    work.run(*(["--newer"] if how == "option" else []))
    assert (work.path / "last/one").read_text() == "2"


def test_a_source_from_the_future_is_not_processed_for_ever(work):
    work.write(CHAIN.replace("target:", "newer: true, target:"), one="1")
    future = time.time() + 1000
    os.utime(work.path / "source/one", (future, future))
    work.run()
    assert work.run()["reason"] == "unchanged"


def test_any_file_counts_except_hidden_ones_locks_and_unfinished_ones(work):
    work.write(CHAIN)
    ordinary = ["a", "File_A.csv", "with blank.csv", "ünï codé.xlsx", "new\nline", "-rf", "$(id)", "a'b\"c", "x.tar.gz"]
    for name in [*ordinary, ".hidden", "~$lock.xlsx", "copy~", "a.part", "b.tmp", "c.swp"]:
        (work.path / "source" / name).write_text(name)
    (work.path / "source/folder").mkdir()
    work.run()
    assert work.made("last") == sorted(ordinary)


def test_a_pattern_chooses_files(work):
    work.write(f"jobs: [{{name: j, source: source, pattern: 'File_?.*', target: made, {COPY}}}]")
    for name in ("File_A.csv", "File_B.xlsx", "File_10.csv", "file_A.csv"):
        work.put(f"source/{name}")
    work.run()
    assert work.made("made") == ["File_A.csv", "File_B.xlsx"]


def test_a_pair_with_two_sources_waits_for_both_without_a_failure(work):
    work.write(MERGE)
    work.put("scores/File_A.csv", "a")
    assert work.run()["status"] == "exit"
    assert work.statuses("merge") == {"Merged.csv": "preliminary"}
    assert work.jobs()["merge"]["files"]["Merged.csv"]["message"] == "waiting for stamps/File_B.*"
    work.put("stamps/File_B.csv", "b")
    work.run()
    assert (work.path / "merged/Merged.csv").read_text() == "ab"
    assert work.statuses("merge") == {"Merged.csv": "success"}


def test_the_second_source_alone_waits_too(work):
    work.write(MERGE)
    work.put("stamps/File_B.xlsx")
    work.run()
    assert work.statuses("merge") == {"Merged.xlsx": "preliminary"}


def test_sources_of_different_formats_belong_together(work):
    work.write(MERGE)
    work.put("scores/File_A.csv", "a")
    work.put("stamps/File_B.xlsx", "b")
    work.run()
    assert work.made("merged") == ["Merged.csv"]


def test_one_call_works_off_the_chain_in_any_order_of_the_jobs(work):
    lines = CHAIN.strip().splitlines()
    work.write("\n".join([lines[0], lines[2], lines[1]]), one="1")
    work.run()
    assert work.made("last") == ["one"]


def test_a_failure_stops_only_what_needs_its_file(work):
    work.write(FAIL_ON_BAD, bad="1", good="2")
    run = work.run(code=1)
    assert run["status"] == "failed"
    assert run["message"] == "first: 1 of 2 files failed: bad: sh: exit status 3: no such column"
    assert work.made("last") == ["good"]


def test_a_failed_file_is_tried_again_at_every_call(work):
    work.write(FAIL_ON_BAD, bad="1")
    first, second = work.run(code=1), work.run(code=1)
    assert first["message"] == second["message"]
    work.write(CHAIN)
    work.run()
    assert work.made("last") == ["bad"]


def test_a_job_runs_alone_with_job(work):
    work.write(CHAIN, one="1")
    work.run("--job", "first")
    assert work.made("middle") == ["one"]
    assert work.made("last") == []
    answer = work.flows("folders", "run", str(work.path), "--job", "frist")
    assert answer.code == 2
    assert answer.err == "error: the working folder has no job 'frist'\n  help: did you mean 'first'?\n"


def test_archived_sources_leave_targets_and_statuses(work):
    work.write(CHAIN, one="1")
    work.run()
    (work.path / "source/one").unlink()
    (work.path / "middle/one").unlink()
    before = work.changes()
    assert work.run()["reason"] == "unchanged"
    assert work.changes() == before
    assert work.statuses("second") == {"one": "success"}


def test_a_file_that_settles_is_left_alone(work):
    work.write(f"jobs: [{{name: j, source: source, target: made, settle: 30, {COPY}}}]", one="1", two="2")
    os.utime(work.path / "source/two", (time.time() - 60, time.time() - 60))
    assert work.run()["status"] == "success"
    assert work.made("made") == ["two"]
    assert work.statuses("j") == {"one": "preliminary", "two": "success"}


def test_a_dry_run_makes_nothing(work):
    work.write(CHAIN, one="1")
    before = work.changes()
    run = work.run("--dry-run")
    assert run["jobs"][0]["what"] == "would make 1, 0 up to date, 0 waiting"
    assert work.changes() == before
    assert work.statuses("first") == {"one": "preliminary"}


def test_a_call_without_work_changes_and_logs_nothing(work, environment, tmp_path):
    work.write(CHAIN, one="1")
    work.run()
    logs = {path: path.read_bytes() for path in (tmp_path / "cache").rglob("*.log")}
    before = work.changes()
    run = work.run()
    assert (run["status"], run["reason"], run["message"]) == ("exit", "unchanged", "nothing to do")
    assert work.changes() == before
    assert {path: path.read_bytes() for path in (tmp_path / "cache").rglob("*.log")} == logs


def test_a_run_can_be_tried_again_by_its_id(work):
    work.write(FAIL_ON_BAD, bad="1")
    run = work.run(code=1)["run_id"]
    work.write(CHAIN)
    answer = work.flows("runs", "retry", run)
    assert answer.code == 0, answer.err
    assert work.made("last") == ["bad"]


def test_a_working_folder_that_is_not_there_is_refused(work):
    answer = work.flows("folders", "run", str(work.path / "gone"))
    assert answer.code == 2
    assert answer.err.endswith("gone' is not a directory\n")
