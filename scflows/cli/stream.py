"""The standard streams: open them robustly, write to them, give them up."""

from __future__ import annotations

import os
import sys

from scflows.errors import ScflowsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO


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


def write(stream: TextIO, text: str) -> None:
    """Write and flush. Raise ReaderGone, or ScflowsError for example on a full disk."""
    try:
        stream.write(text)
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


def escaped(text: str) -> str:
    """Return the text with visible control characters, which could otherwise move the cursor or fake a line."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _visible(each) for each in text)


def _visible(character: str) -> str:
    escape = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character)
    if escape:
        return escape
    if character.isspace() and ord(character) > 127:
        return character  # No-break spaces and the like are harmless.
    return character.encode("unicode_escape").decode("ascii")
