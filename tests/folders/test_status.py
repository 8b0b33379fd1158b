"""The status of a file in a job."""

from __future__ import annotations

import json
import sqlite3

import pytest

from tests.folders.conftest import CHAIN, COPY
from tests.folders.test_trigger import FAIL_ON_BAD, MERGE

pytestmark = pytest.mark.language("§10 folder")


def test_a_target_that_is_there_is_success_also_without_a_run(work):
    work.write(CHAIN, one="1")
    work.put("middle/one")
    assert work.statuses("first") == {"one": "success"}


def test_a_target_that_a_run_made_is_success(work):
    work.write(CHAIN, one="1")
    work.run()
    job = work.jobs()["first"]
    assert (job["status"], job["files"]["one"]["status"], job["running"]) == ("success", "success", False)


def test_a_failed_run_is_an_error_with_message_time_and_log(work):
    work.write(FAIL_ON_BAD, bad="1")
    run = work.run(code=1)
    found = work.jobs()["first"]["files"]["bad"]
    assert (found["status"], found["message"]) == ("error", "sh: exit status 3: no such column")
    assert found["run"] == run["run_id"]
    assert found["time"].startswith("20")
    with open(found["log"], encoding="utf-8") as log:
        assert "bad: sh: exit status 3: no such column" in log.read()


def test_a_target_that_was_taken_away_is_an_error_until_it_is_made_anew(work):
    work.write(CHAIN, one="1")
    work.run()
    (work.path / "last/one").unlink()
    assert work.statuses("second") == {"one": "error"}
    work.run()
    assert work.statuses("second") == {"one": "success"}


def test_what_has_not_run_is_preliminary(work):
    work.write(CHAIN, one="1")
    assert work.statuses("first") == {"one": "preliminary"}
    assert work.jobs()["second"]["status"] == "preliminary"


def test_what_waits_for_a_failed_job_is_preliminary(work):
    work.write(FAIL_ON_BAD, bad="1")
    work.run(code=1)
    assert work.jobs()["first"]["status"] == "error"
    assert work.jobs()["second"]["status"] == "preliminary"


def test_a_job_has_the_worst_status_of_its_files(work):
    work.write(FAIL_ON_BAD, good="1")
    work.run()
    work.put("source/other")
    assert work.jobs()["first"]["status"] == "preliminary"
    work.put("source/bad")
    work.run(code=1)
    assert work.jobs()["first"]["status"] == "error"


def test_a_failure_with_newer_is_an_error_though_the_old_target_is_there(work):
    work.write(CHAIN, bad="1")
    work.run()
    work.write(FAIL_ON_BAD)
    (work.path / "source/bad").write_text("2")
    work.run("--newer", code=1)
    assert (work.path / "middle/bad").read_text() == "1"
    assert work.statuses("first") == {"bad": "error"}


def test_a_target_put_there_by_hand_ends_an_error(work):
    work.write(FAIL_ON_BAD, bad="1")
    work.run(code=1)
    work.put("middle/bad")
    assert work.statuses("first") == {"bad": "success"}
    assert work.run()["status"] == "success"
    assert work.run()["reason"] == "unchanged"


def test_an_error_is_over_when_its_source_is_removed(work):
    work.write(FAIL_ON_BAD, bad="1")
    work.run(code=1)
    (work.path / "source/bad").unlink()
    assert work.run()["status"] == "success"
    assert work.jobs()["first"]["status"] == "preliminary"
    assert work.statuses("first") == {}


def test_the_record_is_rebuilt_from_the_folders(work, tmp_path):
    work.write(FAIL_ON_BAD, good="1", bad="2")
    work.run(code=1)
    for path in (tmp_path / "state/scflows/folders").iterdir():
        path.unlink()
    assert work.statuses("first") == {"bad": "preliminary", "good": "success"}


def test_a_damaged_record_is_set_aside(work, tmp_path):
    work.write(FAIL_ON_BAD, bad="2")
    work.run(code=1)
    (record,) = (tmp_path / "state/scflows/folders").glob("*.sqlite")
    record.write_bytes(b"no database" * 1000)
    assert work.statuses("first") == {"bad": "preliminary"}
    work.run(code=1)
    assert work.statuses("first") == {"bad": "error"}


def test_a_record_that_cannot_be_written_stops_nothing(work, tmp_path):
    work.write(CHAIN, one="1")
    folder = tmp_path / "state/scflows/folders"
    folder.parent.mkdir(parents=True)
    folder.write_text("a file in its place")
    work.run()
    assert work.made("last") == ["one"]
    assert work.statuses("second") == {"one": "success"}


def test_a_job_that_was_removed_is_forgotten(work, tmp_path):
    work.write(FAIL_ON_BAD, bad="1")
    work.run(code=1)
    work.write(f"jobs: [{{name: other, source: source, target: made, {COPY}}}]")
    work.run()
    (record,) = (tmp_path / "state/scflows/folders").glob("*.sqlite")
    with sqlite3.connect(record) as connection:
        assert connection.execute("SELECT DISTINCT job FROM ends").fetchall() == [("other",)]


def test_the_matrix_has_a_row_for_each_file_and_a_column_for_each_job(work):
    work.write(FAIL_ON_BAD, bad="1", good="2")
    work.run(code=1)
    answer = work.flows("folders", "status", str(work.path))
    assert answer.out.splitlines() == ["bad\terror\t", "good\tsuccess\tsuccess", "(all)\terror\tsuccess"]


def test_why_lists_what_is_not_done(work):
    work.write(MERGE)
    work.put("scores/File_A.csv")
    answer = work.flows("folders", "status", str(work.path), "--why")
    assert answer.out.splitlines() == ["merge\tMerged.csv\tpreliminary\t\twaiting for stamps/File_B.*"]


def test_a_folder_that_cannot_be_read_is_an_error_of_its_job_alone(work):
    work.write(CHAIN, one="1")
    (work.path / "source/one").unlink()
    (work.path / "source").rmdir()
    (work.path / "source").write_text("a file")
    work.put("middle/two")
    assert "source: cannot be read: Not a directory" in work.run(code=1)["message"]
    assert work.made("last") == ["two"]
    assert work.jobs()["first"]["status"] == "error"


def test_a_folder_without_configuration_is_refused(work):
    answer = work.flows("folders", "status", str(work.path), "--json")
    assert answer.code == 2
    assert "has no config.yml" in json.loads(answer.err)["error"]["message"]
