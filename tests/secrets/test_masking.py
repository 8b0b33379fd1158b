"""No secret of a run is found in anything that the run leaves: section 5 and 10 of the language."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from scflows.secrets.encodings import encodings_of

pytestmark = pytest.mark.language("§5 What is masked")

VALUES = {
    "plain": "s3cr3t-Value-0451",
    "quotes": "it's \"so\" 'secret' \\ 'n",
    "blanks": "  two  words and\ta tab  ",
    "lines": "-----BEGIN KEY-----\nQUJDREVGR0hJSktMTU5P\nUFFSU1RVVldYWVo=\n-----END KEY-----\n",
    "unicode": "contraseña-ключ-秘密-😀",
    "braces": "{{ __input__ }}{% raw %}{#x#}",
    "signs": "a/b+c=d&e?f#g%h@i:j;k,l<m>n",
    "long": "0x23456789abcdef" * 12,
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    script = Path(__file__).parents[1] / "steps" / "http_server.py"
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    process.kill()
    process.communicate()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def secrets(workspace):
    def write(entries: list[dict[str, str]]) -> None:
        path = workspace / "data" / "secrets.yml"
        path.parent.mkdir(exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(entries, allow_unicode=True), encoding="utf-8")

    return write


def found_in(text: str, value: str) -> list[str]:
    """The forms of a value that stand in a text; the test's own, simple ones first."""
    simple = {value, value.strip(), json.dumps(value)[1:-1], repr(value)[1:-1]}
    simple |= {line.strip() for line in value.splitlines() if len(line.strip()) > 3}
    # A library may show the beginning alone.
    simple |= {value.strip()[:8], json.dumps(value.strip())[1:9]}
    return sorted(form for form in simple | encodings_of(value) if form in text)


def everything_in(*folders: Path) -> Iterator[tuple[str, str]]:
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and path.name != "secrets.yml":
                content = path.read_bytes()
                yield str(path), content.decode("utf-8", "replace") + content.decode("latin-1")


LEAKS = """
finally_step: last
steps:
  - {name: early, type: set_fact, set_fact: {value: "said before it was used: {{__input__.value}}"}}
  - {name: early in the log, type: debug, debug: {data_key: __input__, type: text}}
  - name: env
    type: shell
    shell: {command: 'printf %s "$X"', env: {X: "{{ secret('leak').token }}"}}
  - {name: shown, type: debug, debug: {data_key: env, type: yaml}}
  - {name: shown as json, type: debug, debug: {data_key: env, type: json}}
  - {name: shown as text, type: debug, debug: {data_key: env, type: text}}
  - {name: all, type: debug, debug: {}}
  - name: key
    type: set_fact
    set_fact: {value: "{{ {env: [env, env ~ env]} | tojson }}"}
  - name: stderr
    type: shell
    shell: {command: 'printf "%s\\n" "$X" >&2; exit 3', env: {X: "{{ secret('leak').token }}"}}
    ignore_errors: exit status
  - name: query
    type: rest
    rest: {uri: "SERVER/echo", query: {q: "{{ secret('leak').token }}"}}
  - name: body
    type: rest
    rest: {uri: "SERVER/fail-echo", method: post, data_key: all the data}
    on_error_goto: basic
  - name: basic
    type: rest
    rest: {uri: "SERVER/echo", authentication: {type: basic, secret: login}}
  - name: uri
    type: rest
    rest: {uri: "http://127.0.0.1:1/{{ secret('leak').token | urlencode }}/rows?{{ secret('leak').token | urlencode }}"}
    ignore_errors: refused
  - name: header
    type: rest
    rest: {uri: "SERVER/echo-500", headers: {X-Leak: "{{ secret('leak').token }}"}}
    ignore_errors: .
  - name: condition
    type: sleep
    when: "env | int(default='x') / 0"
    sleep: {seconds: 0}
    ignore_errors: .
  - name: jq
    type: jq
    jq: {data_key: env, expression: "error(.)"}
    ignore_errors: .
  - {name: sum, type: jq, jq: {data_key: env, expression: ". + 1"}, ignore_errors: .}
  - {name: number, type: jq, jq: {data_key: env, expression: "tonumber"}, ignore_errors: .}
  - {name: index, type: jq, jq: {data_key: env, expression: ".a"}, ignore_errors: .}
  - {name: time, type: jq, jq: {data_key: env, expression: "fromdate"}, ignore_errors: .}
  - {name: keyed, type: jq, jq: {expression: "{(.env): 1} | .[.a]"}, ignore_errors: .}
  - {name: stop, type: jq, jq: {data_key: env, expression: 'error("stopped by " + .)'}}
  - {name: last, type: debug, debug: {data_key: __errors__}}
"""


