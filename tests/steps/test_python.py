"""A function of a file: its value, its errors, its end."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from scflows.errors import StepError

pytestmark = pytest.mark.language("§10 python")

SCRIPT = """
import datetime, decimal, os, sys, time
import beside

def total(rows):
    print("adding", len(rows))
    print("to stderr", file=sys.stderr)
    return {"total": sum(rows), "at": datetime.date(2024, 3, 5), "pair": (1, 2), "set": {"b", "a"}, 5: beside.WORD}

def same(value): return value
def nothing(value): pass
def bad(value): raise ValueError("no good:\\n value " + str(value))
def leaves(value): sys.exit(3)
def dies(value): os._exit(7)
def killed(value): os.kill(os.getpid(), 9)
def nan(value): return float("nan")
def strange(value): return object()
def deep(value): return deep(value)
def large(value): return "x" * 100_000
def surroundings(value): return [os.getcwd(), sorted(os.environ), sys.stdin.read()]
def forks(value):
    import subprocess
    subprocess.Popen(["sleep", value])
    time.sleep(60)
number = 5
"""


@pytest.fixture
def script(data_folder):
    (data_folder / "beside.py").write_text("WORD = 'beside'\n")
    path = data_folder / "fit.py"
    path.write_text(SCRIPT)
    path.chmod(0o644)
    return path


@pytest.fixture
def call(perform, script):
    def run(function, value=None, **options):
        return perform("python", {"path": "fit.py", "function": function, "data_key": "v", **options}, {"v": value})

    return run


def test_what_it_returns_is_the_result_and_what_it_prints_is_logged(run_flow, script):
    run = run_flow(
        "steps: [{name: p, type: python, python: {path: fit.py, function: total, data_key: __input__}}]", [1, 2, 3]
    )
    assert run.status == "success", run.message
    assert run.result["p"] == {"total": 6, "at": "2024-03-05", "pair": [1, 2], "set": ["a", "b"], "5": "beside"}
    assert "p: stdout: adding 3" in run.log
    assert "p: stderr: to stderr" in run.log


@pytest.mark.parametrize("value", [None, "text", 1.5, [1, {"a": None}], {"é": "ü"}, "x" * 300_000], ids=str)
def test_any_value_goes_there_and_back(call, value):
    assert call("same", value) == value


def test_without_data_key_it_is_given_all_data(perform, script):
    assert perform("python", {"path": "fit.py", "function": "same"}, {"a": 1}) == {"a": 1}


def test_nothing_returned_is_null(call):
    assert call("nothing") is None


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("bad", "^bad of fit.py: ValueError: no good:\n value 5$"),
        ("leaves", "SystemExit: 3"),
        ("dies", "^dies of fit.py: exited with status 7 before it returned a value$"),
        ("killed", "^killed of fit.py: killed by signal 9 before it returned a value$"),
        ("nan", "ValueError"),
        ("strange", "TypeError: a value of type 'object' cannot be stored"),
        ("deep", "RecursionError"),
        ("gone", "AttributeError: function 'gone' not found"),
        ("number", "AttributeError: function 'number' not found"),
    ],
)
def test_what_goes_wrong_is_a_step_error(call, function, told):
    with pytest.raises(StepError, match=told):
        call(function, 5)


def test_an_exception_is_named_and_its_traceback_logged(run_flow, script):
    run = run_flow("steps: [{name: p, type: python, python: {path: fit.py, function: bad}}]")
    assert run.status == "failed"
    assert run.errors[0]["error"]["exception"] == "ValueError"
    assert "in bad" in run.log
    assert "function_call" not in run.log


def test_a_file_that_is_no_python_is_a_step_error(call, script):
    script.write_text("def f(:\n")
    with pytest.raises(StepError, match="SyntaxError"):
        call("f")
    with pytest.raises(StepError, match=r"^nowhere\.py: file not found$"):
        call("f", path="nowhere.py")
    with pytest.raises(StepError, match="leads out"):
        call("f", path="../tasks/fit.py")


@pytest.mark.language("§6 Limits")
def test_a_large_answer_is_refused(call):
    with pytest.raises(StepError, match="more than 1000 bytes"):
        call("large", max_bytes=1000)


def test_it_runs_in_the_data_folder_with_few_variables(call, data_folder):
    folder, variables, stdin = call("surroundings", env={"DAY": "5"})
    assert folder == str(data_folder)
    assert "DAY" in variables
    assert set(variables) <= {
        *("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "PYTHONUTF8", "DAY", "LOGNAME", "USER", "SHELL")
    }
    assert stdin == ""


def test_a_timeout_ends_it_with_all_it_started(run_flow, script):
    mark = f"8{os.getpid()}"
    run = run_flow(
        "steps: [{name: p, type: python, timeout: 1.5, python: {path: fit.py, function: forks, data_key: __input__}}]",
        payload=mark,
    )
    assert "took longer than 1.5 s" in run.message

    def left():
        return subprocess.run(["pgrep", "-f", f"^sleep {mark}$"], capture_output=True).stdout

    ends = time.monotonic() + 60
    while left() and time.monotonic() < ends:
        time.sleep(0.02)
    assert not left()


def test_a_file_that_others_may_write_needs_to_be_allowed(call, script, settings):
    script.chmod(0o666)
    with pytest.raises(StepError, match=r"'python' steps are not allowed with fit\.py"):
        call("same", 1)
    Path(settings.config_file).write_text("allow: [python]\n")
    assert call("same", 1) == 1


def test_a_flow_that_others_may_write_needs_to_be_allowed(run_flow, script, workspace):
    (workspace / "tasks/flow.yml").touch()
    (workspace / "tasks/flow.yml").chmod(0o666)
    run = run_flow("steps: [{name: p, type: python, python: {path: fit.py, function: nothing}}]")
    assert "allow: [python]" in run.message


@pytest.mark.parametrize("function", ["a.b", "", "f()"])
def test_a_function_is_named_by_a_plain_name(mistakes, function):
    assert mistakes("python", {"path": "a.py", "function": function}) != []


def test_a_dry_run_calls_nothing(run_flow, script):
    run = run_flow("steps: [{name: p, type: python, python: {path: fit.py, function: bad}}]", dry_run=True)
    assert run.status == "success"
    assert "would call bad of fit.py" in run.log


def test_its_variables_may_hold_a_secret_that_is_masked(run_flow, data_folder, workspace):
    (data_folder / "secrets.yml").write_text("- {name: portal, type: token, token: s3cr3t-value}\n")
    (data_folder / "secrets.yml").chmod(0o600)
    (data_folder / "own.py").write_text("import os\ndef shown(value): return [os.environ['X'], len(os.environ['X'])]\n")
    (data_folder / "own.py").chmod(0o644)
    run = run_flow("""
        steps:
          - name: p
            type: python
            python: {path: own.py, function: shown, env: {X: "{{ secret('portal').token }}"}}
    """)
    assert run.result["p"] == ["***", 12], run.message
