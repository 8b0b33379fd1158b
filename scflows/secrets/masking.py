"""What must not be shown: the texts of secrets, replaced wherever they appear."""

from __future__ import annotations

# Of `threading`, which cron's path has no use for, only the lock.
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

#: What stands in the place of a secret.
MASK = "***"
#: What follows a text that was cut.
CUT_SIGNS = ("...", "…")
SHORTEST = 4  #: characters; what is shorter would be found in every other word
#: How much of a line that never ends is held back, in bytes, before it is passed on in parts.
LONGEST_LINE = 64 * 1024


class Mask:
    """The texts that one run must not show; none to begin with."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._texts: tuple[str, ...] = ()
        self.told: list[Callable[[list[str]], None]] = []  #: are given what was added, before anybody can use it

    def __bool__(self) -> bool:
        return bool(self._texts)

    def add(self, texts: Iterable[str]) -> None:
        """Never show these texts from now on."""
        with self._lock:
            new = set(texts).difference(self._texts)
            if new:
                # The longest first: what is left of it could not be found any more once a part of it is replaced.
                self._texts = tuple(sorted({*self._texts, *new}, key=lambda text: (-len(text), text)))
                for tell in self.told:
                    tell(sorted(new))

    def texts(self) -> list[str]:
        """All of them."""
        return list(self._texts)

    @property
    def longest(self) -> int:
        """The length of the longest text, in characters."""
        return len(self._texts[0]) if self._texts else 0

    def text(self, text: str) -> str:
        """The text without secrets."""
        for each in self._texts:
            if each in text:
                text = text.replace(each, MASK)
        if self._texts:
            for sign in CUT_SIGNS:
                if sign in text:
                    text = self._without_beginnings(text, sign)
        return text

    def _without_beginnings(self, text: str, sign: str) -> str:
        """Some libraries show the beginning of a value that goes wrong: `string ("abcdefgh...) is no number`."""
        parts = text.split(sign)
        for number, part in enumerate(parts[:-1]):
            shown = part.rstrip("\ufffd")  # of a character that was cut in two
            for each in self._texts:
                if each[:SHORTEST] not in shown:
                    continue
                for length in range(min(len(each), len(shown)), SHORTEST - 1, -1):
                    if shown.endswith(each[:length]):
                        parts[number] = shown = shown[:-length] + MASK
                        break
        return sign.join(parts)

    def value(self, value: Any) -> Any:
        """A JSON value without secrets, those in keys included; the names of special variables stay."""
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
    """Passes on what a process puts out, line by line, without secrets."""

    def __init__(self, mask: Mask, write: Callable[[bytes], None]) -> None:
        self._mask = mask
        self._write = write
        self._rest = b""

    def feed(self, content: bytes) -> None:
        self._rest += content
        cut = self._rest.rfind(b"\n") + 1
        if cut:
            self._pass_on(self._rest[:cut])
            self._rest = self._rest[cut:]
        if len(self._rest) > LONGEST_LINE:
            # The end may be the beginning of a secret: it waits for what follows.
            kept = min(4 * self._mask.longest, LONGEST_LINE // 2)
            masked = self._masked(self._rest)
            self._write(masked[: len(masked) - kept])
            self._rest = masked[len(masked) - kept :]

    def close(self) -> None:
        """Pass on the rest."""
        if self._rest:
            self._pass_on(self._rest)
            self._rest = b""

    def _pass_on(self, content: bytes) -> None:
        self._write(self._masked(content))

    def _masked(self, content: bytes) -> bytes:
        text = content.decode("utf-8", "surrogateescape")
        return self._mask.text(text).encode("utf-8", "surrogateescape")