@pytest.mark.language("§3 Errors")
@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_nothing_a_run_leaves_shows_its_secrets(value, workspace, environment, flows, secrets, server, tmp_path):
    secrets(
        [{"name": "leak", "type": "token", "token": value}, {"name": "login", "username": "anna", "password": value}]
    )
    (workspace / "tasks" / "leaks.yml").write_text(LEAKS.replace("SERVER", server))
    (workspace / "input.json").write_text(json.dumps({"value": value}))
    answers = [
        flows("run", "leaks.yml", "--data", "input.json", "--json", LOG_LEVEL="DEBUG", NO_PROXY="*"),
        flows("run", "leaks.yml", "--data", "input.json", "--json", "--follow", NO_PROXY="*"),
        flows("run", "leaks.yml", "--data", "input.json", "--dry-run", "--follow", NO_PROXY="*"),
    ]
    (workspace / "input.json").unlink()
    assert [answer.code for answer in answers] == [1, 1, 1], answers[0].err
    told = json.loads(answers[0].out)
    assert told["data"]["env"] == "***"
    assert told["message"].split() == ["stop:", "jq:", "stopped", "by", "***"]
    runs = [flows("runs", "list", "--json"), flows("runs", "show", told["run_id"], "--json"), flows("logs", "leaks")]
    for answer in (*answers, *runs):
        assert found_in(answer.out, value) == []
        assert found_in(answer.err, value) == []
    kept = dict(everything_in(tmp_path / "state", tmp_path / "cache", workspace / "data"))
    assert any(path.endswith(".log") for path in kept)
    assert any("history.sqlite" in path for path in kept)
    for path, text in kept.items():
        assert (path, found_in(text, value)) == (path, [])


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_what_libraries_put_out_is_masked(value, workspace, run_flow, secrets, monkeypatch):
    secrets([{"name": "leak", "type": "token", "token": value}])
    add_step_type(
        monkeypatch,
        """
        import os, traceback
        secret = ctx.secret("leak")["token"]
        out, err = open(1, "w", closefd=False), open(2, "w", closefd=False)
        print("print", secret, file=out, flush=True)
        print("stderr", repr(secret), file=err, flush=True)
        os.write(1, b"partly " + secret.encode()[:3])
        os.write(1, secret.encode()[3:] + b"\\n")
        os.system("echo by a program")
        try:
            raise ValueError(secret)
        except ValueError:
            print(traceback.format_exc(), file=err, flush=True)
        """,
    )
    run = run_flow("steps: [{name: s, type: leaking, leaking: {}}]")
    assert run.status == "success", run.message
    for part in ("\nprint ", "\nstderr ", "\npartly ", "\nby a program", "\nValueError: "):
        assert part in run.log
    assert found_in(run.log, value) == []


def test_the_last_words_of_a_process_that_dies_are_masked(run_flow, secrets, monkeypatch):
    secrets([{"name": "leak", "type": "token", "token": "s3cr3t-Value"}])
    add_step_type(
        monkeypatch,
        """
        import os
        secret = ctx.secret("leak")["token"]
        os.write(2, b"x" * 200_000 + secret.encode() + b" the end")
        os.kill(os.getpid(), 9)
        """,
    )
    run = run_flow(
        """
        finally_step: last
        steps:
          - {name: s, type: leaking, leaking: {}}
          - {name: last, type: debug, debug: {data_key: __input__}}
        """,
        payload={"same": "s3cr3t-Value"},
    )
    assert run.status == "crashed"
    assert "*** the end" in run.log
    assert "same: '***'" in run.log or "same: ***" in run.log
    assert "s3cr3t-Value" not in run.log + json.dumps(run.result)
    assert run.result["__input__"] == {"same": "***"}


def test_parameters_that_show_a_secret_are_masked_in_the_record(run_flow, secrets, workspace, tmp_path):
    secrets([{"name": "leak", "type": "token", "token": "s3cr3t-Value"}])
    run = run_flow(
        """
        params: {who: {type: text}}
        steps:
          - {name: s, type: shell, shell: {command: [echo, hi], env: {X: "{{ secret('leak').token }}"}}}
        """,
        params={"who": "s3cr3t-Value"},
    )
    assert run.status == "success", run.message
    assert run.outcome.run.params == {"who": "***"}
    for path, text in everything_in(tmp_path / "state", tmp_path / "cache"):
        assert "s3cr3t-Value" not in text, path


def test_masked_values_serve_the_steps_as_they_are(run_flow, secrets, workspace):
    secrets([{"name": "leak", "type": "token", "token": "s3cr3t-Value"}])
    run = run_flow(
        """
        steps:
          - {name: s, type: shell, shell: {command: 'printf %s "$X"', env: {X: "{{ secret('leak').token }}"}}}
          - {name: length, type: jq, jq: {data_key: s, expression: length}}
          - {name: own, type: file, file: {path: own.json, mode: write, type: json, data_key: s}}
        """
    )
    assert (run.result["s"], run.result["length"]) == ("***", 12)
    # What a flow writes on purpose is its own business.
    assert json.loads((workspace / "data" / "own.json").read_text()) == "s3cr3t-Value"


def test_a_value_too_short_to_be_masked_is_told(run_flow, secrets):
    secrets([{"name": "pin", "type": "token", "token": "007"}])
    run = run_flow(
        """
        steps: [{name: s, type: shell, shell: {command: [echo, "1007"], env: {X: "{{ secret('pin').token }}"}}}]
        """
    )
    assert run.result["s"] == "1007\n"
    assert "'token' of secret 'pin' is too short to be masked" in run.log


def add_step_type(monkeypatch, body: str) -> None:
    """A step type that a package would bring, with this as its `run`."""
    from dataclasses import dataclass
    from textwrap import dedent

    import scflows.steps

    @dataclass(frozen=True)
    class LeakingStep(scflows.steps.Step):
        def run(self, ctx):
            exec(dedent(body), {"ctx": ctx})
            return {}

    class Entry:
        value = "leaking"
        dist = None

        def load(self):
            return LeakingStep

    import importlib.metadata

    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda **asked: [Entry()] if asked["name"] == "leaking" else []
    )
    assert os.path.exists(scflows.steps.__file__)
