"""Flow language, resume: loops and child flows go on where they broke, and nothing that has ended happens again."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from scflows.execution.journal import Past, read_past
from scflows.locks import holders

pytestmark = pytest.mark.language("§9 Resume")

#: Writes down each effect as it happens, and answers. `/fail/…` is refused the first time.
SERVER = """
import os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
failed = set()
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        os.write(log, (self.path[1:] + "\\n").encode())
        status = 200
        if self.path.startswith("/fail/") and self.path not in failed:
            failed.add(self.path)
            status = 503
        body = b'{"done": "' + self.path.encode() + b'"}'
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
print(server.server_port, flush=True)
server.serve_forever()
"""
#: Three effects for each item; what the second does depends on the first.
CHILD = """
steps:
  - {name: one, type: rest, rest: {uri: "SERVER/one/{{ __input__.id }}", method: post}}
  - {name: id, type: jq, jq: {expression: "__INPUT.id"}}
  - {name: two, type: rest, rest: {uri: "SERVER/two/{{ id }}/{{ one.done }}", method: post}}
  - {name: three, type: rest, rest: {uri: "SERVER/three/{{ id }}", method: post}}
""".replace("__INPUT", ".__input__")
FLOW = """
steps:
  - {name: items, type: jq, jq: {expression: "[range(COUNT) | {id: .}]"}}
  - {name: each, type: flow_loop, flow_loop: {path: child.yml, data_key: items, max_parallel: 4, on_item_error: fail}}
  - {name: last, type: rest, rest: {uri: "SERVER/last/0", method: post}}
"""
AGAIN = re.compile(r"step '(\w+)'(?: of 'each', item (\d+))? runs again: it was running")


@pytest.fixture
def effects(tmp_path):
    return tmp_path / "effects"


@pytest.fixture
def server(effects):
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(effects)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    process.kill()
    process.communicate()


@pytest.fixture
def write(workspace, server):
    def write(text, name="flow.yml"):
        (workspace / "tasks" / name).write_text(text.replace("SERVER", server))

    return write


def counted(effects):
    """How often each effect happened, by step and number of the item."""
    lines = effects.read_text().splitlines() if effects.exists() else []
    return Counter(tuple(line.split("/")[:2]) for line in lines)


def ended(past):
    """The effects of steps that have ended, according to a journal."""
    found = {(note["step"], "0") for note in past.notes if note.get("step") == "last"}
    if any(note.get("step") == "each" for note in past.notes):
        return found | {(step, str(number)) for step in ("one", "two", "three") for number in range(10_000)}
    for place, child in past.children.items():
        found |= {(note["step"], str(place[2] - 1)) for note in child.notes if "step" in note}
    return found


class Killed:
    """A flow that is killed and resumed again and again."""

    def __init__(self, workspace, environment, settings, effects):
        self.workspace, self.environment, self.settings, self.effects = workspace, environment, settings, effects
        self.allowed = Counter()  #: how often an effect may have happened more than once: it was told before
        self.first = ""

    def start(self):
        command = ["runs", "resume", self.first] if self.first else ["run", "flow.yml"]
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "scflows", *command, "--json"],
            cwd=self.workspace,
            env={**self.environment, "NO_PROXY": "*"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def note(self, errors):
        for step, item in AGAIN.findall(errors):
            self.allowed[step, str(int(item) - 1) if item else "0"] += 1

    def kill(self, process):
        """Kill a run, and hold what has happened to what the journal says has ended."""
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
        self.note(errors)
        # The kernel ends what the process started, a moment later.
        while any(lock.alive for lock in holders(self.settings.lock_path)):
            time.sleep(0.01)
        if not self.first:
            runs = sorted(Path(self.settings.state_path).glob("runs/*/journal.jsonl"))
            if not runs or not runs[0].stat().st_size:
                return Past()
            self.first = runs[0].parent.name
        from scflows.execution.journal import latest_successor

        return read_past(self.settings, latest_successor(self.settings, self.first))

    def finish(self, count):
        process = self.start()
        out, errors = process.communicate()
        self.note(errors)
        answer = json.loads(out)
        assert answer["status"] == "success", errors
        assert [item["id"] for item in answer["data"]["each"]] == list(range(count))
        assert [item["two"]["done"] for item in answer["data"]["each"]] == [
            f"/two/{number}//one/{number}" for number in range(count)
        ]
        happened = counted(self.effects)
        wanted = {(step, str(number)) for step in ("one", "two", "three") for number in range(count)} | {("last", "0")}
        assert set(happened) == wanted
        for effect, times in happened.items():
            assert times <= 1 + self.allowed[effect], (effect, times)
        return happened


@pytest.fixture
def killed(workspace, environment, settings, effects):
    return Killed(workspace, environment, settings, effects)


def test_a_killed_loop_does_nothing_twice_that_has_ended(write, killed, effects):
    write(CHILD, "child.yml")
    write(FLOW.replace("COUNT", "16"))
    for wanted in (1, 13, 30, 44):
        process = killed.start()
        while sum(counted(effects).values()) < wanted:
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)
        past = killed.kill(process)
        happened = counted(effects)
        for effect in ended(past):
            assert happened[effect] <= 1 + killed.allowed[effect]
    happened = killed.finish(16)
    # At most four items were running at each of the four kills.
    assert sum(happened.values()) - len(happened) <= 16


@pytest.mark.slow
def test_a_loop_that_is_killed_thirty_times_does_nothing_twice_that_has_ended(write, killed, effects):
    write(CHILD, "child.yml")
    write(FLOW.replace("COUNT", "200"))
    chance = random.Random(30)
    before = Counter()
    seen = set()
    for _ in range(30):
        process = killed.start()
        time.sleep(chance.uniform(0.2, 1.6))
        past = killed.kill(process)
        happened = counted(effects)
        for effect in seen:
            assert happened[effect] == before[effect], "a step that had ended has happened again"
        seen = {effect for effect in ended(past) if effect in happened}
        before = happened
    happened = killed.finish(200)
    for effect in seen:
        assert happened[effect] == before[effect], "a step that had ended has happened again"


def test_only_what_failed_in_a_loop_happens_again(write, flows, effects):
    write(CHILD.replace("SERVER/two/", "SERVER/{{ 'fail' if id == 2 else 'two' }}/"), "child.yml")
    write(FLOW.replace("COUNT", "5"))
    first = json.loads(flows("run", "flow.yml", "--json").out)
    assert first["status"] == "failed"
    answer = flows("runs", "resume", first["run_id"], "--json")
    assert "step 'two' of 'each', item 3 runs again: it failed" in answer.err
    second = json.loads(answer.out)
    assert second["status"] == "success", second
    assert [item["__status__"]["type"] for item in second["data"]["each"]] == ["success"] * 5
    assert counted(effects) == {
        **{("one", str(n)): 1 for n in range(5)},
        **{("two", str(n)): 1 for n in range(5) if n != 2},
        ("fail", "2"): 2,
        **{("three", str(n)): 1 for n in range(5)},
        ("last", "0"): 1,
    }


def test_a_child_flow_in_a_child_flow_goes_on_at_its_failed_step(write, flows, effects):
    write(CHILD.replace("SERVER/three/", "SERVER/fail/"), "child.yml")
    write("steps: [{name: inner, type: flow, flow: {path: child.yml, data_key: __input__}}]", "middle.yml")
    write("""
