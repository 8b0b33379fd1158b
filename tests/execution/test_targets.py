"""Flow language, targets."""

from __future__ import annotations

import os

import pytest

pytestmark = pytest.mark.language("§9 Targets")

MAKE = """
steps:
  - name: make
    type: shell
    target: "work/{{ __input__.day }}.txt"
    sources: [in.txt]
    shell: {command: "mkdir -p work; echo run >> runs; cat in.txt > work/1.txt"}
"""


@pytest.fixture
def data(workspace):
    folder = workspace / "data"
    folder.mkdir()
    (folder / "in.txt").write_text("one")
    return folder


def age(path, seconds):
    state = os.stat(path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + int(seconds * 1e9)))


def runs(data):
    return (data / "runs").read_text().count("run")


def test_a_target_that_is_there_is_not_made_again(run_flow, data):
    age(data / "in.txt", -10)
    assert run_flow(MAKE, payload={"day": 1}).result["make"] == ""
    again = run_flow(MAKE, payload={"day": 1})
    assert again.result["make"] == {"target": ["work/1.txt"], "skipped": True}
    assert again.steps == [("make", "skipped")]
    assert runs(data) == 1


def test_a_newer_source_and_force_have_it_made_again(run_flow, data):
    run_flow(MAKE, payload={"day": 1})
    age(data / "in.txt", 10)
    run_flow(MAKE, payload={"day": 1})
    assert runs(data) == 2
    age(data / "in.txt", -100)
    run_flow(MAKE, payload={"day": 1})
    assert runs(data) == 2
    run_flow(MAKE, payload={"day": 1}, force=True)
    assert runs(data) == 3


def test_a_target_that_is_not_made_is_an_error(run_flow, data):
    run = run_flow(MAKE, payload={"day": 2})
    assert run.status == "failed"
    assert "did not create its target 'work/2.txt'" in run.message


def test_several_targets_must_all_be_there(run_flow, data):
    text = MAKE.replace('target: "work/{{ __input__.day }}.txt"', "target: [work/1.txt, runs]")
    run_flow(text)
    (data / "work" / "1.txt").unlink()
    run_flow(text)
    assert runs(data) == 2


@pytest.mark.parametrize("path", ["../out", "/etc/passwd", "secrets.yml"])
def test_a_target_outside_is_an_error(run_flow, data, path):
    run = run_flow(f"steps: [{{name: s, type: sleep, target: '{path}', sleep: {{seconds: 0}}}}]")
    assert run.status == "failed"


def test_what_a_failed_step_has_half_made_is_removed(run_flow, data):
    text = MAKE.replace("cat in.txt > work/1.txt", "echo half > work/1.txt; exit 1")
    assert run_flow(text, payload={"day": 1}).status == "failed"
    assert not (data / "work" / "1.txt").exists()
    assert run_flow(MAKE, payload={"day": 1}).status == "success"
    assert runs(data) == 2


def test_a_failed_step_that_did_not_touch_its_target_leaves_it(run_flow, data):
    run_flow(MAKE, payload={"day": 1})
    age(data / "in.txt", 10)
    run_flow(MAKE.replace("cat in.txt > work/1.txt", "exit 1"), payload={"day": 1})
    assert (data / "work" / "1.txt").read_text() == "one"


def test_what_was_being_made_when_the_run_was_killed_is_not_taken_as_done(run_flow, data):
    killed = MAKE.replace("cat in.txt > work/1.txt", "echo half > work/1.txt; kill -9 $PPID; sleep 5")
    assert run_flow(killed, payload={"day": 1}).status == "crashed"
    age(data / "in.txt", -100)
    assert (data / "work" / "1.txt").read_text() == "half\n"
    run = run_flow(MAKE, payload={"day": 1})
    assert run.steps == [("make", "success")]
    assert (data / "work" / "1.txt").read_text() == "one"
    assert run_flow(MAKE, payload={"day": 1}).steps == [("make", "skipped")]


@pytest.mark.language("§7 Dry runs")
def test_a_dry_run_makes_no_target_and_misses_none(run_flow, data):
    run = run_flow(MAKE, payload={"day": 1}, dry_run=True)
    assert run.status == "success"
    assert not (data / "work").exists()


def test_sources_without_a_target_are_refused(run_flow):
    run = run_flow("steps: [{name: s, type: sleep, sources: x, sleep: {seconds: 0}}]")
    assert run.reason == "refused"
