from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from scflows.cli.options import Options
from scflows.cli.output import Output
from scflows.cli.stream import escaped
from scflows.cli.times import Moment, Seconds, Status
from scflows.errors import FlowError, Mistake, NotFound, UsageError

NOON = 1792324800.0  # 2026-10-18T12:00:00Z, a Sunday
ITEMS: list[dict[str, Any]] = [
    {
        "id": "one",
        "at": Moment(NOON),
        "took": Seconds(41.25),
        "state": Status("failed"),
        "why": "line\n\x1b[2Jand\ttab",
    },
    {"id": "two", "at": None, "took": None, "state": Status("success"), "why": "x" * 150},
]
COLUMNS = {"ID": "id", "AT": "at", "TOOK": "took", "STATE": "state", "WHY": "why"}


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def output(environment: dict[str, str] | None = None, **options: Any) -> Output:
    out = Output(Options(**options), environment or {})
    out.now = NOON + 720
    return out


def a_screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """The terminal that stdout and stderr are from here on."""
    shown = Screen()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(f"sys.{name}", shown)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("TIMEZONE", raising=False)
    return shown


def test_in_a_pipe_a_table_is_whole_lines_of_tabs_without_a_header(capsys: pytest.CaptureFixture[str]) -> None:
    output().table(COLUMNS, ITEMS)
    assert capsys.readouterr().out.splitlines() == [
        "one\t2026-10-18T12:00:00+00:00\t41.250\tfailed\tline\\n\\x1b[2Jand\\ttab",
        "two\t\t\tsuccess\t" + "x" * 150,
    ]


def test_on_a_terminal_a_table_is_aligned_and_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = a_screen(monkeypatch)
    output({"NO_COLOR": "1"}).table(COLUMNS, ITEMS)
    header, first, *others = screen.getvalue().splitlines()
    assert header.split() == ["ID", "AT", "(UTC)", "TOOK", "STATE", "WHY"]
    assert first.split()[:5] == ["one", "today", "12:00", "41", "s"]
    assert header.index("STATE") == first.index("failed")
    assert "".join(others).count("x") == 150
    assert max(map(len, others)) <= 80
    assert "\x1b" not in screen.getvalue()


def test_in_a_pipe_the_first_rows_are_there_before_the_last_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr("sys.stdout", written)

    def items() -> Iterator[dict[str, Any]]:
        for number in range(10_000):
            assert number < 1000 or written.getvalue().startswith("0\n1\n")
            yield {"id": str(number)}

    output().table({"ID": "id"}, items())
    assert written.getvalue().split() == [str(number) for number in range(10_000)]


def test_as_json_a_table_is_one_document_with_whole_items(capsys: pytest.CaptureFixture[str]) -> None:
    output(json=True).table({"ID": "id"}, ITEMS, {"total": 2})
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == 1
    assert document["total"] == 2
    assert document["items"][0] == {
        "id": "one",
        "at": "2026-10-18T12:00:00+00:00",
        "took": 41.25,
        "state": "failed",
        "why": "line\n\x1b[2Jand\ttab",
    }


def test_an_empty_table_is_empty_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    output().table(COLUMNS, [])
    assert capsys.readouterr().out == ""
    output(json=True).table(COLUMNS, [])
    assert json.loads(capsys.readouterr().out) == {"schema": 1, "items": []}


@pytest.mark.parametrize(
    ("environment", "options", "terminal", "expected"),
    [
        ({}, {}, True, True),
        ({}, {}, False, False),
        ({"NO_COLOR": "1"}, {}, True, False),
        ({"NO_COLOR": ""}, {}, True, True),
        ({"TERM": "dumb"}, {}, True, False),
        ({"FORCE_COLOR": "1"}, {}, False, True),
        ({"NO_COLOR": "1"}, {"color": "always"}, False, True),
        ({"FORCE_COLOR": "1"}, {"color": "never"}, True, False),
    ],
)
def test_color_is_for_terminals_unless_asked_for(
    environment: dict[str, str], options: dict[str, str], terminal: bool, expected: bool
) -> None:
    stream = Screen() if terminal else io.StringIO()
    assert output(environment, **options).has_color(stream) is expected


def test_control_characters_become_visible_and_letters_of_all_scripts_stay() -> None:
    assert escaped("a\nb\x07\x9b\u202e\udcff") == "a\\nb\\x07\\x9b\\u202e\\udcff"
    assert escaped("Müller 東京 ½\u00a0°") == "Müller 東京 ½\u00a0°"


def test_the_mistakes_of_a_flow_begin_with_their_place(capsys: pytest.CaptureFixture[str]) -> None:
    mistakes = [Mistake("a.yml", "no step", 3, 5), Mistake("b.yml", "not there")]
    output().fail(FlowError(mistakes, "look again"))
    assert capsys.readouterr().err.splitlines() == [
        "a.yml:3:5: error: no step",
        "error: b.yml: not there",
        "  help: look again",
    ]
    output(json=True).fail(FlowError(mistakes))
    assert json.loads(capsys.readouterr().err)["error"]["mistakes"][0]["line"] == 3


def test_quiet_leaves_results_and_errors(capsys: pytest.CaptureFixture[str]) -> None:
    out = output(quiet=True)
    out.say("did it")
    out.warn("take care")
    out.line("result")
    out.fail(NotFound("gone"))
    assert capsys.readouterr() == ("result\n", "error: gone\n")


@pytest.mark.parametrize(
    ("count", "typed", "agreed"),
    [(1, "y", True), (1, "YES", True), (1, "", False), (1, "no", False), (21, "y", False), (21, "21", True)],
)
def test_a_person_is_asked_and_above_twenty_the_number_must_be_typed(
    monkeypatch: pytest.MonkeyPatch, count: int, typed: str, agreed: bool
) -> None:
    screen = a_screen(monkeypatch)
    monkeypatch.setattr("sys.stdin", Screen(typed + "\n"))
    assert output().confirm(count, f"remove {count} tasks", False) is agreed
    assert screen.getvalue().startswith(f"Remove {count} tasks?")


@pytest.mark.parametrize(("environment", "options"), [({"CI": "true"}, {}), ({}, {"no_input": True})])
def test_nobody_is_asked_in_ci_or_when_told_so(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], options: dict[str, bool]
) -> None:
    a_screen(monkeypatch)
    monkeypatch.setattr("sys.stdin", Screen("y\n"))
    with pytest.raises(UsageError) as caught:
        output(environment, **options).confirm(2, "remove 2 tasks", False)
    assert caught.value.help == "add --yes to confirm"
    assert output(environment, **options).confirm(2, "remove 2 tasks", True)
