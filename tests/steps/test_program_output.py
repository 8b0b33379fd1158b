"""What the programs of shell and python steps print: in the log as it comes, and at the end of a failed step."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest


def lines(log: str, stream: str) -> list[str]:
    return [line.partition(f" {stream}: ")[2] for line in log.splitlines() if f": {stream}: " in line]


@pytest.mark.language("§10 shell")
def test_both_streams_are_logged_line_by_line_and_marked(run_flow):
    run = run_flow(r"""
        steps:
          - {name: job, type: shell, shell: {command: "echo one; echo two >&2; printf 'a\rb\n\nlast'"}}
    """)
    assert run.result["job"] == "one\na\rb\n\nlast"
    assert lines(run.log, "stdout") == ["one", "a", "b", "", "last"]
    assert lines(run.log, "stderr") == ["two"]
    assert run.outcome.run.steps[0].output == ""


def test_a_failed_step_shows_the_end_of_both(run_flow, flows, workspace):
    command = "for n in $(seq 1 100); do echo row $n; done; echo reason >&2; echo bye; exit 3"
    run = run_flow(f"steps: [{{name: job, type: shell, shell: {{command: '{command}'}}}}]")
    assert run.status == "failed"
    assert run.errors[0]["error"]["exit_code"] == 3
    assert run.errors[0]["error"]["stderr"] == "reason\n"
    assert run.errors[0]["error"]["stdout"].endswith("row 100\nbye\n")
    output = run.outcome.run.steps[0].output.splitlines()
    # 20 lines of both; the order among the streams is that in which they were read.
    assert len(output) == 20
    assert {"stderr: reason", "stdout: bye", "stdout: row 100"} <= set(output)
    assert lines(run.log, "stdout") == [*(f"row {n}" for n in range(1, 101)), "bye"]
    shown = json.loads(flows("runs", "show", run.outcome.run.id, "--json").out)
    assert shown["steps"][0]["output"].splitlines() == output


def test_the_reason_may_be_on_stdout_alone(run_flow):
    run = run_flow("steps: [{name: job, type: shell, shell: {command: 'echo all is lost; exit 1'}}]")
    assert run.message.endswith("exit status 1: all is lost")


def test_lines_are_logged_while_the_program_runs(workspace, environment):
    (workspace / "tasks/slow.yml").write_text(
        "steps: [{name: job, type: shell, shell: {command: 'echo begun; while [ ! -e go ]; do sleep 0.05; done'}}]"
    )
    (workspace / "data").mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "scflows", "run", "slow.yml"], cwd=workspace, env=environment
    )
    log = Path(environment["XDG_CACHE_HOME"]) / "scdata/tasks/slow/slow.log"
    ends = time.monotonic() + 60
    while not (log.exists() and "stdout: begun" in log.read_text()):
        assert time.monotonic() < ends
        assert process.poll() is None
        time.sleep(0.02)
    (workspace / "data/go").touch()
    assert process.wait(60) == 0


@pytest.mark.language("§10 python")
def test_a_function_prints_on_both_streams(run_flow, workspace):
    (workspace / "data").mkdir(exist_ok=True)
    (workspace / "data/f.py").write_text(
        "import os, sys\n"
        "def f(value):\n"
        "    print('out')\n"
        "    print('err', file=sys.stderr)\n"
        "    os.system('echo child')\n"
        "    raise OSError('no')\n"
    )
    run = run_flow("steps: [{name: job, type: python, python: {path: f.py, function: f}}]")
    assert run.status == "failed"
    assert run.errors[0]["error"]["exception"] == "OSError"
    assert lines(run.log, "stdout") == ["out", "child"]
    assert lines(run.log, "stderr")[0] == "err"
    assert "stdout: out" in run.outcome.run.steps[0].output


def test_secrets_are_masked_in_every_line_also_in_a_long_one(run_flow, workspace, settings):
    secrets = workspace / "data/secrets.yml"
    secrets.parent.mkdir(exist_ok=True)
    secrets.write_text("- {name: mine, type: token, token: s3cret-t0ken-of-mine}\n")
    secrets.chmod(0o600)
    # 65,536 characters are logged at a time: some secret lies across each cut.
    command = """python3 -c 'import os; print(("x" * 5 + os.environ["T"]) * 9000)'; echo "$T" >&2; exit 1"""
    run = run_flow(f"""
        steps:
          - name: job
            type: shell
            shell: {{command: {json.dumps(command)}, env: {{T: "{{{{ secret('mine').token }}}}"}}}}
    """)
    assert run.status == "failed"
    shown = run.log + run.outcome.run.steps[0].output + json.dumps(run.errors)
    assert "s3cret" not in shown
    assert "0ken-of-mine" not in shown
    assert lines(run.log, "stderr") == ["***"], run.message
    assert "".join(lines(run.log, "stdout")) == "xxxxx***" * 9000


def test_output_stays_within_the_limit_of_the_log(run_flow, workspace):
    (workspace / "data").mkdir(exist_ok=True)
    (workspace / "data/config.yml").write_text("retention: {run_log_bytes: 64 KiB}\n")
    run = run_flow("steps: [{name: job, type: shell, shell: {command: 'seq 1 100000'}}]")
    assert run.status == "success"
    assert len(run.log) < 128 * 1024
    assert "stdout: 1\n" in run.log
    assert "stdout: 100000\n" in run.log
