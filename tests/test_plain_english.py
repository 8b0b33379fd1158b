"""Phrases that read like a translation stay out of documents, help, messages, docstrings and comments.

To see every finding of some paths, also of those in NOT_YET:

    python tests/test_plain_english.py scflows/cron docs README.md
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
COVERED = ("README.md", "docs/*.md", "tasks/**/README.md", "tasks/**/*.yml", "scflows/**/*.py")

#: Paths, or beginnings of paths, that are not clean yet. Remove a line to have the path checked from then on.
NOT_YET: tuple[str, ...] = ()

#: A phrase as a regular expression (a space stands for any white space), and what to write instead.
BANNED = {
    r"(?<!there\s)(is|are|was) no(?! (?:longer|more than|less than|later than))": "'is not a …', 'has no …'",
    r"(left|leaves?|leaving) aside": "ignored",
    r"who(m|so)?ever": "the component by its name",
    r"(some|no)body": "the component by its name; for people 'a user', 'no one'",
    r"(does|do|did) not hold": "is false",
    r"(is|are|was) none of": "must be one of",
    r"so many": "at most N, N",
    r"mend(s|ed|ing)?": "fix, repair",
    r"custody": "crontab editor",
    r"hand(s|ed|ing)? out turns?": "the queue worker starts runs",
    r"arrears|makes? up for|made up for": "missed slots, catch-up",
    r"told": "reported, told apart: distinguished, as told: as given",
    r"tells? of": "report, mention",
    r"hears? of": "is notified of, learns of",
    r"at once": "at the same time, in parallel; immediately",
    r"kept beside": "stored next to",
    r"stays? away": "does not arrive, stops",
    r"(goes|went|going) on": "continues; is in progress",
    r"(?<=[;,:]) else": "otherwise; default: …",
    r"for ever": "forever",
    r"wins": "takes precedence",
    r"in vain": "without success",
    r"anew": "again, from scratch",
    r"(a|no|any) whole number|whole numbers": "integer",
    r"from [0-9]+ on": "of at least N",
    r"shall": "should, must, will",
    r"of (ours|yours|theirs)": "our, your; name the owner",
    r"a(s|re) (said|asked)|unless said|said otherwise": "as given; unless set",
    r"comes? into being|came into being": "is created, starts",
    r"backlog": "queue",
    r"heirs?": "successor",
    r"has answered": "was already run",
    r"takes? (no|any) notice of": "ignores",
}

#: Names of functions, parameters, variables and attributes, and what to use instead.
BANNED_NAMES = {
    "told": "message, text, summary",
    "said": "output, answer",
    "tell": "report, notify, callback",
    "tells": "reports",
    "what": "noun, action, title",
    "kept": "cached, stored, remaining",
    "ours": "own, own_lines",
    "theirs": "foreign, other_lines",
}

#: Where a phrase is meant literally: a path, and the words around it as they stand there.
LITERAL: dict[str, tuple[str, ...]] = {
    # The name of an option of the step type.
    "scflows/steps/builtin/summarize.py": ("what",),
}

PATTERNS = [
    (re.compile(rf"(?<!\w)(?:{phrase})(?!\w)".replace(" ", r"\s+"), re.IGNORECASE), better)
    for phrase, better in BANNED.items()
]


@dataclass(frozen=True)
class Text:
    """Something that a person reads."""

    path: str
    line: int  #: of its first line
    kind: str
    content: str


def texts(path: Path) -> Iterator[Text]:
    """Return everything in a file that a person reads."""
    name = path.relative_to(ROOT).as_posix()
    content = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield Text(name, 1, "text", content)
        return
    yield from strings(name, content)
    yield from comments(name, content)
    yield from names(name, content)


def strings(name: str, content: str) -> Iterator[Text]:
    """Return the docstrings and the string literals of Python code; `{}` stands for what an f-string inserts."""
    tree = ast.parse(content)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    inserted = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values]
            yield Text(name, node.lineno, "message", "".join(parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inserted:
            yield Text(name, node.lineno, "docstring" if id(node) in docstrings else "message", node.value)


def comments(name: str, content: str) -> Iterator[Text]:
    """Return the comments of Python code; those on lines that follow each other are one."""
    first, last, words = 0, -1, ""
    for token in tokenize.generate_tokens(io.StringIO(content).readline):
        if token.type != tokenize.COMMENT:
            continue
        line = token.start[0]
        if line != last + 1:
            if words:
                yield Text(name, first, "comment", words)
            first, words = line, ""
        last, words = line, words + token.string.lstrip("#: ") + "\n"
    if words:
        yield Text(name, first, "comment", words)


def names(name: str, content: str) -> Iterator[Text]:
    """Return the names that Python code gives to functions, parameters, variables and attributes."""
    for node in ast.walk(ast.parse(content)):
        given = ""
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            given = node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            given = node.attr
        elif isinstance(node, ast.arg):
            given = node.arg
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            given = node.name
        if given:
            yield Text(name, node.lineno, "name", given)


def findings(text: Text) -> Iterator[str]:
    """Return a line for each banned phrase or name that is not meant literally."""
    if text.kind == "name":
        word = text.content.strip("_")
        if word in BANNED_NAMES and text.content not in LITERAL.get(text.path, ()):
            yield f"{text.path}:{text.line}: name: {text.content!r} (write: {BANNED_NAMES[word]})"
        return
    if text.kind == "message" and text.content.isidentifier():
        return  # A key or another word for programs.
    literal = [span for words in LITERAL.get(text.path, ()) for span in _spans(words, text.content)]
    starts = [0, *accumulate(len(line) for line in text.content.splitlines(keepends=True))]
    for pattern, better in PATTERNS:
        for match in pattern.finditer(text.content):
            if any(start <= match.start() and match.end() <= end for start, end in literal):
                continue
            line = text.line + bisect_right(starts, match.start()) - 1
            around = " ".join(text.content[max(0, match.start() - 60) : match.end() + 60].split())
            yield f"{text.path}:{line}: {text.kind}: {match[0]!r} (write: {better}): {around}"


def _spans(words: str, content: str) -> Iterator[tuple[int, int]]:
    for match in re.finditer(r"\s+".join(map(re.escape, words.split())), content):
        yield match.span()


def paths(*beginnings: str) -> list[str]:
    """Return all covered files, or those whose path begins so."""
    found = sorted({path.relative_to(ROOT).as_posix() for pattern in COVERED for path in ROOT.glob(pattern)})
    return [path for path in found if not beginnings or path.startswith(beginnings)]


def helps(words: tuple[str, ...], command: Any, parent: Any = None) -> Iterator[Text]:
    """Return what `--help` of a command prints, and of those below it."""
    context = command.context_class(command, info_name=words[-1], parent=parent)
    yield Text(" ".join((*words, "--help")), 1, "help", command.get_help(context))
    for name, inner in getattr(command, "commands", {}).items():
        yield from helps((*words, name), inner, context)


@pytest.mark.parametrize("path", [path for path in paths() if not path.startswith(NOT_YET)])
def test_a_file_is_written_in_plain_english(path: str) -> None:
    found = [finding for text in texts(ROOT / path) for finding in findings(text)]
    assert not found, "\n".join(found)


def test_the_help_of_every_command_is_written_in_plain_english() -> None:
    import typer

    from scflows.cli.app import build_app

    found = [finding for text in helps(("flows",), typer.main.get_command(build_app())) for finding in findings(text)]
    assert not found, "\n".join(found)


def test_a_literal_use_is_still_where_it_was() -> None:
    gone = [
        (path, words)
        for path, all_words in LITERAL.items()
        for words in all_words
        if not any(any(_spans(words, text.content)) for text in texts(ROOT / path))
    ]
    assert not gone


@pytest.mark.parametrize(
    "content",
    [
        "every '5 minutes' is no interval",
        "the tasks\nwhose run is told",
        "at most 3 runs at\n    once",
        "Write it; else remove it.",
        "As told above.",
    ],
)
def test_a_banned_phrase_is_found(content: str) -> None:
    assert len(list(findings(Text("a", 1, "text", content)))) == 1


@pytest.mark.parametrize("content", ["There is no crontab.", "It is no longer there.", "Amend it.", "a if b else c"])
def test_plain_words_are_not_found(content: str) -> None:
    assert not list(findings(Text("a", 1, "text", content)))


@pytest.mark.parametrize("content", ["told = 1", "def f(what): ...", "def _tell(): ...", "self.kept = 1"])
def test_a_name_that_is_not_a_noun_is_found(content: str) -> None:
    assert len([finding for text in names("a", content) for finding in findings(text)]) == 1


if __name__ == "__main__":
    for each in paths(*sys.argv[1:]):
        for text in texts(ROOT / each):
            sys.stdout.writelines(f"{finding}\n" for finding in findings(text))
