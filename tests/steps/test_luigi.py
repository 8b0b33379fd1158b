"""Luigi tasks as steps: locally and with a central scheduler."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.language("§10 luigi")

MODULE = """
import luigi


class Words(luigi.Task):
    term = luigi.Parameter()
    count = luigi.IntParameter(default=2)

    def output(self):
        return luigi.LocalTarget(f"words-{self.term}.txt")

    def run(self):
        print("collecting")
        with self.output().open("w") as file:
            file.write("\\n".join([self.term] * self.count))


class RunFlow(luigi.Task):
    term = luigi.Parameter()
    count = luigi.IntParameter(default=2)

    def requires(self):
        return Words(self.term, self.count)

    def output(self):
        return luigi.LocalTarget(f"counted-{self.term}.txt")

    def run(self):
        import os
        if os.path.exists("broken"):
            raise RuntimeError("the disk is broken")
        with self.input().open() as file, self.output().open("w") as out:
            out.write(str(len(file.read().split())))


class Needs(luigi.ExternalTask):
    def output(self):
        return luigi.LocalTarget("never.txt")


class Above(luigi.Task):
    def requires(self):
        return Needs()
"""


@pytest.fixture
def data(workspace: Path) -> Path:
    folder = workspace / "data"
    folder.mkdir()
    (folder / "summaries.py").write_text(MODULE)
    return folder


def flow(**options: Any) -> str:
    given = {"module": "summaries", "task": "RunFlow", "params": {"term": "air"}, **options}
    return yaml.safe_dump({"steps": [{"name": "pipeline", "type": "luigi", "luigi": given}]})


def test_its_tasks_are_steps_and_are_not_run_again(run_flow: Callable[..., Any], data: Path) -> None:
    run = run_flow(flow(params={"term": "air", "count": 3}))
    assert run.status == "success", run.message
    assert (data / "counted-air.txt").read_text() == "3"
    assert run.result["pipeline"] == {"status": "SUCCESS", "done": 2, "failed": 0}
    shown = [(name.partition("(")[0], status) for name, status in run.steps]
    assert shown == [("pipeline", "success"), ("Words", "success"), ("RunFlow", "success")]
    assert "stdout: collecting" in run.log
    assert run_flow(flow(params={"term": "air", "count": 3})).result["pipeline"]["done"] == 0


def test_a_failure_is_that_of_its_task_and_the_next_run_continues(run_flow: Callable[..., Any], data: Path) -> None:
    (data / "broken").touch()
    run = run_flow(flow())
    assert run.status == "failed"
    assert "RunFlow(term=air, count=2): the disk is broken" in run.message
    assert [status for _, status in run.steps] == ["failed", "success", "failed"]
    (data / "broken").unlink()
    run = run_flow(flow())
    assert run.result["pipeline"]["done"] == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"module": "nowhere"}, "module 'nowhere' cannot be imported"),
        ({"task": "Nothing"}, "has no task 'Nothing'"),
        ({"params": {}}, "term"),
        ({"params": {"term": "a", "count": "many"}}, "many"),
        ({"task": "Above", "params": {}}, "its output is missing, and no task makes it"),
        ({"scheduler": "http://127.0.0.1:9"}, "the central scheduler at http://127.0.0.1:9 does not answer"),
        ({"python": "/nowhere/python"}, "/nowhere/python: program not found"),
    ],
)
def test_what_cannot_be_run_is_named(
    run_flow: Callable[..., Any], data: Path, options: dict[str, Any], expected: str
) -> None:
    run = run_flow(flow(**options))
    assert run.status == "failed"
    assert expected in run.message


@pytest.fixture
def luigid(tmp_path: Path) -> Iterator[str]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    program = os.path.join(os.path.dirname(sys.executable), "luigid")
    command = [program, "--address", "127.0.0.1", "--port", str(port), "--state-path", str(tmp_path / "luigi.state")]
    server = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.wait()


def test_a_central_scheduler_shows_the_tasks(run_flow: Callable[..., Any], data: Path, luigid: str) -> None:
    run = run_flow(flow(scheduler=luigid, workers=2))
    assert run.status == "success", run.message
    from urllib.request import urlopen

    with urlopen(f"{luigid}/api/task_list?data=%7B%22status%22%3A%22DONE%22%7D", timeout=5) as answer:
        assert b"RunFlow" in answer.read()


def test_a_time_limit_ends_its_process(run_flow: Callable[..., Any], data: Path) -> None:
    slow = "\n\nclass Slow(luigi.Task):\n    def run(self):\n        import time\n        time.sleep(60)\n"
    (data / "summaries.py").write_text(MODULE + slow)
    text = yaml.safe_load(flow(task="Slow", params={}))
    text["steps"][0]["timeout"] = 3
    run = run_flow(yaml.safe_dump(text))
    assert run.status == "failed"
    assert [status for _, status in run.steps] == ["failed", "failed"]


def test_options_are_checked_before_the_run(mistakes: Callable[..., list[str]]) -> None:
    assert mistakes("luigi", {"module": "a", "task": "B", "scheduler": "there"}) == [
        "scheduler: 'scheduler' must be local or an address, for example http://localhost:8082"
    ]
