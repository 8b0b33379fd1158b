from __future__ import annotations

from scflows.cli.columns import Column, rows


def shown(*columns: Column, room: int = 80) -> list[str]:
    return list(rows(columns, room, str.upper))


def test_columns_stand_under_their_titles_numbers_to_the_right() -> None:
    assert shown(Column("id", ["one", "eleven"]), Column("took", ["3 s", ""], is_number=True), Column("why", "ab")) == [
        "ID      TOOK  WHY",
        "one      3 s  a",
        "eleven        b",
    ]


def test_a_colour_takes_no_room() -> None:
    red = Column("state", ["bad", "good"], paint=lambda text: f"\x1b[31m{text}\x1b[0m")
    assert shown(red, Column("id", "12"))[1:] == ["\x1b[31mbad\x1b[0m    1", "\x1b[31mgood\x1b[0m   2"]


def test_only_the_last_column_is_folded_and_nothing_is_cut() -> None:
    words = "a sentence of some words that is longer than the window is wide"
    _, *lines = shown(Column("id", ["x" * 30, "two"]), Column("why", [words, "short"]), room=60)
    assert max(map(len, lines)) <= 60
    assert " ".join(lines[0][32:].split() + [line.strip() for line in lines[1:-1]]) == words
    assert all(line.startswith(" " * 32) for line in lines[1:-1])
    assert lines[-1].split() == ["two", "short"]


def test_in_a_window_that_is_too_narrow_the_rows_run_on() -> None:
    _, line = shown(Column("id", ["x" * 50]), Column("why", ["y" * 24]), room=40)
    assert line == f"{'x' * 50}  {'y' * 24}"


def test_wide_letters_count_twice() -> None:
    assert shown(Column("id", ["気温", "four"]), Column("n", "12"))[1:] == ["気温  1", "four  2"]


def test_rows_are_made_one_by_one() -> None:
    made = []

    def paint(text: str) -> str:
        made.append(text)
        return text

    lines = rows([Column("id", [str(number) for number in range(1000)], paint=paint)], 80, str)
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


def test_where_the_words_do_not_fit_either_only_the_last_column_is_wrapped() -> None:
    when, took = Column("when", ["today 09:45"]), Column("took", ["4 s"], is_number=True)
    _, line, _ = shown(Column("id", ["x" * 50]), when, took, Column("why", ["a sentence of words, wrapped"]), room=70)
    assert line.startswith("x" * 50 + "  today 09:45   4 s  a sentence of words,")
