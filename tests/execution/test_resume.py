"""Flow language, resume: a run that broke goes on where it broke."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scflows.execution.journal import Journal, open_journal, read_header, restore_data
from scflows.history.journal_file import journal_path
from scflows.locks import holders

pytestmark = pytest.mark.language("§9 Resume")

STEPS = """
finally_step: last
steps:
  - {name: a, type: shell, shell: {command: "echo a >> ran; echo 1", parse: json}}
  - {name: skipped, type: jq, when: false, jq: {expression: "1"}}
  - {name: ignored, type: jq, ignore_errors: key, jq: {data_key: missing, expression: .}}
  - {name: b, type: shell, shell: {command: "echo b >> ran; test -f go; echo 2", parse: json}, on_error_goto: check}
  - {name: check, type: shell, when: "not b", shell: {command: "test -f go"}}
  - {name: c, type: jq, jq: {expression: "[.a, .b, .__input__, (.__errors__ | length)]"}}
  - {name: last, type: shell, shell: {command: "echo last >> ran"}}
"""


@pytest.fixture
def data(workspace):
    folder = workspace / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def write(workspace):
    def write(text, name="flow.yml"):
        (workspace / "tasks" / name).write_text(text)

    return write


def told(answer):
    return json.loads(answer.out)


def ran(data):
    return (data / "ran").read_text().split()


SIMPLE = STEPS.replace(", on_error_goto: check", "").replace('test -f go; echo 2"', 'test -f go && echo 2"')


def test_a_run_goes_on_at_its_first_step_not_finished(flows, write, data, workspace):
    write(SIMPLE)
    (workspace / "in.json").write_text('{"n": 5}')
    first = told(flows("run", "flow.yml", "--data", "in.json", "--json"))
    assert first["status"] == "failed"
    (data / "go").touch()
    answer = flows("run", "flow.yml", "--resume", first["run_id"], "--json")
    second = told(answer)
    assert second["status"] == "success", second
    assert ran(data) == ["a", "b", "last", "b", "last"]
    assert second["run_id"] != first["run_id"]
    for name in ("__input__", "__timestamp__", "__job_id__"):
        assert second["data"][name] == first["data"][name]
    # The error that was ignored is restored, the one that broke the run is not.
    assert second["data"]["c"] == [1, 2, {"n": 5}, 1]


def test_runs_resume_and_retry_need_no_flow(flows, write, data, workspace):
    write("params: {n: {type: integer}}\n" + SIMPLE)
    (workspace / "in.json").write_text('"text"')
    first = told(flows("run", "flow.yml", "--data", "in.json", "-p", "n=3", "--json"))
    (data / "go").touch()
    second = told(flows("runs", "resume", first["run_id"], "--json"))
    assert second["status"] == "success"
    assert second["data"]["params"] == {"n": 3}
    third = told(flows("runs", "retry", first["run_id"], "--json"))
    assert third["status"] == "success"
    assert third["data"]["__input__"] == "text"
    assert third["data"]["params"] == {"n": 3}
    assert ran(data) == ["a", "b", "last", "b", "last", "a", "b", "last"]


def test_a_run_that_succeeded_has_nothing_left_to_do(flows, write, data):
    (data / "go").touch()
    write(SIMPLE)
    first = told(flows("run", "flow.yml", "--json"))
    second = told(flows("run", "--resume", first["run_id"], "--json"))
    assert second["status"] == "success"
    assert second["data"] == first["data"]
    assert ran(data) == ["a", "b", "last"]


def test_resuming_twice_goes_on_from_the_last_one(flows, write, data):
    write(SIMPLE + "  - {name: d, type: shell, shell: {command: 'test -f go2'}}\n")
    first = told(flows("run", "flow.yml", "--json"))["run_id"]
    (data / "go").touch()
    assert told(flows("runs", "resume", first, "--json"))["status"] == "failed"
    (data / "go2").touch()
    assert told(flows("runs", "resume", first, "--json"))["status"] == "success"
    assert ran(data).count("b") == 2


def test_a_changed_flow_is_refused_unless_forced(flows, write, data):
    write(SIMPLE)
    first = told(flows("run", "flow.yml", "--json"))["run_id"]
    (data / "go").touch()
    write(SIMPLE.replace("steps:", "steps:\n  - {name: new, type: jq, jq: {expression: '1'}}"))
    answer = flows("run", "flow.yml", "--resume", first)
    assert answer.code == 2
    assert "has changed since" in answer.err
    assert "--force" in answer.err
    answer = flows("run", "flow.yml", "--resume", first, "--force", "--json")
    assert told(answer)["status"] == "success"
    assert ran(data).count("a") == 1


def test_another_flow_and_an_unknown_run_are_refused(flows, write, data):
    write(SIMPLE)
    write(SIMPLE, "other.yml")
    first = told(flows("run", "flow.yml", "--json"))["run_id"]
    assert flows("run", "other.yml", "--resume", first).code == 2
    assert flows("runs", "resume", "NOSUCH").code == 4
    assert flows("run", "flow.yml", "--resume", first, "-p", "a=1").code == 2


def test_an_exit_comes_to_the_same_end_again(flows, write, data):
    write("steps: [{name: out, type: exit, exit: {message: enough}}]")
    first = told(flows("run", "flow.yml", "--json"))
    second = told(flows("runs", "resume", first["run_id"], "--json"))
    assert (second["status"], second["data"]["out"]) == ("exit", {"message": "enough"})


def test_a_dry_run_leaves_nothing_to_go_on_from(flows, write, data, settings):
    write(SIMPLE)
    run = told(flows("run", "flow.yml", "--dry-run", "--json"))["run_id"]
    assert not os.path.exists(journal_path(settings, run))
    assert flows("runs", "resume", run).code == 4


def test_the_journal_is_private(flows, write, data, settings):
    write(SIMPLE)
    run = told(flows("run", "flow.yml", "--json"))["run_id"]
    path = journal_path(settings, run)
    assert os.stat(path).st_mode & 0o077 == 0
    assert os.stat(os.path.dirname(path)).st_mode & 0o077 == 0


def test_a_journal_is_kept_as_long_as_its_run(flows, write, data, settings):
    write(SIMPLE)
    run = told(flows("run", "flow.yml", "--json"))["run_id"]
    folder = Path(journal_path(settings, run)).parent
    os.utime(folder, (1, 1))
    assert flows("runs", "prune", "--older-than", "1d", "--yes").code == 0
    assert folder.exists()
    begun = time.time()
    while time.time() < begun + 1.1:
        time.sleep(0.05)
    assert flows("runs", "prune", "--older-than", "1s", "--yes").code == 0
    assert not folder.exists()


def test_a_result_that_holds_a_secret_is_not_kept(settings):
    journal = open_journal(settings, "01", {}, True)
    journal.mask.add(["hunter2"])
    journal.note_step(0, "a", True, (1, "b"), [], ("a", {"deep": ["my hunter2"]}))
    journal.note_step(1, "b", True, (2, None), [], ("b", "plain"))
    journal.note_step(2, "c", False, (None, None), [{"error": {"message": "not hunter2", "status_code": 1}}], None)
    journal.note_end("failed", "no hunter2")
    assert "hunter2" not in Path(journal_path(settings, "01")).read_text()
    assert [note.get("withheld", False) for note in journal.notes()] == [True, False, False, False]
    journal.close()


def test_what_is_noted_already_loses_a_secret_that_is_learned_later(settings):
    asked = {"flow": "/f.yml", "task": "", "home": "/", "slot": None, "content": [1, 2]}
    journal = open_journal(settings, "01", {**asked, "params": {"who": "hunter2"}, "data": {}}, True)
    journal.note_step(0, "a", True, (1, "b"), [], ("a", {"deep": ["my hunter2"]}))
    journal.note_step(1, "b", False, (2, None), [{"error": {"message": "no hunter2"}}], None)
    journal.note_step(2, "c", True, (None, None), [], ("c", "plain"))
    path = Path(journal_path(settings, "01"))
    before = path.read_bytes()
    journal.mask_notes()
    assert path.read_bytes() == before
    journal.mask.add(["hunter2"])
    journal.mask_notes()
    journal.note_end("failed", "")
    assert "hunter2" not in path.read_text()
    assert read_header(settings, "01") == {**asked, "withheld": True}
    notes = journal.notes()
    assert [note.get("withheld", False) for note in notes] == [True, False, False, False]
    assert notes[1]["errors"] == [{"error": {"message": "no ***"}}]
    assert restore_data(notes, {"__errors__": []})["c"] == "plain"
    journal.close()


def test_a_run_that_was_given_a_secret_is_not_gone_on_from(flows, write, data, settings):
    write("""
