"""What follows on a run: flows that are told of it, and pings."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest

from scflows.history.contract import Query
from scflows.history.run import UNCHANGED, Run
from scflows.history.store import open_store
from scflows.locks import holders
from scflows.scheduler.housekeeping import run_housekeeping
from scflows.scheduler.reconcile import open_reconciled_history

TELL = """
steps:
  - name: tell
    type: file
    file: {path: told.json, mode: append, type: json, data_key: __input__}
"""
GOOD = "steps: [{name: fine, type: set_fact, set_fact: {value: 1}}]"
BAD = """
steps:
  - {name: fine, type: set_fact, set_fact: {value: 1}}
  - {name: break, type: goto, goto: {step_name: "{{ __input__.nowhere }}"}}
"""
ALL = "on_failure: tell.yml\non_success: tell.yml\non_recovery: tell.yml\n"


@pytest.fixture
def told(workspace):
    """What the hook flow was given so far, in order; (hook, status) of each where only these matter."""
    (workspace / "tasks/tell.yml").write_text(TELL)

    def read(short: bool = True):
        path = workspace / "data/told.json"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [(each["hook"], each["status"]) for each in lines] if short else lines

    return read


@pytest.fixture
def configure(settings):
    def write(text: str) -> None:
        path = Path(settings.config_file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write


class Service(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, dict[str, list[str]], str]] = []
        self.answers: list[int] = []
        self.lag = 0.0
        self.location = ""  #: where an answer with the status 302 leads to
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                if parts.path.endswith("start"):
                    time.sleep(service.lag)
                service.calls.append((self.command, parts.path, parse_qs(parts.query), body))
                status = service.answers.pop(0) if service.answers else 200
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", service.location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_POST = do_GET

            def log_message(self, *args: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def service():
    server = Service()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_hook_is_given_the_record_of_the_run(run_flow, told, settings):
    run = run_flow("on_failure: tell.yml\nparams: {day: {type: text, default: today}}\n" + BAD)
    assert run.status == "failed"
    (given,) = told(short=False)
    record = run.outcome.run
    assert given["id"] == record.id
    assert (given["hook"], given["task"], given["flow"]) == ("on_failure", "flow", "flow.yml")
    assert (given["status"], given["reason"], given["message"]) == ("failed", "error", record.message)
    assert given["failed_step"] == "break"
    assert given["params"] == {"day": "today"}
    assert given["slot"] is None
    assert given["previous_status"] is None
    assert given["started"] < given["ended"] or given["took"] < 1
    assert given["started"].endswith("+00:00")
    tail = given["log_tail"].splitlines()
    assert f"run {record.id} started" in tail[0]
    assert f"run {record.id} failed" in tail[-1]


def test_a_hook_is_a_run_of_its_own(run_flow, told, settings):
    run = run_flow("on_failure: tell.yml\n" + BAD)
    hook = open_reconciled_history(settings).find(Query(task="tell"))
    assert [(each.trigger, each.status) for each in hook] == [("hook", "success")]
    assert hook[0].id != run.outcome.run.id
    assert run.outcome.problems == []


@pytest.mark.language("§1 A flow file")
def test_a_flows_own_hooks_are_called_each_time(run_flow, told):
    for text in (GOOD, BAD, BAD, GOOD, GOOD):
        run_flow(ALL + text)
    assert told() == [
        ("on_success", "success"),
        ("on_failure", "failed"),
        ("on_failure", "failed"),
        ("on_recovery", "success"),
        ("on_success", "success"),
        ("on_success", "success"),
    ]
    assert [each["previous_status"] for each in told(short=False)] == [
        None,
        "success",
        "failed",
        "failed",
        "failed",
        "success",
    ]


@pytest.mark.language("§1 A flow file")
def test_the_failure_hook_of_the_settings_hears_of_changes_only(run_flow, told, configure):
    configure("on_failure: tell.yml\non_recovery: tell.yml\n")
    for text in (BAD, BAD, GOOD, GOOD, BAD, "steps: [", GOOD):
        run_flow(text)
    changes = [("on_failure", "failed"), ("on_recovery", "success")]
    assert told() == changes * 2


def test_a_long_row_of_runs_without_news_hides_no_recovery(run_flow, told, configure, settings):
    configure("on_failure: tell.yml\non_recovery: tell.yml\n")
    run_flow(BAD)
    store = open_store(settings)
    begun = store.find(Query(limit=0))[0].started
    for number in range(120):
        at = begun + 0.0001 * (number + 1)
        store.claim(Run(f"U{number:015}", "flow.yml", "flow", status="success", reason=UNCHANGED, started=at, ended=at))
    store.close()
    run_flow(GOOD)
    assert told() == [("on_failure", "failed"), ("on_recovery", "success")]


def test_each_task_has_a_state_of_its_own(run_flow, told, configure):
    configure("on_failure: tell.yml\non_recovery: tell.yml\n")
    run_flow(BAD, name="a.yml")
    run_flow(BAD, name="b.yml")
    run_flow(GOOD, name="a.yml")
    assert [(each["task"], each["hook"]) for each in told(short=False)] == [
        ("a", "on_failure"),
        ("b", "on_failure"),
        ("a", "on_recovery"),
    ]


def test_a_run_that_ended_early_on_purpose_is_a_good_one(run_flow, told):
    run_flow(ALL + BAD)
    run_flow(ALL + "steps: [{name: e, type: exit, exit: {message: nothing new}}]")
    assert told() == [("on_failure", "failed"), ("on_recovery", "exit"), ("on_success", "exit")]


def test_a_refused_flow_is_told_to_the_hook_of_the_settings(run_flow, told, configure):
    configure("on_failure: tell.yml\n")
    assert run_flow("on_failure: 5\nsteps: []").reason == "refused"
    (given,) = told(short=False)
    assert (given["reason"], given["failed_step"]) == ("refused", None)


def test_a_timeout_is_told(run_flow, told):
    run = run_flow("timeout: 0.2\non_failure: tell.yml\nsteps: [{name: s, type: sleep, sleep: {seconds: 60}}]")
    assert run.reason == "timeout"
    (given,) = told(short=False)
    assert (given["reason"], given["failed_step"]) == ("timeout", "s")


def test_the_death_of_the_child_is_told(run_flow, told):
    kill = "steps: [{name: s, type: shell, shell: {command: 'kill -9 $PPID; sleep 5'}}]"
    run = run_flow("on_failure: tell.yml\n" + kill)
    assert run.status == "crashed"
    assert told(short=False)[0]["failed_step"] == "s"


def test_a_dry_run_tells_nobody(run_flow, told):
    run_flow(ALL + BAD, dry_run=True)
    run_flow(ALL + GOOD, dry_run=True)
    assert told() == []
    run_flow(ALL + GOOD)
    assert told() == [("on_success", "success")]


def test_a_skipped_run_tells_nobody(run_flow, told):
    run_flow(ALL + GOOD, slot=1790000000.0)
    assert run_flow(ALL + GOOD, slot=1790000000.0).status == "skipped"
    assert told() == [("on_success", "success")]


def test_a_hook_that_fails_changes_nothing_and_calls_no_further_hook(run_flow, told, workspace, settings):
    (workspace / "tasks/broken.yml").write_text("on_failure: tell.yml\non_success: tell.yml\n" + BAD)
    run = run_flow("on_success: broken.yml\n" + GOOD)
    assert run.status == "success"
    (problem,) = run.outcome.problems
    assert "on_success broken.yml: run " in problem
    assert problem.split(": ", 1)[1] in run.log
    assert told() == []
    stored = open_store(settings).run(run.outcome.run.id)
    assert stored is not None
    assert stored.status == "success"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("gone.yml", "flow file not found"),
        ("../../x.yml", "leads out"),
        ("/etc/passwd", "leads out"),
    ],
)
def test_a_hook_that_cannot_be_is_told(run_flow, path, why):
    run = run_flow(f"on_success: {path}\n" + GOOD)
    assert run.status == "success"
    assert why in run.outcome.problems[0]


def test_broken_settings_are_told_and_the_run_goes_on(run_flow, configure):
    configure("on_failure: [x]\n")
    run = run_flow(GOOD)
    assert run.status == "success"
    (problem,) = run.outcome.problems
    assert "config.yml:1:1: error: on_failure must be text" in problem


def test_a_crash_that_is_found_later_is_told_then(told, workspace, environment, settings, run_flow):
    (workspace / "tasks/slow.yml").write_text(
        "on_failure: tell.yml\nsteps: [{name: wait, type: sleep, sleep: {seconds: 60}}]"
    )
    _start_and_kill(workspace, environment, settings)
    run_housekeeping(settings)
    (given,) = told(short=False)
    assert (given["task"], given["status"], given["hook"]) == ("slow", "crashed", "on_failure")
    (Path(settings.state_path) / "housekeeping").unlink()
    run_housekeeping(settings)
    assert len(told()) == 1


def test_a_crash_is_told_before_the_recovery_from_it(told, workspace, environment, settings, run_flow, configure):
    configure("on_failure: tell.yml\non_recovery: tell.yml\n")
    (workspace / "tasks/slow.yml").write_text("steps: [{name: wait, type: sleep, sleep: {seconds: 60}}]")
    _start_and_kill(workspace, environment, settings)
    run_flow(GOOD, name="slow.yml")
    assert told() == [("on_failure", "crashed"), ("on_recovery", "success")]
    assert told(short=False)[0]["failed_step"] == "wait"


def _start_and_kill(workspace, environment, settings) -> None:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "scflows", "run", "slow.yml"],
        cwd=workspace,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        if (Path(settings.state_path) / "history.sqlite").exists():
            store = open_store(settings)
            begun = [store.run(run.id) for run in store.find(Query(task="slow"))]
            store.close()
            if begun and begun[0] is not None and begun[0].steps:
                break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # The kernel ends what the process started, a moment later.
    while any(lock.alive for lock in holders(settings.lock_path)):
        time.sleep(0.01)


@pytest.mark.language("§1 A flow file")
def test_start_and_success_are_pinged_with_one_run_id(run_flow, service):
    run = run_flow(f'ping: {{start: "{service.url}/x/start", success: "{service.url}/x?a=b"}}\n' + GOOD)
    assert run.outcome.problems == []
    (first, second) = service.calls
    assert first[:2] == ("GET", "/x/start")
    assert second[:2] == ("GET", "/x")
    assert second[2]["a"] == ["b"]
    assert first[2]["rid"] == second[2]["rid"]
    assert UUID(first[2]["rid"][0])


@pytest.mark.language("§1 A flow file")
def test_a_failure_is_pinged_with_the_end_of_the_log(run_flow, service):
    run = run_flow(f'ping: {{success: "{service.url}/x", failure: "{service.url}/x/fail"}}\n' + BAD)
    (call,) = service.calls
    assert call[:2] == ("POST", "/x/fail")
    assert call[3].startswith("flow failed: ")
    assert f"run {run.outcome.run.id} failed" in call[3]


def test_every_run_is_pinged_and_the_flows_own_address_wins(run_flow, service, configure):
    configure(f'ping: {{start: "{service.url}/all", success: "{service.url}/key/{{task}}"}}\n')
    run_flow(GOOD, name="a.yml")
    run_flow(GOOD, name="a.yml")
    run_flow(f'ping: {{start: null, success: "{service.url}/own"}}\n' + GOOD, name="b.yml")
    assert [call[1] for call in service.calls] == ["/all", "/key/a", "/all", "/key/a", "/own"]


def test_a_slow_start_ping_is_told_before_the_end_and_delays_no_step(run_flow, service):
    service.lag = 2.0
    run = run_flow(f'ping: {{start: "{service.url}/start", success: "{service.url}/end"}}\n' + GOOD)
    assert [call[1] for call in service.calls] == ["/start", "/end"]
    assert run.outcome.run.took is not None
    assert run.outcome.run.took < service.lag


def test_a_ping_is_tried_twice_and_its_failure_is_no_failure_of_the_run(run_flow, service):
    text = f'ping: {{success: "{service.url}/secret-key"}}\n' + GOOD
    service.answers = [503, 200]
    assert run_flow(text).outcome.problems == []
    assert len(service.calls) == 2
    service.answers = [500, 502]
    run = run_flow(text)
    assert run.status == "success"
    assert run.outcome.problems == ["ping http://127.0.0.1/…: status 502; it will be tried again for a day"]
    service.answers = [404]
    assert run_flow(text).outcome.problems == ["ping http://127.0.0.1/…: status 404; it will be tried again for a day"]
    assert len(service.calls) == 5


def test_an_address_that_does_not_answer_is_told(run_flow):
    run = run_flow('ping: {start: "http://127.0.0.1:9/x", success: "http://127.0.0.1:9/x"}\n' + GOOD)
    assert run.status == "success"
    assert "Connection refused" in run.outcome.problems[0]


def test_an_answer_that_is_no_http_is_told(run_flow):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def babble() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"what?\r\n\r\n")

        thread = threading.Thread(target=babble)
        thread.start()
        run = run_flow(f'ping: {{failure: "http://127.0.0.1:{server.getsockname()[1]}/x"}}\n' + BAD)
        thread.join()
    assert run.status == "failed"
    assert run.outcome.problems == ["ping http://127.0.0.1/…: what?; it will be tried again for a day"]


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("https://127.0.0.1:9/x", "redirected from http to https"),
        ("ftp://127.0.0.1/x", "redirected from http to ftp"),
        ("file:///etc/hostname", "status 302"),
        ("http://169.254.169.254/latest/meta-data", "redirected to the link-local address 169.254.169.254"),
        ("http://[fe80::1%25eth0]/x", "redirected to the link-local address fe80::1"),
        ("http://[::ffff:169.254.1.1]/x", "redirected to the link-local address ::ffff:169.254.1.1"),
    ],
)
def test_a_ping_follows_no_redirect_to_another_scheme_or_a_link_local_address(run_flow, service, target, problem):
    service.answers, service.location = [302, 302], target
    run = run_flow(f'ping: {{success: "{service.url}/x"}}\n' + GOOD)
    assert run.status == "success"
    (found,) = run.outcome.problems
    assert problem in found
    assert {path for _, path, _, _ in service.calls} == {"/x"}


def test_a_ping_follows_other_redirects(run_flow, service):
    service.answers, service.location = [302], f"http://localhost:{service.server_port}/y"
    run = run_flow(f'ping: {{success: "{service.url}/x"}}\n' + GOOD)
    assert run.outcome.problems == []
    assert [path for _, path, _, _ in service.calls] == ["/x", "/y"]


def test_a_ping_that_trickles_is_ended_after_a_fixed_time(run_flow, monkeypatch):
    monkeypatch.setattr("scflows.notifications.pings.TOTAL", 0.4)
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def trickle() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                while not over.wait(0.05):
                    connection.sendall(b"a")

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            run = run_flow(f'ping: {{success: "http://127.0.0.1:{server.getsockname()[1]}/x"}}\n' + GOOD)
        finally:
            over.set()
            thread.join()
    assert run.status == "success"
    assert run.outcome.problems == [
        "ping http://127.0.0.1/…: ended after 0.4 s without an answer; it will be tried again for a day"
    ]


def test_a_hook_that_hangs_is_ended(run_flow, workspace, monkeypatch, settings):
    monkeypatch.setattr("scflows.execution.launch.HOOK_SECONDS", 0.3)
    (workspace / "tasks/hang.yml").write_text("steps: [{name: hang, type: sleep, sleep: {seconds: 600}}]")
    run = run_flow("on_success: hang.yml\n" + GOOD)
    assert run.status == "success"
    (problem,) = run.outcome.problems
    assert problem.startswith("on_success hang.yml: run ")
    store = open_store(settings)
    assert [(each.status, each.reason) for each in store.find(Query(task="hang"))] == [("failed", "timeout")]
    store.close()


def test_a_hook_may_have_a_time_limit_of_its_own(run_flow, workspace, monkeypatch):
    monkeypatch.setattr("scflows.execution.launch.HOOK_SECONDS", 0.1)
    text = "timeout: 60\nsteps: [{name: slow, type: sleep, sleep: {seconds: 0.3}}]"
    (workspace / "tasks/slow.yml").write_text(text)
    assert run_flow("on_success: slow.yml\n" + GOOD).outcome.problems == []


def test_dry_runs_and_hooks_are_not_pinged(run_flow, service, configure, told):
    configure(f'ping: {{success: "{service.url}/x"}}\n')
    run_flow(GOOD, dry_run=True)
    run_flow("on_success: tell.yml\n" + GOOD)
    assert len(service.calls) == 1
    assert told() == [("on_success", "success")]
