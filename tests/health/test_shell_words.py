from __future__ import annotations

import pytest

from scflows.health.shell_words import programs


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("backup /home | gzip > /x.gz && rsync -a a b", ["backup", "gzip", "rsync"]),
        ("cd /x && FOO=1 ./run; [ -f a ] || exit 1", []),
        ("for f in *.log; do compress $f; done", ["compress"]),
        ("if grep -q x y; then sendit; else other >/dev/null 2>&1; fi", ["grep", "sendit", "other"]),
        ("echo then nothing; exec nice -n 5 thing", ["nice"]),
        ('echo $(stamp +%F) $((1+2)) "$(hidden)"', ["stamp"]),
        ("# comment here\nfoo a # and bar\nbaz", ["foo", "baz"]),
        ("f() { real x; }; f", ["real"]),
        ("cat <<E\nnot a command\nE", ["cat"]),
        ("command -v foo && foo", []),
        ("(sub shell) & other", ["sub", "other"]),
        ("while read l; do p $l; done < file", ["p"]),
        ("a 'b; c' | d \"e | f\"", ["a", "d"]),
        ("flock -n /tmp/l job", ["flock"]),
        ('/opt/x/y a; $CMD z; "$Q"', ["/opt/x/y"]),
        ("PATH=/opt/bin:$PATH; tool", []),
        ("echo 'not closed; tool", []),
        ("case $x in a) tool;; esac", []),
        ("", []),
    ],
)
def test_programs_are_the_first_words_of_simple_commands(text: str, found: list[str]) -> None:
    assert programs(text) == found
