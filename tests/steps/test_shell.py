"""What `shell` promises: the program alone with what it is given, and gone when its step is."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scflows.errors import StepError

pytestmark = pytest.mark.language("§10 shell")

RUN_SHELL = """
import sys
from scflows.execution.launch import launch
from scflows.execution.request import RunRequest
from scflows.settings import read_settings
launch(RunRequest(flow="flow.yml"), read_settings(sys.argv[1]))
"""


def test_a_list_runs_without_a_shell_in_the_data_folder(run_flow, workspace):
    run = run_flow("steps: [{name: s, type: shell, shell: {command: [printf, '%s|', '$HOME', '{{ a }}', 5, '*']}}]")
    assert run.result["s"] == "$HOME|{{ a }}|5|*|"
    where = run_flow("steps: [{name: s, type: shell, shell: {command: [pwd], parse: lines}}]")
    assert where.result["s"] == [str(workspace / "data")]


def test_a_text_is_run_by_a_shell_and_is_no_template(perform):
    assert perform("shell", {"command": "echo '{{ a }}' | tr a b; echo $((1 + 1))"}, {}) == "{{ b }}\n2\n"


def test_it_sees_the_variables_of_cron_and_the_given_ones(run_flow, environment):
    run = run_flow(
        """
        steps:
          - name: s
            type: shell
            shell:
              command: [env]
              env: {LC_ALL: C, N: "{{ __input__.n }}", FLAG: true, NUMBER: 1.5, NOT: null}
              parse: lines
        """,
        payload={"n": "a b$c"},
    )
    assert run.status == "success", run.message
    user = pwd.getpwuid(os.geteuid()).pw_name
    expected = {"FLAG": "true", "LC_ALL": "C", "N": "a b$c", "NUMBER": "1.5", "SHELL": "/bin/sh"}
    expected |= {"LOGNAME": user, "USER": user, "HOME": environment["HOME"], "PATH": environment["PATH"]}
    expected |= {name: environment[name] for name in ("LANG", "TZ") if name in environment}
    assert sorted(run.result["s"]) == sorted(f"{name}={text}" for name, text in expected.items())


@pytest.mark.language("§10 shell")
def test_variables_of_workspace_flow_and_step_add_up(run_flow, workspace, environment):
    (workspace / "data").mkdir(exist_ok=True)
    (workspace / "data/config.yml").write_text(
        "env: {PATH: '/opt/a:$PATH', LIB: /lib/a, ONE: 1, DAY: 2024-03-05, KEPT: '$ONE and $$', HOME: null}\n"
    )
    (workspace / "data/f.py").write_text("import os\ndef f(value):\n    return dict(os.environ)\n")
    run = run_flow(
        """
        params: {who: {default: ana}}
        env: {PATH: "/opt/b:${PATH}", LIB: "$LIB:/lib/b:$LIBRARY", WHO: "{{ params.who }}", ONE: one}
        steps:
          - {name: s, type: shell, shell: {command: [env], env: {PATH: "$PATH:/opt/c", ONE: step}, parse: lines}}
          - {name: p, type: python, python: {path: f.py, function: f}}
        """
    )
    assert run.status == "success", run.message
    seen = dict(line.split("=", 1) for line in run.result["s"])
    assert seen["PATH"] == f"/opt/b:/opt/a:{environment['PATH']}:/opt/c"
    assert seen["LIB"] == "/lib/a:/lib/b:$LIBRARY"
    assert (seen["WHO"], seen["ONE"], seen["DAY"], seen["KEPT"]) == ("ana", "step", "2024-03-05", "$ONE and $$")
    assert "HOME" not in seen
    assert (run.result["p"]["ONE"], run.result["p"]["WHO"]) == ("one", "ana")


def test_a_secret_may_be_a_variable_of_the_flow(run_flow, workspace):
    (workspace / "data").mkdir(exist_ok=True)
    secrets = workspace / "data/secrets.yml"
    secrets.write_text("- {name: mine, type: token, token: s3cret-t0ken}\n")
    secrets.chmod(0o600)
    run = run_flow(
        """
        env: {TOKEN: "{{ secret('mine').token }}"}
        steps: [{name: s, type: shell, shell: {command: 'test "$TOKEN" = s3cret-t0ken; echo $? $TOKEN'}}]
        """
    )
    assert run.result["s"] == "0 ***\n"
    assert "s3cret" not in run.log


@pytest.mark.parametrize("text", ["{'A=B': 1}", "{A: [1]}", "{1: x}"])
def test_variables_that_cannot_be_are_a_mistake(run_flow, workspace, text):
    assert run_flow(f"steps: []\nenv: {text}\n").message.startswith("flow.yml:2:")
    (workspace / "data").mkdir(exist_ok=True)
    (workspace / "data/config.yml").write_text(f"env: {text}\n")
    run = run_flow("steps: [{name: s, type: shell, shell: {command: env}}]")
    # Without its variables a program could do something else.
    assert run.status == "failed"
    assert "config.yml:1:" in run.message


@pytest.mark.parametrize(
    ("value", "seen"),
    [("as it is", "as it is"), ({"é": [1, None]}, '{"é": [1, null]}'), ("", ""), (None, "null"), ("x" * 500_000, None)],
    ids=["text", "mapping", "empty", "null", "long"],
)
def test_stdin_is_the_text_or_its_json(perform, value, seen):
    result = perform("shell", {"command": ["cat"], "stdin_key": "v"}, {"v": value})
    assert result == (value if seen is None else seen)


def test_without_stdin_key_there_is_nothing_to_read(perform):
    assert perform("shell", {"command": "cat; echo end"}) == "end\n"


@pytest.mark.parametrize(
    ("parse", "command", "result"),
    [
        ("text", "printf 'a\\n'", "a\n"),
        ("lines", "printf 'a\\n\\nb\\n'", ["a", "", "b"]),
        ("lines", "printf 'a\\nb'", ["a", "b"]),
        ("lines", "true", []),
        ("json", "echo '{\"a\": [1]}'", {"a": [1]}),
    ],
)
def test_the_output_is_parsed(perform, parse, command, result):
    assert perform("shell", {"command": command, "parse": parse}) == result


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"command": "echo no", "parse": "json"}, "the output of echo no: invalid JSON"),
        ({"command": "printf '\\377'"}, "the output of .*: not UTF-8"),
        ({"command": ["/nowhere/program"]}, "^/nowhere/program: program not found$"),
        ({"command": ["/etc"]}, "^/etc: Permission denied$"),
        ({"command": ["echo", "a\0b"]}, "null byte"),
        ({"command": "yes", "max_bytes": 1000}, "^yes: more than 1000 bytes of output$"),
        ({"command": ["cat"], "stdin_key": "gone"}, "no key 'gone'"),
    ],
)
def test_what_cannot_be_is_a_step_error(perform, options, told):
    with pytest.raises(StepError, match=told):
        perform("shell", options)


def test_a_failed_program_tells_its_code_and_the_end_of_stderr(run_flow):
    run = run_flow("""
        steps:
          - name: s
            type: shell
            shell: {command: "seq 100000 >&2; echo broken >&2; exit 3"}
            ignore_errors: '"exit_code": 3'
          - name: k
            type: shell
            shell: {command: ["sh", "-c", "kill -TERM $$"]}
            on_error_goto: __end__
    """)
    assert run.status == "success", run.message
    failed, killed = (entry["error"] for entry in run.errors)
    assert failed["message"] == "seq 100000 >&2; echo broken >&2; exit 3: exit status 3: broken"
    assert failed["stderr"].endswith("99999\n100000\nbroken\n")
    assert len(failed["stderr"]) == 4000
    assert killed["message"] == "sh -c 'kill -TERM $$': killed by signal 15"
    assert killed["exit_code"] == 143


def test_a_dry_run_says_what_it_would_run(run_flow, workspace):
    run = run_flow("steps: [{name: s, type: shell, shell: {command: [touch, it]}}]", dry_run=True)
    assert "would run touch it" in run.log
    assert not (workspace / "data").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"command": []}, "command: the command is empty"),
        ({"command": "  "}, "command: the command is empty"),
        ({"command": ["echo", None]}, "command: a command consists of texts"),
        ({"command": ["echo", ["a"]]}, "command: a command consists of texts"),
        ({"command": ["echo"], "env": {"A": [1]}}, "env: the variable 'A'"),
        ({"command": ["echo"], "env": {"A=B": "x"}}, "env: 'A=B' is not a valid name"),
    ],
)
def test_a_command_that_cannot_be_is_a_mistake(mistakes, options, told):
    assert [found.startswith(told) for found in mistakes("shell", options)] == [True]


# What a shell starts: a child, a grandchild whose parent is gone, one that does not listen to SIGTERM. Each is
# known by the fifo that it holds open: a reader of it sees its end when all of them are dead.
TREE = "sleep 600 & (sleep 600 &) ; (trap '' TERM; while :; do sleep 600; done) & echo up > ready; "


@pytest.fixture
def alive(workspace: Path):
    """Whether any process still holds the file `held` of the data folder open."""
    folder = workspace / "data"
    folder.mkdir()
    os.mkfifo(folder / "held")
    descriptor = os.open(folder / "held", os.O_RDONLY | os.O_NONBLOCK)

    def ask() -> bool:
        try:
            return os.read(descriptor, 100) != b""
        except BlockingIOError:
            return True

    yield ask
    os.close(descriptor)


def wait_for(condition, seconds=30.0):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.01)


def test_all_it_started_ends_with_a_timeout(run_flow, workspace, alive):
    run = run_flow(f"""
        steps:
          - name: s
            type: shell
            timeout: 1
            shell: {{command: "exec 3> held; {TREE} wait"}}
            ignore_errors: took longer
    """)
    assert run.status == "success", run.message
    assert (workspace / "data/ready").exists()
    wait_for(lambda: not alive())


def test_what_it_leaves_in_the_background_ends_with_it(run_flow, alive):
    before = time.monotonic()
    run = run_flow(f"""
        steps: [{{name: s, type: shell, shell: {{command: "exec 3> held; {TREE} echo done"}}}}]
    """)
    assert run.result["s"] == "done\n"
    wait_for(lambda: not alive())
    assert time.monotonic() - before < 60


def is_tied(process: str) -> bool:
    """Whether a process has asked the kernel to kill what it started when it dies: it does so right after the start."""
    with contextlib.suppress(OSError):
        for each in Path(f"/proc/{process}/fdinfo").iterdir():
            flags = each.read_text().partition("flags:")[2].split()[0]
            if int(flags, 8) & os.O_ASYNC:
                return True
    return False


@pytest.mark.parametrize("victims", ["child", "both"])
def test_a_killed_run_takes_its_programs_with_it(workspace, environment, alive, victims):
    flow = workspace / "tasks/flow.yml"
    flow.write_text(f'steps: [{{name: s, type: shell, shell: {{command: "exec 3> held; {TREE} wait"}}}}]')
    flow.chmod(0o644)
    parent = subprocess.Popen([sys.executable, "-c", RUN_SHELL, workspace], env=environment)
    try:
        wait_for((workspace / "data/ready").exists)
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        assert alive()
        wait_for(lambda: any(is_tied(child) for child in children))
        if victims == "both":
            parent.send_signal(signal.SIGKILL)
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        wait_for(lambda: not alive())
    finally:
        parent.kill()
        parent.wait()


def test_a_flow_that_others_may_write_needs_permission(run_flow, workspace, settings):
    text = "steps: [{name: s, type: shell, shell: {command: [echo, hi]}}]"
    assert run_flow(text).status == "success"
    (workspace / "tasks/flow.yml").chmod(0o666)
    run = run_flow(text)
    assert run.status == "failed"
    assert "'shell' steps are not allowed in this flow" in run.message
    assert "`allow: [shell]`" in run.message
    config = Path(settings.config_file)
    config.parent.mkdir(exist_ok=True)
    config.write_text("allow: [python, shell]\n")
    assert run_flow(text).status == "success"