params: {who: {type: text}}
steps:
  - {name: a, type: shell, shell: {command: "false", env: {X: "{{ secret('leak').token }}"}}}
""")
    secret = {"SECRET_LEAK": "hunter22"}
    run = told(flows("run", "flow.yml", "--param", "who=hunter22", "--json", **secret))["run_id"]
    assert "hunter22" not in Path(journal_path(settings, run)).read_text()
    for command in (("runs", "resume", run), ("runs", "retry", run), ("run", "flow.yml", "--resume", run)):
        answer = flows(*command, **secret)
        assert answer.code == 5, answer
        assert f"the input of run {run} contained a secret and was not saved" in answer.err
        assert "run it again with its input and parameters: flows run" in answer.err


def test_a_line_that_was_cut_short_says_nothing(settings):
    journal = open_journal(settings, "01", {}, True)
    journal.note_step(0, "a", True, (1, "b"), [{"step": "x"}], ("a", 1))
    with open(journal_path(settings, "01"), "ab") as file:
        file.write(b'{"at": 1, "step": "b", "done": true')
    assert restore_data(journal.notes(), {"__errors__": []}) == {"__errors__": [{"step": "x"}], "a": 1}
    journal.close()


def test_a_full_disk_is_told_and_fails_nothing():
    with open("/dev/full", "wb") as full:
        journal = Journal(os.dup(full.fileno()))
    journal.note_step(0, "a", True, (1, "b"), [], ("a", 1))
    assert "cannot be resumed" in journal.problem
    journal.close()


GRAPH = """
max_parallel: 3
steps:
"""
for each in range(12):
    needs = [f"s{other}" for other in range(each) if (each * 7 + other * 3) % 4 == 0]
    GRAPH += f"""
  - name: s{each}
    type: shell
    needs: {json.dumps(needs)}
    target: out/{each}.txt
    shell:
      command: |
        mkdir -p out
        : > out/{each}.txt
        for i in 1 2 3 4 5; do echo "{each} $i" >> out/{each}.txt; sleep 0.01; done
        echo "{each}"
      parse: lines