steps:
  - {name: item, type: set_fact, set_fact: {value: {id: 7}}}
  - {name: outer, type: flow, flow: {path: middle.yml, data_key: item}}
""")
    first = json.loads(flows("run", "flow.yml", "--json").out)
    answer = flows("runs", "resume", first["run_id"], "--json")
    assert "step 'three' of 'inner' of 'outer' runs again: it failed" in answer.err
    assert json.loads(answer.out)["data"]["outer"]["inner"]["three"] == {"done": "/fail/7"}
    assert counted(effects) == {("one", "7"): 1, ("two", "7"): 1, ("fail", "7"): 2}


def test_items_that_are_others_now_begin_anew(write, flows, effects):
    """A list that comes out different after the flow was changed belongs to other notes."""
    write(CHILD.replace("SERVER/three/", "SERVER/fail/"), "child.yml")
    write(FLOW.replace("COUNT", "2"))
    first = json.loads(flows("run", "flow.yml", "--json").out)
    write(FLOW.replace("name: items, ", "name: list, result_key: items, ").replace("range(COUNT)", "range(1; 3)"))
    answer = json.loads(flows("run", "flow.yml", "--resume", first["run_id"], "--force", "--json").out)
    assert answer["status"] == "failed"
    # Of item 1, which was the second, nothing is taken from the notes about another item in its place.
    assert counted(effects)[("one", "1")] == 2
    assert counted(effects)[("one", "2")] == 1


def test_a_changed_child_flow_is_refused_unless_forced(write, flows, effects):
    write(CHILD.replace("SERVER/three/", "SERVER/fail/"), "child.yml")
    write(FLOW.replace("COUNT", "1"))
    first = json.loads(flows("run", "flow.yml", "--json").out)
    write(CHILD, "child.yml")
    refused = json.loads(flows("runs", "resume", first["run_id"], "--json").out)
    assert "flow 'child.yml' has changed since the run that is resumed; use --force" in refused["message"]
    second = json.loads(flows("runs", "resume", first["run_id"], "--force", "--json").out)
    assert second["status"] == "success", second
    assert counted(effects)[("one", "0")] == 1


def test_another_attempt_of_a_loop_is_not_taken_for_the_first(write, flows, effects):
    write(CHILD.replace("SERVER/two/", "SERVER/{{ 'fail' if id == 1 else 'two' }}/"), "child.yml")
    write(
        FLOW.replace("COUNT", "2").replace(
            "type: flow_loop,", "type: flow_loop, retry: {attempts: 2, delay: 0, on: .},"
        )
    )
    answer = json.loads(flows("run", "flow.yml", "--json").out)
    assert answer["status"] == "success", answer
    assert counted(effects)[("one", "0")] == 2


def test_a_final_step_that_has_ended_well_is_not_run_again(write, flows, settings, effects):
    write("""
