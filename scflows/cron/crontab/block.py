"""Our block in a crontab: find it and change it without changing any other byte."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.cron.crontab.line import CrontabEntry, parse_line
from scflows.cron.crontab.variables import is_mailto, leading_mailto
from scflows.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

BEGIN = b"# >>> scflows >>>"
END = b"# <<< scflows <<<"
FIRST_LINE = BEGIN + b" change these lines with the command flows; put your own below the block\n"
LAST_LINE = END + b"\n"


@dataclass(frozen=True)
class Parts:
    """The parts of a crontab. The text before and after the block is foreign."""

    before: bytes
    lines: list[str] | None  #: the block's lines without its marks, MAILTO and newlines; None if there is no block
    after: bytes
    strays: list[CrontabEntry]  #: our active lines outside the block

    @property
    def foreign(self) -> bytes:
        return self.before + self.after


def split(raw: bytes) -> Parts:
    """Split a crontab into its parts. Raises Refused unless the marks of our block are exactly one pair."""
    lines = _lines(raw)
    begins = [number for number, line in enumerate(lines) if line.startswith(BEGIN)]
    ends = [number for number, line in enumerate(lines) if line.startswith(END)]
    if not begins and not ends:
        return Parts(raw, None, b"", _strays(lines))
    if len(begins) != 1 or len(ends) != 1 or ends[0] < begins[0]:
        numbers = ", ".join(str(number + 1) for number in sorted(begins + ends))
        raise Refused(
            f"the marks of our block in the crontab (line {numbers}) are not one pair of begin and end",
            "fix them with: crontab -e; or remove the marks and all lines between them",
        )
    begin, end = begins[0], ends[0]
    # A MAILTO at its beginning is the user's, see `plan`.
    first = begin + 1 + (end > begin + 1 and is_mailto(lines[begin + 1].removesuffix(b"\n")))
    inside = [line.removesuffix(b"\n").decode("utf-8", "surrogateescape") for line in lines[first:end]]
    outside = lines[:begin] + lines[end + 1 :]
    return Parts(b"".join(lines[:begin]), inside, b"".join(lines[end + 1 :]), _strays(outside))


def live_lines(raw: bytes) -> list[CrontabEntry]:
    """Return the entries of our active lines, inside and outside the block."""
    return _strays(_lines(raw))


def plan(raw: bytes, lines: Sequence[str], drop: Collection[str] = (), spared: Collection[str] = ()) -> bytes:
    """Return the crontab with these lines as our block, and without the strays whose names are in `drop`.

    Lines in `spared` are kept regardless of their names. Without lines there is no block.
    Raises Refused if the crontab cannot be written back unchanged.
    """
    parts = split(raw)
    foreign = parts.foreign
    if drop:
        foreign = b"".join(line for line in _lines(foreign) if not _is_dropped(line, drop, spared))
    block = b""
    if lines:
        inside = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
        # Mail about our lines goes where that about the user's jobs goes. Their own MAILTO follows, before any of them.
        mailto = leading_mailto(foreign)
        block = FIRST_LINE + (mailto + b"\n" if mailto else b"") + inside + LAST_LINE
    # At the top, because a variable in a crontab applies to all lines below it.
    new = block + foreign
    if new != raw:
        _check_round_trip(raw)
    return new


def drift(raw: bytes, lines: Sequence[str]) -> list[str]:
    """Return how the crontab's block differs from the tabfile, as a unified diff; empty if it does not."""
    return difference(lines, split(raw).lines or [], "tabfile", "crontab")


def difference(old: Sequence[str], new: Sequence[str], old_name: str, new_name: str) -> list[str]:
    """Return a unified diff without newlines; empty if both are the same."""
    if list(old) == list(new):
        return []
    import difflib

    return list(difflib.unified_diff(old, new, old_name, new_name, n=1, lineterm=""))


def _lines(raw: bytes) -> list[bytes]:
    """Split at newlines only, and keep them."""
    lines = raw.split(b"\n")
    last = lines.pop()
    return [line + b"\n" for line in lines] + ([last] if last else [])


def _strays(lines: Sequence[bytes]) -> list[CrontabEntry]:
    entries = (_entry(line) for line in lines)
    return [entry for entry in entries if entry is not None]


def _entry(line: bytes) -> CrontabEntry | None:
    if b"scflows" not in line:
        return None
    return parse_line(line.removesuffix(b"\n").decode("utf-8", "surrogateescape"))


def _is_dropped(line: bytes, names: Collection[str], spared: Collection[str]) -> bool:
    entry = _entry(line)
    return entry is not None and entry.name in names and entry.text not in spared


def _check_round_trip(raw: bytes) -> None:
    """Refuse zero bytes: a program `crontab` may truncate or split a line at them."""
    for number, line in enumerate(_lines(raw), 1):
        if b"\0" in line:
            raise Refused(
                f"line {number} of the crontab has a zero byte, so it cannot be written back unchanged",
                "remove it with: crontab -e",
            )