"""
GRAPH += '  - {name: end, type: jq, needs: [s11, s10, s9], jq: {expression: "[.s0, .s5, .s11]"}}\n'


def start(workspace, environment, *arguments):
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "scflows", *arguments],
        cwd=workspace,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def finished(settings, run):
    """The names of the steps that a journal tells as done."""
    try:
        lines = Path(journal_path(settings, run)).read_bytes().split(b"\n")[1:-1]
    except OSError:
        return []
    return [note["step"] for line in lines if line and (note := json.loads(line)).get("done")]


def rounds(count):
    chance = random.Random(count)
    return [pytest.param(chance.uniform(0.0, 0.6), id=str(number)) for number in range(count)]


def kill_and_resume(moment, workspace, environment, settings, flows):
    """Kill a run of the graph at a moment, go on from it, and hold the end to that of an undisturbed run."""
    (workspace / "tasks" / "flow.yml").write_text(GRAPH)
    (workspace / "data").mkdir(exist_ok=True)
    process = start(workspace, environment, "run", "flow.yml")
    while not (begun := [path for path in Path(settings.state_path).glob("runs/*/*") if path.stat().st_size]):
        if process.poll() is not None:
            # On a busy machine it may come to its end before anybody has looked.
            assert process.returncode == 0
            process = start(workspace, environment, "run", "flow.yml", "--force")
        time.sleep(0.01)
    run = begun[0].parent.name
    # The random moment itself, from the first step on; whatever it hits, what follows must hold.
    time.sleep(moment)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # The kernel ends what the process started, a moment later.
    while any(lock.alive for lock in holders(settings.lock_path)):
        time.sleep(0.01)
    done = finished(settings, run)
    kept = {name: (workspace / "data" / "out" / f"{name[1:]}.txt").stat().st_mtime_ns for name in done if name != "end"}
    answer = told(flows("runs", "resume", run, "--json"))
    assert answer["status"] == "success", answer
    shown = told(flows("runs", "show", answer["run_id"], "--json"))
    again = [step["name"] for step in shown["steps"]]
    assert not set(again) & set(done)
    assert sorted([*again, *done]) == sorted([f"s{number}" for number in range(12)] + ["end"])
    assert answer["data"]["end"] == [["0"], ["5"], ["11"]]
    for number in range(12):
        text = (workspace / "data" / "out" / f"{number}.txt").read_text()
        assert text == "".join(f"{number} {line}\n" for line in range(1, 6))
        assert answer["data"][f"s{number}"] == [str(number)]
    for name, time_ns in kept.items():
        assert (workspace / "data" / "out" / f"{name[1:]}.txt").stat().st_mtime_ns == time_ns


# A hundred times with SLOW_TESTS=1.
@pytest.mark.parametrize("moment", rounds(100 if "SLOW_TESTS" in os.environ else 12))
def test_a_killed_graph_goes_on_to_the_same_end(moment, workspace, environment, settings, flows):
    kill_and_resume(moment, workspace, environment, settings, flows)


def test_a_step_whose_result_was_withheld_is_run_again_in_its_place(flows, write, data, settings):
    write(SIMPLE)
    first = told(flows("run", "flow.yml", "--json"))["run_id"]
    path = Path(journal_path(settings, first))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if line.get("step") == "a":
            del line["key"], line["value"]
            line["withheld"] = True
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (data / "go").touch()
    second = told(flows("runs", "resume", first, "--json"))
    assert second["status"] == "success"
    assert second["data"]["c"] == [1, 2, {}, 1]
    assert ran(data) == ["a", "b", "last", "a", "b", "last"]


@pytest.mark.language("§3 The final step")
def test_a_step_of_which_the_child_process_died_is_done_again(flows, write, data):
    write("""
finally_step: last
steps:
  - {name: a, type: shell, shell: {command: "echo a >> ran; echo 1", parse: json}}
  - {name: b, type: shell, shell: {command: "echo b >> ran; test -f go || kill -9 $PPID; echo 2", parse: json}}
  - {name: last, type: jq, jq: {expression: "[.a, .b]"}}
""")
    first = told(flows("run", "flow.yml", "--json"))
    assert first["status"] == "crashed"
    assert first["data"]["last"] == [1, None]
    (data / "go").touch()
    second = told(flows("runs", "resume", first["run_id"], "--json"))
    assert second["data"]["last"] == [1, 2]
    assert ran(data) == ["a", "b", "b"]
