"""The programs that a shell command starts, as far as its text says so without running it."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: What the shell itself provides, or bash does.
BUILTINS = frozenset(
    (
        *(".", ":", "[", "[[", "alias", "bg", "bind", "break", "builtin", "cd", "command", "continue", "declare"),
        *("disown", "echo", "enable", "eval", "exec", "exit", "export", "false", "fc", "fg", "getopts", "hash", "jobs"),
        *("kill", "let", "local", "mapfile", "popd", "printf", "pushd", "pwd", "read", "readarray", "readonly"),
        *("return", "select", "set", "shift", "shopt", "source", "suspend", "test", "times", "trap", "true", "type"),
        *("typeset", "ulimit", "umask", "unalias", "unset", "wait"),
    )
)
#: Words after which another command begins, and words that only structure commands.
OPENERS = frozenset(("if", "then", "elif", "else", "while", "until", "do", "!", "{", "time", "exec"))
CLOSERS = frozenset(("fi", "done", "}"))
#: Text in which the following words have a meaning that is not known here.
UNKNOWN = re.compile(r"<<|`|\bcase\b|\bfunction\b|\\\n")
#: Where a command finds out itself which programs there are, or changes where they are searched.
GUARDED = re.compile(r"\b(?:command -v|which|type|hash|alias|PATH=)")
PROGRAM = re.compile(r"[A-Za-z_/][A-Za-z0-9_./+-]*")
ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")


def programs(text: str) -> list[str]:
    """Return the first word of each simple command in a shell text that is the plain name or path of a program.

    Built-in commands and functions are left out. A text that cannot be read with certainty gives fewer words.
    """
    if GUARDED.search(text):
        return []
    unknown = UNKNOWN.search(text)
    try:
        tokens = _tokens(text[: unknown.start()] if unknown else text)
    except ValueError:
        return []  # Quotes are not closed; the shell reports it.
    functions = {name for name, following in pairwise(tokens) if following == "()"}
    found = dict.fromkeys(_first_words(tokens))
    return [each for each in found if each not in BUILTINS and each not in functions and PROGRAM.fullmatch(each)]


def _tokens(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=False, punctuation_chars="();<>|&\n")
    lexer.whitespace = " \t\r"
    lexer.whitespace_split = True
    lexer.commenters = ""
    return list(lexer)


def _first_words(tokens: list[str]) -> Iterator[str]:
    is_first, is_target, is_comment, depth = True, False, False, 0
    for token in tokens:
        is_operator = not token.strip("();<>|&\n")
        if is_comment and "\n" not in token:
            continue
        is_comment = token.startswith("#")
        if is_comment:
            continue
        if "((" in token or depth:
            depth += token.count("(") - token.count(")")  # Arithmetic has no commands.
        elif is_target:
            is_target = False
        elif is_operator:
            is_target = token.strip("\n")[-1:] in ("<", ">") or token.startswith((">&", "<&"))
            is_first = is_first if is_target or token == ")" else "(" in token or token[-1:] in ";|&\n"
        elif is_first and (token in CLOSERS or token == "for"):
            is_first = False
        elif is_first and token not in OPENERS and not ASSIGNMENT.match(token):
            is_first = False
            yield token