finally_step: last
steps:
  - {name: one, type: rest, rest: {uri: "SERVER/one/0", method: post}}
  - {name: last, type: rest, rest: {uri: "SERVER/last/0", method: post}}
""")
    run = json.loads(flows("run", "flow.yml", "--json").out)["run_id"]
    journal = Path(settings.state_path) / "runs" / run / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    assert '"ended"' in lines[-1]
    journal.write_text("".join(lines[:-1]))  # Killed just before.
    answer = json.loads(flows("runs", "resume", run, "--json").out)
    assert answer["status"] == "success"
    assert answer["data"]["last"] == {"done": "/last/0"}
    assert counted(effects) == {("one", "0"): 1, ("last", "0"): 1}


def test_a_result_with_a_user_name_or_a_host_is_kept(write, flows, workspace, effects, server):
    (workspace / "data").mkdir()
    secrets = workspace / "data" / "secrets.yml"
    secrets.write_text("- {name: desk, username: robot-17, password: pass-word-17, host: desk.example.org}\n")
    secrets.chmod(0o600)
    write("""
steps:
  - name: one
    type: rest
    rest:
      uri: "SERVER/one/0?by=robot-17&at=desk.example.org"
      method: post
      authentication: {type: basic, secret: desk}
  - {name: fail, type: rest, rest: {uri: "SERVER/fail/0", method: post}}
  - {name: leak, type: rest, rest: {uri: "SERVER/leak/{{ secret('desk').password }}", method: post}}
  - {name: again, type: rest, rest: {uri: "SERVER/fail/1", method: post}}
""")
    (workspace / "in.json").write_text('{"asked_by": "robot-17"}')
    first = json.loads(flows("run", "flow.yml", "--data", "in.json", "--json").out)
    second = json.loads(flows("runs", "resume", first["run_id"], "--json").out)
    assert second["data"]["one"]["done"] == "/one/0?by=***&at=***"
    answer = flows("runs", "resume", first["run_id"], "--json")
    assert "step 'leak' runs again: its result contained a secret and was not saved" in answer.err
    assert json.loads(answer.out)["status"] == "success"
    happened = counted(effects)
    assert happened[("one", "0?by=robot-17&at=desk.example.org")] == 1
    assert happened[("leak", "pass-word-17")] == 2


def test_what_is_lost_of_items_that_have_ended_is_told_before_it_happens_again(write, flows, workspace, effects):
    (workspace / "data").mkdir()
    secrets = workspace / "data" / "secrets.yml"
    secrets.write_text("- {name: desk, type: token, token: token-of-the-desk}\n")
    secrets.chmod(0o600)
    leak = "SERVER/leak/{{ id }}/{{ secret('desk').token }}"
    write(CHILD.replace("SERVER/two/{{ id }}/{{ one.done }}", leak), "child.yml")
    write(FLOW.replace("COUNT", "2").replace("SERVER/last/", "SERVER/fail/"))
    (workspace / "tasks" / "child.yml").write_text(
        (workspace / "tasks" / "child.yml").read_text().replace("/three/", "/{{ 'fail' if id == 1 else 'three' }}/")
    )
    first = json.loads(flows("run", "flow.yml", "--json").out)
    assert first["status"] == "failed"
    answer = flows("runs", "resume", first["run_id"], "--json")
    for item in (1, 2):
        lost = f"step 'two' of 'each', item {item} runs again: its result contained a secret and was not saved"
        assert lost in answer.err
    assert counted(effects)["leak", "0"] == counted(effects)["leak", "1"] == 2
    assert counted(effects)["one", "0"] == counted(effects)["three", "0"] == 1


def test_a_run_that_has_succeeded_does_nothing_again_also_where_a_result_was_not_saved(
    write, flows, workspace, effects
):
    (workspace / "data").mkdir()
    secrets = workspace / "data" / "secrets.yml"
    secrets.write_text("- {name: desk, type: token, token: token-of-the-desk}\n")
    secrets.chmod(0o600)
    write("""
steps:
  - {name: leak, type: rest, rest: {uri: "SERVER/leak/{{ secret('desk').token }}", method: post}}
  - {name: one, type: rest, rest: {uri: "SERVER/one/0", method: post}}
""")
    run = json.loads(flows("run", "flow.yml", "--json").out)["run_id"]
    answer = flows("runs", "resume", run, "--json")
    resumed = json.loads(answer.out)
    assert resumed["status"] == "success"
    assert resumed["data"]["one"] == {"done": "/one/0"}
    assert "leak" not in resumed["data"]
    assert counted(effects) == {("leak", "token-of-the-desk"): 1, ("one", "0"): 1}
    assert "the result of step 'leak' contained a secret and was not saved" in flows("logs", "flow").out
