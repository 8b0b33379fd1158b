"""The standard streams: open them robustly, write to them, give them up."""

from __future__ import annotations

import os
import sys

from scflows.errors import ScflowsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO


#: Stands for the start of our own escape sequences until they are written, so that data cannot contain any. Unicode
#: guarantees that it is not a character.
STYLE = "\ufdd0"
#: What a terminal may obey, but line ends and tabs: control characters, and those that end lines or change direction.
CONTROL = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]"


class ReaderGone(Exception):
    """The reader of the output has closed the pipe."""


def open_streams() -> None:
    """Give this process standard streams that accept any text, even if they were closed."""
    encoding = _terminal_encoding()
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # Python uses None for a stream that was closed before it started.
            setattr(sys, name, open(os.devnull, "r+", encoding="utf-8"))  # noqa: SIM115 — stays open
        elif name != "stdin" and hasattr(stream, "reconfigure"):
            # Do not fail for a file name that is not UTF-8 or for a middle dot in an ASCII locale.
            stream.reconfigure(encoding=encoding, errors="backslashreplace")


def _terminal_encoding() -> str | None:
    """Return the encoding of the locale, if UTF-8 is only used for file names; None for no change."""
    if "utf8" not in sys._xoptions:
        return None
    import locale

    encoding = locale.getencoding()
    # In the locale C, Python writes UTF-8.
    return None if encoding.upper().startswith(("ANSI_X3", "US-ASCII", "ASCII")) else encoding


def write(stream: TextIO, text: str, is_raw: bool = False) -> None:
    """Write and flush, without control characters unless `is_raw`.

    Raise ReaderGone, or ScflowsError for example on a full disk.
    """
    try:
        stream.write(text if is_raw else printable(text))
        stream.flush()
    except BrokenPipeError as error:
        raise ReaderGone from error
    except OSError as error:
        raise ScflowsError(f"cannot print: {error.strerror}") from error


def drop_output() -> None:
    """Discard buffered output, so that the interpreter prints no error at exit."""
    null_device = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(null_device, stream.fileno())
    os.close(null_device)


def printable(text: str) -> str:
    """Return the text with its line ends, tabs and our own styles; other control characters become visible."""
    if text.isprintable():
        return text
    import re

    text = re.sub(CONTROL, lambda found: _visible(found[0]), text)
    return re.sub(f"{STYLE}([0-9]+m)", "\x1b[\\1", text) if STYLE in text else text


def escaped(text: str) -> str:
    """Return the text with visible control characters, which could otherwise move the cursor or fake a line."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _visible(each) for each in text)


def _visible(character: str) -> str:
    escape = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character)
    if escape:
        return escape
    if character.isspace() and ord(character) > 159 and character not in "\u2028\u2029":
        return character  # No-break spaces and the like are harmless.
    return character.encode("unicode_escape").decode("ascii")
