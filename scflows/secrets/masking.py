"""The mask, which replaces secrets wherever they appear."""

from __future__ import annotations

# The lock alone, because importing `threading` would slow down cron's path.
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

#: The replacement for a secret.
MASK = "***"
#: The signs that follow a truncated text.
CUT_SIGNS = ("...", "…")
LONG = 40  #: characters; a shorter text has no line that an encoder has broken off
SHORTEST = 4  #: characters; shorter texts would match parts of ordinary words
#: The longest line that is buffered, in bytes; longer lines are written in parts.
LONGEST_LINE = 64 * 1024


class Mask:
    """The texts that one run must not reveal; empty at first."""

    def __init__(self, is_private: bool = False) -> None:
        self._lock = allocate_lock()
        self._texts: tuple[str, ...] = ()
        self._encoded: tuple[str, ...] = ()  #: those that may be broken over several lines
        #: The same without texts that are shown as `***` but are not secret, for example user names and hosts.
        self.private = self if is_private else Mask(is_private=True)
        self.listeners: list[Callable[[list[str]], None]] = []  #: called with new texts before a step can use them

    def __bool__(self) -> bool:
        return bool(self._texts)

    def add(self, texts: Iterable[str], is_private: bool = True) -> None:
        """Mask these texts from now on."""
        texts = set(texts)
        if is_private and self.private is not self:
            self.private.add(texts)
        with self._lock:
            new = texts.difference(self._texts)
            if new:
                # The longest first: after replacing a part of it, the rest would no longer be recognised.
                self._texts = tuple(sorted({*self._texts, *new}, key=lambda text: (-len(text), text)))
                from scflows.secrets.wrapped import is_encoded

                self._encoded = tuple(each for each in self._texts if is_encoded(each))
                for listener in self.listeners:
                    listener(sorted(new))

    def texts(self) -> list[str]:
        """Return all masked texts."""
        return list(self._texts)

    @property
    def longest(self) -> int:
        """Return the length of the longest text, in characters."""
        return len(self._texts[0]) if self._texts else 0

    def text(self, text: str, before: str = "") -> str:
        """Return a text with its secrets masked. `before`: the line before it, from which a secret may go on."""
        if self._encoded and len(before) + len(text) > LONG:
            from scflows.secrets.wrapped import mask_wrapped

            text = mask_wrapped(text, self._encoded, MASK, before)
        for each in self._texts:
            if each in text:
                text = text.replace(each, MASK)
        if self._texts:
            for sign in CUT_SIGNS:
                if sign in text:
                    text = self._mask_truncated(text, sign)
        return text

    def _mask_truncated(self, text: str, sign: str) -> str:
        """Mask truncated secrets: some libraries show the beginning of an invalid value, like `string ("abcdef...)`."""
        parts = text.split(sign)
        for number, part in enumerate(parts[:-1]):
            shown = part.rstrip("\ufffd")  # from a truncated multi-byte character
            for each in self._texts:
                if each[:SHORTEST] not in shown:
                    continue
                for length in range(min(len(each), len(shown)), SHORTEST - 1, -1):
                    if shown.endswith(each[:length]):
                        parts[number] = shown = shown[:-length] + MASK
                        break
        return sign.join(parts)

    def value(self, value: Any) -> Any:
        """Return a JSON value with its secrets masked, also in keys; names of special variables stay."""
        if not self._texts:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key if key.startswith("__") else self.text(key): self.value(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool) and str(value) in self._texts:
            return MASK
        return value


class MaskedOutput:
    """A filter that masks the output of a process, line by line."""

    def __init__(self, mask: Mask, write: Callable[[bytes], None]) -> None:
        self._mask = mask
        self._write = write
        self._buffer = b""

    def feed(self, content: bytes) -> None:
        self._buffer += content
        cut = self._buffer.rfind(b"\n") + 1
        if cut:
            self._write_masked(self._buffer[:cut])
            self._buffer = self._buffer[cut:]
        if len(self._buffer) > LONGEST_LINE:
            # The end may be the beginning of a secret, so it stays in the buffer.
            held = min(4 * self._mask.longest, LONGEST_LINE // 2)
            masked = self._masked(self._buffer)
            self._write(masked[: len(masked) - held])
            self._buffer = masked[len(masked) - held :]

    def close(self) -> None:
        """Write the rest."""
        if self._buffer:
            self._write_masked(self._buffer)
            self._buffer = b""

    def _write_masked(self, content: bytes) -> None:
        self._write(self._masked(content))

    def _masked(self, content: bytes) -> bytes:
        text = content.decode("utf-8", "surrogateescape")
        return self._mask.text(text).encode("utf-8", "surrogateescape")
