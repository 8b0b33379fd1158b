"""Fixtures: everything a test touches lies under its own folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from textwrap import dedent
from typing import Any

import hypothesis
import pytest

from scflows.cron.crontab.program import Crontab, find_crontab
from scflows.execution.launch import launch
from scflows.execution.request import RunOutcome, RunRequest
from scflows.integrations.smartcitizen.demo.kinds import OPERATOR
from scflows.integrations.smartcitizen.demo.platform import Platform
from scflows.integrations.smartcitizen.demo.server import PlatformServer, serving
from scflows.settings import Settings, read_settings

#: What a process of ours may see of the environment that the tests run in.
KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TMPDIR", "COVERAGE_PROCESS_START", "PYTHONPATH")
# What fails shall fail each time.
hypothesis.settings.register_profile("the same each time", derandomize=True)
hypothesis.settings.load_profile("the same each time")

#: A stand-in for the program `crontab` that can also refuse, lie or be edited meanwhile.
FAKE_CRONTAB = Path(__file__).parent / "cron/crontab/fake_crontab"

#: Seconds after which a command is taken to hang.
PATIENCE = 120


@dataclass
class FakeCrontab:
    """The stand-in and what it holds."""

    folder: Path

    @property
    def program(self) -> Crontab:
        found = find_crontab({"PATH": str(self.folder)})
        assert found is not None
        return found

    @property
    def tab(self) -> bytes:
        return (self.folder / "tab").read_bytes()

    def holds(self, content: bytes) -> None:
        (self.folder / "tab").write_bytes(content)

    def behaves(self, mode: str) -> None:
        (self.folder / "mode").write_text(f"{mode}\n")

    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().split()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have those that wait begin first, spread over the workers, so that the others compute meanwhile."""
    waiting = [item for item in items if item.get_closest_marker("waits")]
    others = iter([item for item in items if not item.get_closest_marker("waits")])
    total, workers = len(items), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    ordered: list[pytest.Item] = []
    # As xdist does at first, each worker is given a piece of the list.
    for number in range(workers):
        size = (total - len(ordered)) // (workers - number)
        first = waiting[number::workers]
        ordered += [*first, *islice(others, size - len(first))]
    items[:] = ordered


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Where everything must be there, a skipped test has failed: else nobody would see that it tests no more."""
    report = yield
    if report.skipped and os.environ.get("SCFLOWS_REQUIRE_SERVICES"):
        report.outcome = "failed"
        report.longrepr = f"skipped, though SCFLOWS_REQUIRE_SERVICES is set: {report.longrepr[2]}"
    return report


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment whose home, cache and state are the test's own."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    home = tmp_path / "home"
    home.mkdir()
    return {
        **kept,
        "HOME": str(home),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        # No test may come near a real crontab.
        "CRONTAB_PROGRAM": "none",
        # What the system's own cron starts here shall not choose between slots.
        "SYSTEM_CRON_PATH": str(tmp_path / "etc"),
    }


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with an empty `tasks/`."""
    folder = tmp_path / "workspace"
    (folder / "tasks").mkdir(parents=True)
    return folder


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Have the test's processes end at SIGINT and SIGHUP, also where the suite was started with these ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler), signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, before[0])
    signal.signal(signal.SIGHUP, before[1])


@pytest.fixture
def settings(workspace: Path, environment: dict[str, str]) -> Settings:
    return read_settings(str(workspace), environment)


@pytest.fixture
def crontab(tmp_path: Path, environment: dict[str, str]) -> Path:
    """A stand-in for the program `crontab`; the tab it keeps."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "crontab"
    program.write_bytes(FAKE_CRONTAB.read_bytes())
    program.chmod(0o755)
    environment["CRONTAB_PROGRAM"] = str(program)
    return folder / "tab"


@pytest.fixture
def fake(tmp_path: Path) -> FakeCrontab:
    """A `crontab` program of the test's own, without a tab yet."""
    folder = tmp_path / "bin"
    folder.mkdir()
    shutil.copy(FAKE_CRONTAB, folder / "crontab")
    return FakeCrontab(folder)


