"""The limits of the installed cron, checked before writing, because not every cron reports them."""

from __future__ import annotations

import os

from scflows.cron.crontab.block import split
from scflows.cron.crontab.program import BUSYBOX, CRONIE, Crontab, implementation
from scflows.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


#: The most lines that Debian's crontab accepts, and the most entries that cronie's does.
MAX_LINES = 10_000
#: The lines that busybox reads, for root and for other users; it silently ignores the rest.
BUSYBOX_ROOT, BUSYBOX_OTHERS = 65_534, 255
#: The most bytes of consecutive comments and blank lines that cronie accepts.
MAX_COMMENT_BYTES = 32_767


def check_limits(crontab: Crontab, raw: bytes, new: bytes) -> None:
    """Raise Refused if a new crontab exceeds a limit of its cron.

    A crontab that already exceeded the limit may be made smaller.
    """
    # Below the smallest limit, the kind of cron does not matter.
    if _lines(new) <= BUSYBOX_OTHERS and _comments(new) <= MAX_COMMENT_BYTES:
        return
    kind = implementation(crontab)
    default_help = "use one line for all tasks: add --one-line, or run: flows repair --one-line"
    if len(split(new).lines or []) <= 1:
        default_help = "remove some of your own lines: crontab -e; or run the tasks without cron: flows cron run"
    for name, measure, limit, help in _limits(kind):
        count = measure(new)
        if count > limit and count > measure(raw):
            message = f"the crontab would have {count} {name}, but {kind} accepts at most {limit}"
            raise Refused(message, help or default_help)


def takes_boot_line(crontab: Crontab | None) -> bool:
    """Return whether the installed cron supports `@reboot`; busybox 1.35 crashes on it."""
    return crontab is None or implementation(crontab) != BUSYBOX


def _limits(kind: str) -> list[tuple[str, Callable[[bytes], int], int, str]]:
    if kind == BUSYBOX:
        return [("lines", _lines, BUSYBOX_ROOT if os.geteuid() == 0 else BUSYBOX_OTHERS, "")]
    if kind == CRONIE:
        comments = "remove some comments: crontab -e"
        return [
            ("entries", _entries, MAX_LINES, ""),
            ("bytes of consecutive comments", _comments, MAX_COMMENT_BYTES, comments),
        ]
    return [("lines", _lines, MAX_LINES, "")]


def _lines(raw: bytes) -> int:
    return raw.count(b"\n") + (raw[-1:] not in (b"", b"\n"))


def _entries(raw: bytes) -> int:
    return sum(line.lstrip()[:1] in b"0123456789*@-" and bool(line.strip()) for line in raw.split(b"\n"))


def _comments(raw: bytes) -> int:
    longest = count = 0
    for line in raw.split(b"\n"):
        count = count + len(line) + 1 if not line.strip() or line.lstrip()[:1] == b"#" else 0
        longest = max(longest, count)
    return longest
