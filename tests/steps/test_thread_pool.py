"""Work side by side, and its end when the run is told to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from scflows.steps import thread_pool as pool_module
from scflows.steps.cancellation import StepInterrupted, Watchdog
from scflows.steps.thread_pool import StepThreadPool


def test_what_is_handed_in_is_done_and_told_once():
    clock = Watchdog()
    found = {}
    with StepThreadPool(clock.main_scope, 4) as pool:
        for number in range(50):
            pool.submit(number, lambda scope, number=number: number * 2)
        while len(found) < 50:
            found.update(pool.completed())
    assert found == {number: number * 2 for number in range(50)}
    assert clock.scopes == {}


def test_an_exception_is_a_result():
    with StepThreadPool(Watchdog().main_scope, 1) as pool:
        pool.submit("x", lambda scope: 1 / 0)
        (told,) = pool.completed()
    assert isinstance(told[1], ZeroDivisionError)


def test_without_threads_to_be_had_the_work_is_done_all_the_same(monkeypatch):
    monkeypatch.setattr(pool_module, "MAX_THREADS", 0)
    with StepThreadPool(Watchdog().main_scope, 4) as pool:
        pool.submit("x", lambda scope: 7)
        assert pool.completed() == [("x", 7)]


def test_a_limit_ends_the_wait_and_the_work():
    clock = Watchdog(limit=0.2)
    begun = time.monotonic()

    def work(scope):
        scope.sleep(30)

    def wait():
        with StepThreadPool(clock.main_scope, 2) as pool:
            pool.submit("x", work)
            while True:
                assert all(isinstance(result, StepInterrupted) for _, result in pool.completed())

    with pytest.raises(StepInterrupted):
        wait()
    assert time.monotonic() - begun < 25
    assert clock.scopes == {}


def test_a_stop_ends_a_loop_with_what_its_items_started(workspace, environment):
    mark = f"9{os.getpid()}"
    tasks = workspace / "tasks"
    (tasks / "child.yml").write_text(f"""
finally_step: last
steps:
  - {{name: s, type: shell, shell: {{command: "touch begun.$$; sleep {mark}"}}}}
  - {{name: last, type: shell, shell: {{command: "echo child >> last"}}}}
""")
    (tasks / "flow.yml").write_text("""
finally_step: last
steps:
  - {name: rows, type: set_fact, set_fact: {value: [1, 2, 3, 4, 5, 6]}}
  - {name: loop, type: flow_loop, flow_loop: {path: child.yml, data_key: rows, max_parallel: 2}}
  - {name: last, type: shell, shell: {command: "echo parent >> last"}}
""")
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "scflows", "run", "flow.yml", "--json"],
        cwd=workspace,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    ends = time.monotonic() + 60
    while len(list((workspace / "data").glob("begun.*"))) < 2:
        assert time.monotonic() < ends
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert json.loads(out)["status"] == "cancelled"
    assert (workspace / "data" / "last").read_text().split() == ["child", "child", "parent"]
    left = subprocess.run(["pgrep", "-f", f"^sleep {mark}$"], capture_output=True, text=True).stdout
    assert left == ""
