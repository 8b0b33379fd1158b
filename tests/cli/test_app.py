from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from scflows.cli.app import ALIASES, GROUPS, PANELS, Group, build_app, run_app
from scflows.cli.hints import COMMANDS
from scflows.cli.options import Options, take_options
from scflows.errors import UsageError


@pytest.mark.parametrize(
    ("words", "options", "rest"),
    [
        pytest.param("-q run x", Options(quiet=True), "run x", id="before the command"),
        pytest.param("run x --json", Options(json=True), "run x", id="after it"),
        pytest.param("run -vv x -v", Options(verbose=3), "run x", id="repeated"),
        pytest.param("run --home=/a x", Options(home="/a"), "run x", id="with an equals sign"),
        pytest.param("--home /a run --color never", Options(home="/a", color="never"), "run", id="with a value"),
        pytest.param("run -- -q --json", Options(), "run -- -q --json", id="not after two dashes"),
        pytest.param("logs x -n 3 --no-input", Options(no_input=True), "logs x -n 3", id="-n is not ours"),
        pytest.param("-V", Options(version=True), "", id="version"),
    ],
)
def test_the_options_of_all_commands_are_taken_from_anywhere(words: str, options: Options, rest: str) -> None:
    assert take_options(words.split()) == (options, rest.split())


@pytest.mark.parametrize("words", ["--home", "--home=", "--color", "--color blue", "run --home -- x"])
def test_an_option_without_a_value_that_fits_is_wrong_usage(words: str) -> None:
    with pytest.raises(UsageError):
        take_options(words.split())


def test_every_command_has_a_help_text_that_starts_with_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    for commands in PANELS.values():
        for name, command in commands.items():
            names = [[name], *([name, word] for word in command.commands)] if isinstance(command, Group) else [[name]]
            for words in names:
                assert run_app([*words, "-h"]) == 0
                shown = capsys.readouterr().out
                assert shown.startswith(f"Usage: flows {' '.join(words)}")
                assert "--no-input" in " ".join(shown.split())


def test_the_help_shows_every_command_in_its_panel(flows: Callable[..., Any]) -> None:
    answer = flows("--help")
    assert answer.code == 0
    place = 0
    for panel, commands in PANELS.items():
        place = answer.out.index(f"{panel}:" if commands else "", place)
        for name in commands:
            place = answer.out.index(f"\n  {name} ", place)
    assert "--color WHEN" in answer.out
    assert "╭" not in answer.out
    assert flows().out == answer.out


def test_an_alias_means_a_command_that_exists() -> None:
    names = [name for commands in PANELS.values() for name in commands]
    assert set(ALIASES.values()) <= set(names)
    assert set(COMMANDS) == {*ALIASES, *names} - {"init"}, "hints name the workspace of each"
    assert build_app("ls") is not None


def test_the_version_is_told(flows: Callable[..., Any]) -> None:
    from scflows import __version__

    assert flows("run", "--version").out == f"flows {__version__}\n"


