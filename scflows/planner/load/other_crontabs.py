"""The busy minutes of the day, in which other cron entries start or the clocks change.

They only break ties, so anything that cannot be read or parsed is ignored.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

from scflows.cron.crontab.line import parse_line
from scflows.cron.schedule.fields import REBOOT, normalised, values
from scflows.cron.schedule.notes import coming_changes
from scflows.errors import UsageError
from scflows.storage import names_in, open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy

    Numbers = numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.int64]]

MINUTES = 1440  #: of a day
#: How many days ahead changes of the clocks count.
DAYS = 731
#: The most bytes of a file, and files of a folder, that are read.
MAX_BYTES = 2**20
MAX_FILES = 200


class BusyMinutes:
    """A weight for each minute of the day: how busy it is."""

    def __init__(self, weights: Sequence[int] | None = None) -> None:
        """`weights` has one for each minute of the day. Full hours get an extra weight, since many jobs use them."""
        import numpy

        self._day: Numbers = numpy.array([0] * MINUTES if weights is None else weights, numpy.int64)
        self._day[::60] += 1
        self._known: dict[int, Numbers] = {}

    def of(self, period: int) -> Numbers:
        """Return for each minute of a period the total weight of its repetitions in the day."""
        if period not in self._known:
            self._known[period] = self._day.reshape(-1, period).sum(axis=0)
        return self._known[period]


def busy_minutes(folder: str, own: bytes, now: float) -> BusyMinutes:
    """Return the busy minutes from the crontabs of the system in `folder`, the user's own, and changes of the clocks.

    Our tasks in the user's crontab do not count. `now` is in seconds since the epoch.
    """
    weights = [0] * MINUTES
    for table in (*_system_tables(folder), own):
        for minute, count in foreign_starts(table).items():
            weights[minute] += count
    for minute in _changed_minutes(now):
        weights[minute] += 1
    return BusyMinutes(weights)


def foreign_starts(table: bytes) -> Counter[int]:
    """Count how often the lines of a crontab start at each minute of the day, on any day; ignore invalid lines."""
    lines: Counter[str] = Counter()
    for raw in table.split(b"\n"):
        line = raw.decode("utf-8", "replace").strip()
        # In some crons, a leading hyphen disables logging.
        first = line.removeprefix("-")[:1]
        if not first or first not in "0123456789*@" or parse_line(line) is not None:
            continue
        words = line.removeprefix("-").split(None, 1 if first == "@" else 5)
        try:
            if len(words) == (2 if first == "@" else 6):
                lines[normalised(" ".join(words[:-1]))] += 1
        except UsageError:
            continue
    found: Counter[int] = Counter()
    lines.pop(REBOOT, None)
    for fields, count in lines.items():
        minutes, hours = fields.split(" ")[:2]
        for hour in values(hours, 1):
            for minute in values(minutes, 0):
                found[hour * 60 + minute] += count
    return found


def _system_tables(folder: str) -> Iterator[bytes]:
    paths = [os.path.join(folder, "crontab")]
    drops = os.path.join(folder, "cron.d")
    # Like Debian's cron: files with other names are backups or left over from packages.
    names = [name for name in names_in(drops) if name.replace("-", "").replace("_", "").isalnum()]
    paths += [os.path.join(drops, name) for name in names[:MAX_FILES]]
    for path in paths:
        try:
            with open(open_regular(path), "rb") as file:
                yield file.read(MAX_BYTES)
        except OSError:
            continue


def _changed_minutes(now: float) -> set[int]:
    """Return the minutes of the day that the system's zone skips or repeats in the next two years."""
    found = set()
    for change in coming_changes(None, now, DAYS):
        first, last = change.local
        begin = first.hour * 60 + first.minute
        length = min(MINUTES, int((last - first).total_seconds()) // 60)
        found |= {(begin + each) % MINUTES for each in range(length)}
    return found
