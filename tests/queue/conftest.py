"""A machine with tasks that are started as cron does, and a cap on the runs at once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scflows.cron.schedule.schedule import Schedule
from scflows.cron.task import Task, TaskStore
from scflows.history.contract import Query
from scflows.history.run import FINAL, Run
from scflows.history.store import open_store
from scflows.queue import entries as queue
from scflows.settings import Settings

#: Goes on until the file `go` is there, or for a minute.
HOLD = """
steps:
  - name: hold
    type: shell
    shell: {command: "n=0; while [ ! -e go ] && [ $n -lt 1200 ]; do sleep 0.05; n=$((n+1)); done"}
"""


QUICK = "steps: [{name: s, type: set_fact, set_fact: {value: 1}}]\n"


SLOT = 1790000000 // 60 * 60


#: Tasks are started by the tests alone: no slot comes, and is missed, while one goes on.
RARELY = Schedule("0 0 29 2 *")


class Machine:
    """Tasks, starts in cron's form, and what became of them."""

    def __init__(self, settings: Settings, workspace: Path, environment: dict[str, str]) -> None:
        self.settings = settings
        self.workspace = workspace
        self.environment = environment
        self.started: list[subprocess.Popen[str]] = []
        (workspace / "data").mkdir(exist_ok=True)

    def task(self, name: str, text: str = QUICK, **given: Any) -> Task:
        path = self.workspace / "tasks" / f"{name}.yml"
        path.write_text(text)
        task = Task(name, RARELY, str(path), workspace=str(self.workspace), settings=self.settings.remembered())
        task = replace(task, **given)
        TaskStore(self.settings).write(task)
        return task

    def start(self, name: str, slot: float | None = SLOT, **variables: str) -> subprocess.Popen[str]:
        """Start a task as cron does, and go on."""
        command = ["run", str(self.workspace / "tasks" / f"{name}.yml"), "--task", name]
        command += ["--state", self.settings.state_path]
        return self.flows(*command, *([] if slot is None else ["--slot", f"{slot:.0f}"]), **variables)

    def flows(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        return self._start(["-m", "scflows", *arguments], variables)

    def python(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        """Start some Python of the test's own, and go on."""
        return self._start(["-c", code, *arguments], {})

    def _start(self, arguments: list[str], variables: dict[str, str]) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-P", *arguments],
            cwd=self.workspace,
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            # Else the kernel may hang up on one that is stopped, when another of its group ends.
            process_group=0,
        )
        self.started.append(process)
        return process

    def runs(self, **wanted: Any) -> list[Run]:
        """All runs, the first to start first."""
        if not os.path.exists(os.path.join(self.settings.state_path, "history.sqlite")):
            return []
        store = open_store(self.settings)
        try:
            return sorted(store.find(Query(limit=0, **wanted)), key=lambda run: run.started)
        finally:
            store.close()

    def until(self, condition: Callable[[], Any], seconds: float = 60.0) -> Any:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            value = condition()
            if value:
                return value
            time.sleep(0.02)
        told = [(run.task, run.status, run.reason, run.message) for run in self.runs()]
        raise AssertionError(f"it did not happen in time: {told} {queue.entries(self.settings.state_path)}")

    def statuses(self) -> dict[str, str]:
        return {run.task: run.status for run in self.runs()}

    def hold(self, *names: str, text: str = HOLD, slot: float = SLOT) -> None:
        """Tasks that run until they are let go."""
        for name in names:
            self.task(name, text)
            self.start(name, slot)
        self.until(lambda: all(self.statuses().get(name) == "running" for name in names))

    def let_go(self) -> None:
        (self.workspace / "data" / "go").touch()

    def ended(self, count: int) -> list[Run]:
        """The runs, once so many are there and all of them have ended."""
        self.until(lambda: sum(run.status in FINAL for run in self.runs()) == count == len(self.runs()))
        return self.runs()

    def worker(self) -> int:
        """The queue worker; 0 when there is none."""
        try:
            lines = Path(self.settings.state_path, "worker.lock").read_text().splitlines()
            return int(lines[1].split(":")[2])
        except (OSError, IndexError, ValueError):
            return 0


@pytest.fixture
def machine(settings: Settings, workspace: Path, environment: dict[str, str]) -> Iterator[Machine]:
    environment["MAX_RUNS"] = "1"
    machine = Machine(settings, workspace, environment)
    yield machine
    machine.let_go()
    for process in machine.started:
        process.wait(60)
    machine.until(lambda: not queue.entries(settings.state_path) and not machine.worker())


def most_at_once(runs: list[Run]) -> int:
    moments = [(run.started, 1) for run in runs] + [(run.ended or 0.0, -1) for run in runs]
    now = most = 0
    for _, change in sorted(moments):
        now += change
        most = max(most, now)
    return most
