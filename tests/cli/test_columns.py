from __future__ import annotations

import time

import pytest

from scflows.cli.columns import Column, fit, wrapped, wrapped_text


def shown(*columns: Column, room: int | None = 80) -> list[str]:
    return list(fit(columns, room).lines(str.upper))


def test_columns_stand_under_their_titles_numbers_to_the_right() -> None:
    assert shown(Column("id", ["one", "eleven"]), Column("took", ["3 s", ""], is_number=True), Column("why", "ab")) == [
        "ID      TOOK  WHY",
        "one      3 s  a",
        "eleven        b",
    ]


def test_a_colour_takes_no_room() -> None:
    red = Column("state", ["bad", "good"], paint=lambda text: f"\x1b[31m{text}\x1b[0m")
    assert shown(red, Column("id", "12"))[1:] == ["\x1b[31mbad\x1b[0m    1", "\x1b[31mgood\x1b[0m   2"]


def test_the_longest_column_is_wrapped_and_nothing_is_cut() -> None:
    words = "a sentence of some words that is longer than the window is wide"
    _, *lines = shown(Column("id", ["x" * 30, "two"]), Column("why", [words, "short"]), room=60)
    assert max(map(len, lines)) <= 60
    assert " ".join(lines[0][32:].split() + [line.strip() for line in lines[1:-1]]) == words
    assert all(line.startswith(" " * 32) for line in lines[1:-1])
    assert lines[-1].split() == ["two", "short"]


def test_wide_letters_count_twice() -> None:
    assert shown(Column("id", ["気温", "four"]), Column("n", "12"))[1:] == ["気温  1", "four  2"]


def test_rows_are_made_one_by_one() -> None:
    made = []

    def paint(text: str) -> str:
        made.append(text)
        return text

    lines = fit([Column("id", [str(number) for number in range(1000)], paint=paint)], 80).lines(str)
    assert (next(lines), next(lines)) == ("id", "0")
    assert made == ["0"]


def test_any_column_of_words_is_wrapped_before_a_row_runs_on() -> None:
    words = "a sentence of some words that is longer than the window is wide"
    _, *lines = shown(Column("id", ["x" * 20]), Column("why", [words]), Column("next", ["today 09:45"]), room=60)
    assert max(map(len, lines)) <= 60
    assert lines[0].split()[0] == "x" * 20
    assert lines[0].endswith("today 09:45")
    assert " ".join(line[20:47].strip() for line in lines) == words


def test_a_name_stays_whole_where_words_can_be_wrapped() -> None:
    _, *lines = shown(Column("id", ["x" * 30]), Column("when", ["today 09:45"]), room=38)
    assert lines == ["x" * 30 + "  today", " " * 32 + "09:45"]


def test_a_table_is_never_wider_than_the_terminal_unless_asked() -> None:
    path, url = Column("path", ["x" * 50, "/a/b"]), Column("value", ["y" * 70, "z"])
    for room in (40, 60, 80, 100):
        lines = shown(path, url, Column("took", ["4 s", "10 s"], is_number=True), room=room)
        assert max(map(len, lines)) <= room
        whole = "".join(line[: line.index("  ")] for line in lines[1:] if line.startswith("x"))
        assert whole in ("x" * 50, "x" * len(whole))
        assert sum(line.count("x") for line in lines) == 50
        assert sum(line.count("y") for line in lines) == 70
    assert shown(path, url, room=None)[1] == "x" * 50 + "  " + "y" * 70


def test_what_matters_least_is_left_out_before_words_are_broken() -> None:
    columns = [
        Column("run", ["01M8QKMRX9N08KG3"]),
        Column("flow", ["f" * 30], rank=1),
        Column("took", ["4 s"], is_number=True, rank=2),
        Column("why", ["a sentence of some words"]),
    ]
    assert fit(columns, 85).omitted == ()
    medium, narrow = fit(columns, 78), fit(columns, 60)
    assert (medium.omitted, [each.title for each in medium.columns]) == (["took"], ["run", "flow", "why"])
    assert narrow.omitted == ["flow", "took"]
    assert fit(columns, None).omitted == ()


def test_a_short_id_stays_whole_where_a_long_name_can_be_broken() -> None:
    run, why = Column("run", ["01M8QKMRX9N08KG3"]), Column("why", ["words and more words and more"])
    _, *lines = shown(run, Column("task", ["t" * 60]), why, room=80)
    assert lines[0].startswith("01M8QKMRX9N08KG3  ttt")
    assert sum(line.count("t") for line in lines) == 60


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("one two", 80, ["one two"]),
        ("one two three", 7, ["one two", "three"]),
        ("x" * 10 + " y", 4, ["xxxx", "xxxx", "xx", "y"]),
        ("a " + "x" * 6, 4, ["a", "xxxx", "xx"]),
        ("気温気温", 4, ["気温", "気温"]),
        ("", 4, [""]),
    ],
)
def test_words_are_wrapped_and_broken_only_if_they_must(text: str, width: int, expected: list[str]) -> None:
    assert wrapped(text, width) == expected


def test_a_paragraph_keeps_its_indent_and_its_paths_whole() -> None:
    path = "/a/" + "x" * 90
    assert list(wrapped_text(f"see {path} for all of it", "log  ", 80)) == [
        "log  see",
        f"     {path}",
        "     for all of it",
    ]
    assert list(wrapped_text("some words " * 9, "log  ", None)) == ["log  " + "some words " * 9]


def test_fifty_thousand_rows_that_have_to_be_wrapped_take_seconds() -> None:
    names = Column("task", [f"task-{number:06}" for number in range(50_000)])
    why = Column(
        "why", [f"message {number} of some words that are longer than the terminal" for number in range(50_000)]
    )
    began = time.process_time()
    assert sum(1 for _ in fit([names, why], 60).lines(str)) == 100_001
    assert time.process_time() - began < 10
