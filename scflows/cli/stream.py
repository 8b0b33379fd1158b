"""The streams of the command: opened so that nothing about them fails it, written, given up."""

from __future__ import annotations

import os
import sys

from scflows.errors import ScflowsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO


class ReaderGone(Exception):
    """Whoever read our output has had enough."""


def open_streams() -> None:
    """Give this process streams that take every text, also where they were closed."""
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # Python has None for what was closed before it started.
            setattr(sys, name, open(os.devnull, "r+", encoding="utf-8"))  # noqa: SIM115 — stays open
        elif name != "stdin" and hasattr(stream, "reconfigure"):
            # A file name that is not UTF-8, or a dot between two words in an ASCII locale, is no reason to fail.
            stream.reconfigure(errors="backslashreplace")


def write(stream: TextIO, text: str) -> None:
    """Write and flush. Raises ReaderGone, or ScflowsError for a full disk and the like."""
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError as error:
        raise ReaderGone from error
    except OSError as error:
        raise ScflowsError(f"cannot print: {error.strerror}") from error


def drop_output() -> None:
    """Let what is still buffered go nowhere, so that the interpreter does not complain at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def escaped(text: str) -> str:
    """The text on one line, its control characters visible: they could move the cursor, or fake a line."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _visible(each) for each in text)


def _visible(character: str) -> str:
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character)
    if named:
        return named
    if character.isspace() and ord(character) > 127:
        return character  # A no-break space and its like do no harm.
    return character.encode("unicode_escape").decode("ascii")
