"""The files that a run made: recorded, listed, copied."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from scflows.history import artifacts as module
from scflows.history.artifacts import read_artifacts, record_artifacts, state_of

Flows = Callable[..., Any]

FLOW = """
steps:
  - {name: rows, type: set_fact, set_fact: {value: [{a: 1}, {a: 2}]}}
  - {name: keep, type: table, table: {mode: write, path: "{{ __run_folder__ }}/rows.csv", data_key: rows}}
  - {name: note, type: file, file: {mode: write, path: notes.json, type: json, data_key: rows}}
"""


def names(settings: Any, run: str) -> list[str]:
    return [each.name for each in read_artifacts(settings, run)]


def test_every_file_that_a_step_wrote_is_recorded(run_flow, settings, workspace: Path) -> None:
    run = run_flow(FLOW)
    table, note = read_artifacts(settings, run.outcome.run.id)
    assert (table.name, table.step) == (f"runs/{run.outcome.run.id}/rows.csv", "keep")
    assert (note.name, note.step) == ("notes.json", "note")
    content = (workspace / "data" / table.name).read_bytes()
    assert content == b"a\n1\n2\n"
    assert (table.size, table.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert table.modified == os.stat(table.path).st_mtime_ns


def test_a_dry_run_records_and_creates_nothing(run_flow, settings, workspace: Path) -> None:
    run = run_flow(FLOW, dry_run=True)
    assert run.status == "success"
    assert read_artifacts(settings, run.outcome.run.id) == []
    assert not (workspace / "data" / "runs").exists()


def test_files_that_a_step_only_read_or_left_alone_are_not_recorded(run_flow, settings, workspace: Path) -> None:
    (workspace / "data").mkdir(exist_ok=True)
    (workspace / "data" / "old.csv").write_text("a\n1\n")
    run = run_flow("""
        steps:
          - {name: read, type: table, table: {path: old.csv}}
          - {name: add, type: table, table: {mode: append, path: old.csv, data_key: read, unique: [a]}}
          - name: made
            type: shell
            target: old.csv
            shell: {command: "exit 7"}
    """)
    assert run.status == "success"
    assert read_artifacts(settings, run.outcome.run.id) == []


def test_targets_and_files_that_a_program_lists_are_recorded(run_flow, settings) -> None:
    run = run_flow("""
        steps:
          - {name: one, type: shell, target: a.txt, shell: {command: "echo 1 > a.txt"}}
          - name: more
            type: shell
            shell: {command: "mkdir -p out; echo 1 > out/b.txt; echo 2 > 'out/ä c.txt'", artifacts: ["out/*.txt"]}
    """)
    assert run.message == ""
    assert names(settings, run.outcome.run.id)[0] == "a.txt"
    assert set(names(settings, run.outcome.run.id)[1:]) == {"out/b.txt", "out/ä c.txt"}


def test_a_program_that_does_not_make_what_it_lists_fails(run_flow) -> None:
    run = run_flow("steps: [{name: s, type: shell, shell: {command: 'true', artifacts: [gone.txt]}}]")
    assert run.message == "s: artifacts: the program made no file 'gone.txt'"


def test_files_of_child_flows_and_parallel_steps_belong_to_the_run(run_flow, settings, workspace: Path) -> None:
    (workspace / "tasks" / "child.yml").write_text(
        "steps: [{name: w, type: file, file: {mode: write, type: json, data_key: __input__, "
        "path: '{{ __run_folder__ }}/{{ __loop_index__ }}.json'}}]"
    )
    run = run_flow("steps: [{name: l, type: flow_loop, flow_loop: {path: child.yml, data_key: __input__}}]", [1, 2, 3])
    folder = f"runs/{run.outcome.run.id}"
    assert sorted(names(settings, run.outcome.run.id)) == [f"{folder}/{number}.json" for number in (1, 2, 3)]


def test_a_resumed_run_keeps_folder_and_files(run_flow, settings, workspace: Path) -> None:
    text = FLOW + "  - {name: last, type: file, file: {path: there.json, type: json}}\n"
    first = run_flow(text)
    assert first.status == "failed"
    (workspace / "data" / "there.json").write_text("1")
    second = run_flow(text, resume=first.outcome.run.id)
    assert second.status == "success"
    assert second.outcome.data["__run_folder__"] == f"runs/{first.outcome.run.id}"
    assert names(settings, second.outcome.run.id) == names(settings, first.outcome.run.id) != []


def test_the_run_folder_is_there_if_the_flow_mentions_it(run_flow, workspace: Path) -> None:
    run = run_flow("steps: [{name: s, type: shell, shell: {command: 'cd $F', env: {F: '{{ __run_folder__ }}'}}}]")
    assert run.status == "success"
    assert os.listdir(workspace / "data" / "runs") == [run.outcome.run.id]


def test_large_files_have_no_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HASHED", 3)
    (tmp_path / "big").write_text("1234")
    record_artifacts(str(tmp_path / "state/list"), str(tmp_path), "s", [str(tmp_path / "big"), str(tmp_path / "gone")])
    (line,) = (tmp_path / "state/list").read_text().splitlines()
    artifact = module.Artifact(**json.loads(line))
    assert (artifact.name, artifact.sha256) == ("big", "")
    assert state_of(artifact) == "unchanged"
    os.utime(tmp_path / "big", (1, 1))
    assert state_of(artifact) == "changed"


def test_files_are_listed_with_their_state(flows: Flows, workspace: Path) -> None:
    (workspace / "tasks" / "f.yml").write_text(FLOW)
    id = json.loads(flows("run", "f.yml", "--json").out)["run_id"]
    data = workspace / "data"
    items = json.loads(flows("artifacts", "list", id, "--json").out)["items"]
    assert [item["state"] for item in items] == ["unchanged", "unchanged"]
    (data / "notes.json").write_text("other")
    (data / f"runs/{id}/rows.csv").unlink()
    shown = flows("artifacts", "list", id).out
    assert "rows.csv" in shown
    items = json.loads(flows("artifacts", "list", id, "--json").out)["items"]
    assert [item["state"] for item in items] == ["missing", "changed"]


def test_a_file_is_copied_unless_it_is_gone_or_has_changed(flows: Flows, workspace: Path) -> None:
    (workspace / "tasks" / "f.yml").write_text(FLOW)
    id = json.loads(flows("run", "f.yml", "--json").out)["run_id"]
    assert flows("artifacts", "get", id, "notes.json", "-o", "copy.json").code == 0
    assert json.loads((workspace / "copy.json").read_text()) == [{"a": 1}, {"a": 2}]
    again = flows("artifacts", "get", id, "notes.json", "-o", "copy.json")
    assert (again.code, "copy.json already exists" in again.err) == (2, True)
    (workspace / "data/notes.json").write_text("x")
    changed = flows("artifacts", "get", id, "notes.json", "-o", "new.json")
    assert changed.code != 0
    assert f"has changed since run {id} made it" in changed.err
    assert not (workspace / "new.json").exists()
    assert flows("artifacts", "get", id, "notes.json", "-o", "new.json", "--force").code == 0
    unknown = flows("artifacts", "get", id, "note.json")
    assert "did you mean 'notes.json'" in unknown.err


def test_all_files_are_packed_into_a_zip_without_those_that_are_gone(flows: Flows, workspace: Path) -> None:
    (workspace / "tasks" / "f.yml").write_text(FLOW)
    id = json.loads(flows("run", "f.yml", "--json").out)["run_id"]
    assert flows("artifacts", "get", id, "--zip").code == 0
    with ZipFile(workspace / f"{id}.zip") as archive:
        assert archive.namelist() == [f"runs/{id}/rows.csv", "notes.json"]
        assert archive.read("notes.json") == (workspace / "data/notes.json").read_bytes()
    (workspace / "data/notes.json").unlink()
    less = flows("artifacts", "get", id, "--zip", "-o", "less.zip")
    assert (less.code, "notes.json is missing and not in less.zip" in less.err) == (1, True)
    with ZipFile(workspace / "less.zip") as archive:
        assert archive.namelist() == [f"runs/{id}/rows.csv"]


def test_a_list_that_is_damaged_shows_what_is_whole(run_flow, settings) -> None:
    run = run_flow(FLOW)
    path = Path(module.artifacts_path(settings, run.outcome.run.id))
    path.write_bytes(b'{"name": 1}\n[]\n\xff\n' + path.read_bytes() + b'{"name": "cut')
    assert len(read_artifacts(settings, run.outcome.run.id)) == 2