@pytest.mark.parametrize(
    ("words", "message", "help"),
    [
        ("hsitory", "no such command 'hsitory'", "did you mean 'history'?"),
        ("history --limt 3", "no such option --limt", "did you mean --limit?"),
        ("history --jso", "no such option --jso", "did you mean --json?"),
        ("history --limit many", "invalid value for '--limit'", "see: flows history --help"),
        ("runs show", "missing argument 'RUN'", "see: flows runs show --help"),
        ("logs x --since", "option '--since' requires an argument", "see: flows logs --help"),
        ("--color blue history", "--color must be one of auto, always, never, not 'blue'", "for example --color never"),
        ("history --home /no/such/folder", "workspace '/no/such/folder' is not a directory", "flows init"),
    ],
)
def test_wrong_usage_names_what_and_what_to_do(
    capsys: pytest.CaptureFixture[str], words: str, message: str, help: str
) -> None:
    assert run_app(words.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    first, second = said.err.splitlines()
    assert first.startswith(f"error: {message}")
    assert second.startswith("  help: ")
    assert help in second


def test_with_json_an_error_is_json_and_stdout_stays_empty(flows: Callable[..., Any]) -> None:
    answer = flows("runs", "show", "NONE", "--json")
    assert (answer.code, answer.out) == (4, "")
    error = json.loads(answer.err)["error"]
    assert error["code"] == "not-found"
    assert "NONE" in error["message"]
    assert json.loads(flows("--json", "hsitory").err)["error"]["code"] == "usage"


def test_a_bug_is_told_in_a_line_and_its_traceback_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], environment: dict[str, str], tmp_path: Path
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    nothing: dict[str, None] = {}
    monkeypatch.setitem(PANELS["RUN"], "history", lambda: nothing["surprise"])
    assert run_app(["history"]) == 3
    said = capsys.readouterr()
    assert said.err.splitlines()[0] == "error: internal error: KeyError: 'surprise'"
    saved = Path(said.err.split("traceback in ")[1].strip())
    assert saved.is_relative_to(tmp_path / "state/scflows")
    assert "surprise" in saved.read_text()
    assert "Traceback" not in said.err
    assert run_app(["-vv", "history"]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_failure(
    shipped: Path, environment: dict[str, str], flows: Callable[..., Any]
) -> None:
    flows("run", "greet.yml")
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "scflows", "history"],
        cwd=shipped,
        env=environment,
        stdout=writing,
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_full_disk_at_the_other_end_is_told(shipped: Path, environment: dict[str, str]) -> None:
    if not os.access("/dev/full", os.W_OK):
        pytest.skip("there is no /dev/full to write to")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "scflows", "list-flows"],
            cwd=shipped,
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert (done.returncode, done.stderr) == (1, b"error: cannot print: No space left on device\n")


def test_a_closed_stdout_does_not_matter(shipped: Path, environment: dict[str, str]) -> None:
    command = f"exec {sys.executable} -P -m scflows run greet.yml >&-"
    done = subprocess.run(["sh", "-c", command], cwd=shipped, env=environment, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("flows hist", ["history"]),
        ("flows run gre", ["greet.yml"]),
        ("flows logs gr", ["greet"]),
        ("flows locks clear ", []),
    ],
)
def test_the_shell_is_offered_names(shipped: Path, flows: Callable[..., Any], line: str, offered: list[str]) -> None:
    flows("run", "greet.yml")
    number = str(len(line.split(" ")) - 1)
    answer = flows(_FLOWS_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=number)
    assert (answer.out.split(), answer.err) == (offered, "")


def test_the_shell_is_offered_nothing_when_something_is_broken(
    workspace: Path, flows: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "state/scflows").mkdir(parents=True)
    (tmp_path / "state/scflows/history.sqlite").write_text("this is no database, and never was one")
    answer = flows(_FLOWS_COMPLETE="complete_bash", COMP_WORDS="flows runs show ", COMP_CWORD="3")
    assert (answer.out.split(), answer.err) == ([], "")


def _groups(words: tuple[str, ...], command: Any) -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        yield " ".join(words), command
        for name, inner in command.commands.items():
            yield from _groups((*words, name), inner)


def test_the_help_of_each_command_fits_a_line_of_80_columns() -> None:
    cut = []
    for name, group in _groups(("flows",), typer.main.get_command(build_app())):
        text = group.get_help(group.context_class(group, info_name=name, terminal_width=80))
        lines = [line.split() for line in text.splitlines()]
        for word, command in group.commands.items():
            summary = command.get_short_help_str(1000)
            if not command.hidden and [word, *summary.split()] not in lines:
                cut.append(f"{name} {word}: {summary}")
    assert not cut


@pytest.mark.parametrize("name", sorted(GROUPS))
def test_a_group_without_a_command_prints_its_help(flows, name: str) -> None:
    answer = flows(name)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == flows(name, "--help").out
