from __future__ import annotations

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from scflows.cron.crontab.block import BEGIN, END, drift, plan, split
from scflows.errors import Refused

A = "17 * * * * /p -P -m scflows run /f/a.yml --task a # a"
B = "3 4 * * * /p -P -m scflows run /f/b.yml --task b # b"
FOREIGN = b"SHELL=/bin/bash\n# set FOO=1 first\n5 4 * * *  joe%Hi  # x\n\n\n@daily curl http://x/#frag\nA = b\n"


def test_our_block_is_at_the_top_and_all_else_below_it() -> None:
    new = plan(FOREIGN, [A, B])
    lines = new.split(b"\n")
    assert lines[0].startswith(BEGIN)
    assert [line.decode() for line in lines[1:3]] == [A, B]
    assert lines[3] == END
    assert new.endswith(END + b"\n" + FOREIGN)


def test_the_last_task_takes_the_block_with_it() -> None:
    assert plan(plan(FOREIGN, [A]), []) == FOREIGN
    assert plan(b"", []) == b""
    assert plan(plan(b"", [A]), []) == b""


def test_the_same_lines_change_nothing() -> None:
    raw = plan(FOREIGN, [A])
    assert plan(raw, [A]) == raw
    assert plan(FOREIGN, []) == FOREIGN


def test_what_was_put_above_the_block_is_kept_below_it() -> None:
    raw = b"SHELL=/bin/zsh\n" + plan(FOREIGN, [A])
    assert split(raw).before == b"SHELL=/bin/zsh\n"
    assert plan(raw, [A, B]).endswith(END + b"\nSHELL=/bin/zsh\n" + FOREIGN)
    assert plan(raw, []) == b"SHELL=/bin/zsh\n" + FOREIGN


@pytest.mark.parametrize(
    "raw",
    [
        plan(b"", [A]) * 2,
        plan(b"", [A]).replace(END, b""),
        plan(b"", [A]).replace(BEGIN, b"#"),
        END + b"\n" + BEGIN + b"\n",
        BEGIN + b"\n" + BEGIN + b"\n" + END + b"\n",
    ],
    ids=["two", "no end", "no begin", "turned", "begun twice"],
)
def test_marks_that_are_no_pair_are_refused(raw: bytes) -> None:
    with pytest.raises(Refused, match="not one pair"):
        plan(raw, [A])
    with pytest.raises(Refused, match="marks"):
        drift(raw, [A])


def test_a_crontab_that_cannot_be_written_back_is_refused() -> None:
    raw = b"# fine\na\0b\n"
    with pytest.raises(Refused, match="line 2"):
        plan(raw, [A])
    assert plan(raw, []) == raw


def test_a_backslash_r_within_a_line_is_nothing_odd() -> None:
    raw = b"5 4 * * * printf 'a\\r\\n' | nc host 1\n"
    assert plan(raw, [A]).endswith(raw)


def test_a_block_changed_by_hand_shows_as_a_diff() -> None:
    raw = plan(FOREIGN, [A, B])
    assert drift(raw, [A, B]) == []
    changed = raw.replace(b"17 * * * *", b"18 * * * *").replace(END, b"# mine\n" + END)
    assert drift(changed, [A, B])[3:] == [f"-{A}", f"+{A.replace('17', '18')}", f" {B}", "+# mine"]
    assert drift(FOREIGN, [A])[3:] == [f"-{A}"]
    assert drift(FOREIGN, []) == []


def test_live_lines_of_ours_outside_the_block_are_found_and_dropped_by_name() -> None:
    stray = b"  " + B.encode() + b"\n"
    raw = FOREIGN + b"# " + B.encode() + b"\n" + stray + b"\xff\n"
    assert [entry.name for entry in split(raw).strays] == ["b"]
    assert [entry.name for entry in split(plan(raw, [A])).strays] == ["b"]
    assert plan(raw, [], drop=["a"]) == raw
    assert plan(raw, [], drop=["b"]) == raw.replace(stray, b"")
    # A name that begins like it is another one.
    assert plan(raw.replace(b"b # b", b"bb # bb"), [], drop=["b"]) == raw.replace(b"b # b", b"bb # bb")


_WORDS = st.sampled_from(
    [
        b"",
        b" ",
        b"\t",
        b"#",
        b"# set FOO=1 first",
        b"# 0 1 * * * off",
        b"# >>> another tool >>>",
        b"# <<< another tool <<<",
        b"MAILTO=ana@example.org",
        b"PATH = /a:/b",
        b"A='x \"y\" z'",
        b"NAME=",
        b"CRON_TZ=Asia/Tokyo",
        b"@reboot /usr/bin/start",
        b"@daily curl http://x/#frag",
        b"*/5 * * * * a && b % stdin %more",
        b"0 0 * * fri-sun echo \\% \\\\ # tag",
        b"  5  4 *\t* * padded   ",
        b"-*/5 * * * * quiet",
        b'1 1 1 1 1 sed "s/ #.*//"',
        b"0~59 * * * * r",
        b"30 2 * * 1,3 caf\xe9 \xff\xfe",
        b"\xc2\x85\x0b\x0c\x1c",
        b"17 * * * * /p -P -m scflows run --task a # b",
    ]
)
_BYTES = st.binary(max_size=30).map(lambda line: bytes(byte for byte in line if byte not in b"\n\0"))
_LINES = st.lists(st.one_of(_WORDS, _BYTES), max_size=25)
_OURS = st.lists(st.integers(0, 30), min_size=1, max_size=6, unique=True)


@given(_LINES, st.booleans(), st.lists(_OURS, min_size=1, max_size=3))
@settings(max_examples=1000, deadline=None, derandomize=True)
@example([b"", b"", b"5 4 * * * a"], False, [[1]])
def test_every_foreign_byte_outlives_our_tasks(lines: list[bytes], ends: bool, rounds: list[list[int]]) -> None:
    # What is refused has tests of its own.
    assume(not any(line.endswith(rb"\r") or line.startswith((BEGIN, END)) for line in lines))
    foreign = b"\n".join(lines) + (b"\n" if ends and lines else b"")
    raw = foreign
    for numbers in rounds:
        ours = [A.replace("--task a # a", f"--task t{number} # t{number}") for number in numbers]
        raw = plan(raw, ours)
        parts = split(raw)
        assert parts.foreign == foreign
        assert parts.lines == ours
        assert drift(raw, ours) == []
    assert plan(raw, []) == foreign
