"""Snakemake workflows as steps."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.language("§10 snakemake")

SNAKEFILE = """
rule all:
    input: expand("out/{name}.count", name=["a", "b"])

rule count:
    input: "in/{name}.txt"
    output: "out/{name}.count"
    shell: "test ! -e broken-{wildcards.name} && wc -w < {input} > {output}"
"""


@pytest.fixture
def data(workspace: Path) -> Path:
    folder = workspace / "data"
    (folder / "in").mkdir(parents=True)
    (folder / "Snakefile").write_text(SNAKEFILE)
    for name in ("a", "b"):
        (folder / "in" / f"{name}.txt").write_text("one two three\n")
    return folder


def flow(**options: Any) -> str:
    return yaml.safe_dump({"steps": [{"name": "analysis", "type": "snakemake", "snakemake": options}]})


def test_its_jobs_are_steps_and_are_not_run_again(run_flow: Callable[..., Any], data: Path) -> None:
    run = run_flow(flow(cores=2))
    assert run.status == "success", run.message
    assert (data / "out" / "a.count").read_text().strip() == "3"
    assert run.steps[0] == ("analysis", "success")
    assert sorted(run.steps[1:]) == [
        ("all", "success"),
        ("count(name=a)", "success"),
        ("count(name=b)", "success"),
    ]
    again = run_flow(flow())
    assert again.steps == [("analysis", "success")]
    assert again.result["analysis"] == {"done": 0}


def test_a_failure_is_that_of_its_job_and_the_next_run_continues(run_flow: Callable[..., Any], data: Path) -> None:
    assert run_flow(flow(targets=["out/a.count"])).status == "success"
    (data / "broken-b").touch()
    run = run_flow(flow())
    assert run.status == "failed"
    assert "count(name=b)" in run.message
    (data / "broken-b").unlink()
    run = run_flow(flow())
    assert run.status == "success", run.message
    assert ("count(name=a)", "success") not in run.steps


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"snakefile": "nowhere"}, "there is no Snakefile"),
        ({"targets": ["no/such"]}, "no/such"),
        ({"python": "/nowhere/python"}, "/nowhere/python: program not found"),
    ],
)
def test_what_cannot_be_run_is_named(
    run_flow: Callable[..., Any], data: Path, options: dict[str, Any], expected: str
) -> None:
    run = run_flow(flow(**options))
    assert run.status == "failed"
    assert expected in run.message


@pytest.mark.waits
def test_the_lock_of_a_killed_run_is_removed_and_no_other(
    run_flow: Callable[..., Any], data: Path, workspace: Path, environment: dict[str, str]
) -> None:
    (data / "Snakefile").write_text(SNAKEFILE.replace('shell: "test', 'shell: "test -e go || sleep 60; test'))
    (workspace / "tasks" / "slow.yml").write_text(flow())
    command = [sys.executable, "-P", "-m", "scflows", "run", "slow.yml"]
    running = subprocess.Popen(
        command, cwd=workspace, env=environment, stdout=subprocess.DEVNULL, start_new_session=True
    )
    note = data / ".snakemake-scflows.json"
    ends = time.monotonic() + 60
    while time.monotonic() < ends and not note.exists():
        time.sleep(0.1)
    time.sleep(0.3)
    os.killpg(running.pid, 9)
    running.wait()
    (data / "go").touch()
    assert list((data / ".snakemake" / "locks").iterdir())
    kept = note.read_text()
    note.unlink()
    run = run_flow(flow())
    assert run.status == "failed"
    assert "lock" in run.message.lower()
    note.write_text(kept)
    run = run_flow(flow())
    assert run.status == "success", run.message
    assert "removing the lock of an earlier run" in run.log
