"""What the cron in use takes of a crontab: told before writing, since not every cron says so itself."""

from __future__ import annotations

import os

from scflows.cron.crontab.block import split
from scflows.cron.crontab.program import BUSYBOX, CRONIE, implementation
from scflows.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scflows.cron.crontab.program import Crontab

#: Lines of any kind that Debian's crontab takes, and entries that cronie's does.
MOST_LINES = 10_000
#: Lines that busybox reads, for root and for all others; it says nothing of those that it leaves out.
BUSYBOX_ROOT, BUSYBOX_OTHERS = 65_534, 255
#: Bytes of comments and blank lines in a row that cronie takes.
MOST_COMMENTS = 32_767


def check_limits(crontab: Crontab, raw: bytes, new: bytes) -> None:
    """Raises Refused for a new crontab that holds more than its cron takes.

    One that held too much before may be made smaller.
    """
    # Below the smallest limit there is nothing to ask the program.
    if _lines(new) <= BUSYBOX_OTHERS and _comments(new) <= MOST_COMMENTS:
        return
    kind = implementation(crontab)
    many = "put all tasks on one line: add --one-line, or now: flows repair --one-line"
    if len(split(new).lines or []) <= 1:
        many = "take lines out of your own: crontab -e; or run the tasks without the crontab: flows cron run"
    for name, measure, most, help in _limits(kind):
        count = measure(new)
        if count > most and count > measure(raw):
            raise Refused(f"the crontab would have {count} {name}, and {kind} takes {most}", help or many)


def takes_boot_line(crontab: Crontab | None) -> bool:
    """Whether the cron in use bears a line `@reboot`: busybox's 1.35 ends with a segmentation fault."""
    return crontab is None or implementation(crontab) != BUSYBOX


def _limits(kind: str) -> list[tuple[str, Callable[[bytes], int], int, str]]:
    if kind == BUSYBOX:
        return [("lines", _lines, BUSYBOX_ROOT if os.geteuid() == 0 else BUSYBOX_OTHERS, "")]
    if kind == CRONIE:
        comments = "take some of the comments out: crontab -e"
        return [
            ("entries", _entries, MOST_LINES, ""),
            ("bytes of comments in a row", _comments, MOST_COMMENTS, comments),
        ]
    return [("lines", _lines, MOST_LINES, "")]


def _lines(raw: bytes) -> int:
    return raw.count(b"\n") + (raw[-1:] not in (b"", b"\n"))


def _entries(raw: bytes) -> int:
    return sum(line.lstrip()[:1] in b"0123456789*@-" and bool(line.strip()) for line in raw.split(b"\n"))


def _comments(raw: bytes) -> int:
    most = count = 0
    for line in raw.split(b"\n"):
        count = count + len(line) + 1 if not line.strip() or line.lstrip()[:1] == b"#" else 0
        most = max(most, count)
    return most