@pytest.fixture
def system_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Set the zone of the system for one test."""

    def set_zone(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield set_zone
    monkeypatch.undo()
    time.tzset()


@contextmanager
def platform_served(platform: Platform, environment: dict[str, str], workspace: Path) -> Iterator[PlatformServer]:
    """The platform behind HTTP; the workspace's settings lead there. Nothing is asked again."""
    with serving(platform) as running:
        environment |= {**running.settings, "SC_RETRY_SECONDS": "0"}
        del environment["SC_BEARER"]
        env = workspace / ".env"
        env.write_text(f"SC_BEARER={OPERATOR.token}\n")
        env.chmod(0o600)
        yield running


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """The address of an S3 store, a real server on loopback."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait()


@dataclass
class FlowRun:
    """What became of a flow that a test ran."""

    outcome: RunOutcome
    log: str

    @property
    def status(self) -> str:
        return self.outcome.run.status

    @property
    def reason(self) -> str:
        return self.outcome.run.reason

    @property
    def message(self) -> str:
        return self.outcome.run.message

    @property
    def result(self) -> dict[str, Any]:
        """The run's data."""
        return self.outcome.data

    @property
    def errors(self) -> list[dict[str, Any]]:
        errors: list[dict[str, Any]] = self.outcome.data.get("__errors__", [])
        return errors

    @property
    def steps(self) -> list[tuple[str, str]]:
        """(name, status) of each step that was looked at, in order."""
        return [(step.name, step.status) for step in self.outcome.run.steps]


@pytest.fixture
def run_flow(workspace: Path, settings: Settings) -> Callable[..., FlowRun]:
    """Write a flow into the workspace and run it through `launch`, as every user of it does."""

    def run(text: str, payload: Any = None, name: str = "flow.yml", **request: Any) -> FlowRun:
        (workspace / "tasks" / name).write_text(dedent(text), encoding="utf-8")
        given = {} if payload is None else payload
        used = request.pop("settings", settings)
        outcome = launch(RunRequest(flow=name, payload=given, wants_data=True, **request), used)
        log = Path(outcome.run.log).read_text(encoding="utf-8") if outcome.run.log else ""
        return FlowRun(outcome, log)

    return run


@dataclass
class Answer:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str


class Starter:
    """`tests/starter.py`: has commands start without the cost of an interpreter's start."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "socket")
        self.environment = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).parent / "starter.py"), self.address],
            env=self.environment,
            # Pipes, as each command will have.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout
        if self.process.stdout.readline() != b"ready\n":
            raise AssertionError(self.process.communicate()[1].decode())

    def can(self, environment: dict[str, str]) -> bool:
        """Whether these variables would make no difference to the start of an interpreter."""
        early = ("PYTHON", "LD_", "LANG", "LC_", "COVERAGE")
        names = [name for name in {*environment, *self.environment} if name.startswith(early)]
        return all(environment.get(name) == self.environment.get(name) for name in names)

    def run(self, arguments: tuple[str, ...], folder: Path, environment: dict[str, str], stdin: str) -> Answer:
        told = json.dumps({"arguments": arguments, "folder": str(folder), "environment": environment})
        given, out, err = os.pipe(), os.pipe(), os.pipe()
        theirs = given[0], out[1], err[1]
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection, ThreadPoolExecutor(2) as pool:
            connection.settimeout(PATIENCE)
            connection.connect(self.address)
            socket.send_fds(connection, [told.encode()], theirs)
            for file in theirs:
                os.close(file)
            number = int(connection.recv(32))
            outputs = [pool.submit(_read, file) for file in (out[0], err[0])]
            try:
                with open(given[1], "w") as file:
                    file.write(stdin)
            except BrokenPipeError:
                pass  # It did not want to know.
            try:
                code = int(connection.recv(32))
            except TimeoutError:
                os.kill(number, signal.SIGKILL)
                raise
            return Answer(code, *(output.result(PATIENCE) for output in outputs))

    def close(self) -> None:
        self.process.communicate()


def _read(file: int) -> str:
    with open(file) as opened:
        return opened.read()


@pytest.fixture(scope="session")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    starter = Starter(tmp_path_factory.mktemp("starter"))
    yield starter
    starter.close()


@pytest.fixture
def flows(workspace: Path, environment: dict[str, str], starter: Starter) -> Callable[..., Answer]:
    """The command `flows` in the test's workspace, as a process of its own."""

    def run(*arguments: str, stdin: str = "", cwd: Path | None = None, **variables: str) -> Answer:
        given = {**environment, **variables}
        if starter.can(given):
            return starter.run(arguments, cwd or workspace, given, stdin)
        done = subprocess.run(
            [sys.executable, "-P", "-m", "scflows", *arguments],
            cwd=cwd or workspace,
            env=given,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    return run
