"""The slots of a schedule by the calendar, through every change of the clocks as Debian's cron has it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from scflows.cron.zone import zone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: One of every so many days: how many, and which of them, counted from the first day of the epoch.
Turn = tuple[int, int]
FIRST_DAY = date(1970, 1, 1).toordinal()
#: More than the clocks ever jump at once.
JUMP = timedelta(hours=3)


def forward(cron: str, timezone: str | None, turn: Turn | None, after: datetime) -> Iterator[datetime]:
    """The slots later than `after`, in UTC, in order, without end where the calendar has none."""
    from cronsim import CronSim

    place = zone(timezone)
    # cronsim names a repeated hour by its clock time alone: begin before it and leave out the past.
    last = after
    for local in CronSim(cron, (after - JUMP).astimezone(place)):
        moment = local.astimezone(UTC)
        if moment > last and _is_turn(turn, local):
            last = moment
            yield moment


def newest(cron: str, timezone: str | None, turn: Turn | None, at: datetime) -> datetime | None:
    """The newest slot up to `at`, in UTC; None if there is none within fifty years."""
    from cronsim import CronSim

    place = zone(timezone)
    start = at.replace(microsecond=0) + JUMP + timedelta(seconds=1)
    for local in CronSim(cron, start.astimezone(place), reverse=True):
        moment = local.astimezone(UTC)
        if moment <= at and _is_turn(turn, local):
            return moment
    return None


def _is_turn(turn: Turn | None, local: datetime) -> bool:
    """Whether this date is one of every so many days."""
    return turn is None or (local.toordinal() - FIRST_DAY) % turn[0] == turn[1]
