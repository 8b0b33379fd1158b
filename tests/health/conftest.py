"""An installation of the test's own, to be broken in one way each."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from scflows.cron.crontab.block import plan
from scflows.cron.crontab.line import line
from scflows.cron.crontab.tabfile import Tabfile
from scflows.cron.schedule.schedule import Schedule
from scflows.cron.task import Task, TaskStore
from scflows.health import Finding
from scflows.health.installation import Account, Installation
from scflows.history.run import SUCCESS, Run
from scflows.history.store import open_store
from scflows.settings import Settings
from tests.conftest import FAKE_CRONTAB

HOURLY = Schedule("30 * * * *", every=3600)
SOUND = "steps: [{name: one, type: set_fact, set_fact: {value: 1}}]\n"
Check = Callable[[Installation], Iterable[Finding]]


class Machine:
    """An installation under the test's own folder, with a crontab program and processes that are made up."""

    def __init__(self, settings: Settings, environment: dict[str, str], folder: Path) -> None:
        self.settings = settings
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        shutil.copy(FAKE_CRONTAB, self.bin / "crontab")
        self.environment = {**environment, "CRONTAB_PROGRAM": str(self.bin / "crontab")}
        self.proc = folder / "proc"
        self.proc.mkdir()
        self.run = folder / "run"
        self.run.mkdir()
        self.now = time.time()

    def installation(self, **given: object) -> Installation:
        settings = replace(self.settings, environment=self.environment)
        account = Account("ana", self.environment["HOME"])
        named = {"now": self.now, "account": account, "proc": str(self.proc), "run": str(self.run), **given}
        return Installation(settings, self.environment, **named)  # type: ignore[arg-type]

    def task(self, name: str, schedule: Schedule = HOURLY, flow: str = SOUND, **given: object) -> Task:
        """Put a task on the tabfile and its flow into the workspace."""
        path = Path(self.settings.home) / "tasks" / f"{name}.yml"
        path.write_text(flow)
        task = Task(name, schedule, str(path), workspace=self.settings.home, settings=self.settings.remembered())
        task = replace(task, **given)  # type: ignore[arg-type]
        TaskStore(self.settings).write(task)
        tabfile = Tabfile.read(self.settings.tabfile)
        tabfile.put(name, line(task, sys.executable, self.settings.state_path))
        tabfile.write(self.settings.tabfile)
        return task

    def install(self, before: bytes = b"") -> None:
        """Put the tabfile's lines into the crontab."""
        self.holds(plan(before, Tabfile.read(self.settings.tabfile).lines))

    def holds(self, content: bytes) -> None:
        (self.bin / "tab").write_bytes(content)

    def behaves(self, mode: str) -> None:
        (self.bin / "mode").write_text(f"{mode}\n")

    def process(self, pid: int, name: str, *words: str) -> None:
        folder = self.proc / str(pid)
        folder.mkdir()
        (folder / "comm").write_text(f"{name}\n")
        (folder / "cmdline").write_text("\0".join([name, *words]))

    def ran(self, slot: float, trigger: str = "cron") -> None:
        store = open_store(self.settings)
        try:
            run = Run("0" * 16, "f", "report", trigger, slot, started=slot + 1, ended=slot + 2, status=SUCCESS)
            assert store.claim(run) is None
        finally:
            store.close()


@pytest.fixture
def machine(settings: Settings, environment: dict[str, str], tmp_path: Path) -> Machine:
    return Machine(settings, environment, tmp_path)


@pytest.fixture
def one(machine: Machine) -> Callable[[Check], Finding]:
    """The one thing that a check finds."""

    def one(check: Check) -> Finding:
        findings = list(check(machine.installation()))
        assert len(findings) == 1, findings
        return findings[0]

    return one
