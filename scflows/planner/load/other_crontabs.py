"""Minutes of the day that are left to others where it costs nothing: what else starts then, and changes of the clocks.

It only breaks ties, so whatever cannot be read or understood is left out.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

from scflows.cron.crontab.line import parse_line
from scflows.cron.schedule.fields import normalised, values
from scflows.cron.schedule.notes import coming_changes
from scflows.errors import UsageError
from scflows.storage import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy

    Numbers = numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.int64]]

MINUTES = 1440  #: of a day
#: Changes of the clocks within so many days count.
DAYS = 731
#: Bytes of a file, and files of a folder, that are looked at.
MOST_BYTES = 2**20
MOST_FILES = 200


class BusyMinutes:
    """How much speaks against each minute of the day."""

    def __init__(self, weights: Sequence[int] | None = None) -> None:
        """`weights` has one for each minute of the day. Full hours are those of all who round."""
        import numpy

        self._day: Numbers = numpy.array([0] * MINUTES if weights is None else weights, numpy.int64)
        self._day[::60] += 1
        self._known: dict[int, Numbers] = {}

    def of(self, period: int) -> Numbers:
        """For each minute of a period of so many minutes, what speaks against its repetitions of the day together."""
        if period not in self._known:
            self._known[period] = self._day.reshape(-1, period).sum(axis=0)
        return self._known[period]


def busy_minutes(folder: str, own: bytes, now: float) -> BusyMinutes:
    """What speaks against minutes by the crontabs of the system, in `folder`, by a user's crontab, and by the clocks.

    Of the user's crontab tasks of ours do not count. `now` is in seconds since the epoch.
    """
    weights = [0] * MINUTES
    for table in (*_system_tables(folder), own):
        for minute, count in foreign_starts(table).items():
            weights[minute] += count
    for minute in _changed_minutes(now):
        weights[minute] += 1
    return BusyMinutes(weights)


def foreign_starts(table: bytes) -> Counter[int]:
    """How often the lines of a crontab start at each minute of the day, on any day. Its odd lines are left out."""
    lines: Counter[str] = Counter()
    for raw in table.split(b"\n"):
        line = raw.decode("utf-8", "replace").strip()
        # Before a hyphen: some crons then write no word of it to the log.
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
    for fields, count in lines.items():
        minutes, hours = fields.split(" ")[:2]
        for hour in values(hours, 1):
            for minute in values(minutes, 0):
                found[hour * 60 + minute] += count
    return found


def _system_tables(folder: str) -> Iterator[bytes]:
    paths = [os.path.join(folder, "crontab")]
    drops = os.path.join(folder, "cron.d")
    try:
        # As Debian's cron does it: other names are backups, and leftovers of packages.
        names = sorted(name for name in os.listdir(drops) if name.replace("-", "").replace("_", "").isalnum())
        paths += [os.path.join(drops, name) for name in names[:MOST_FILES]]
    except OSError:
        pass
    for path in paths:
        try:
            with open(open_regular(path), "rb") as file:
                yield file.read(MOST_BYTES)
        except OSError:
            continue


def _changed_minutes(now: float) -> set[int]:
    """The minutes of the day that the system's zone skips or repeats in the next two years."""
    found = set()
    for change in coming_changes(None, now, DAYS):
        first, last = change.local
        begin = first.hour * 60 + first.minute
        length = min(MINUTES, int((last - first).total_seconds()) // 60)
        found |= {(begin + each) % MINUTES for each in range(length)}
    return found
