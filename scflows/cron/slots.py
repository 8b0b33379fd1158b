"""The slots of a schedule by the calendar, through every change of the clocks as Debian's cron has it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from scflows.cron.zone import zone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.cron.schedule import Schedule

#: More than the clocks ever jump at once.
JUMP = timedelta(hours=3)


def forward(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """The slots later than `after`, in UTC, in order, without end where the calendar has none."""
    from cronsim import CronSim

    place = zone(schedule.timezone)
    # cronsim names a repeated hour by its clock time alone: begin before it and leave out the past.
    last = after
    for local in CronSim(schedule.cron, (after - JUMP).astimezone(place)):
        moment = local.astimezone(UTC)
        if moment > last and _is_day(schedule, local):
            last = moment
            yield moment


def newest(schedule: Schedule, at: datetime) -> datetime | None:
    """The newest slot up to `at`, in UTC; None if there is none within fifty years."""
    from cronsim import CronSim

    place: tzinfo = zone(schedule.timezone)
    start = at.replace(microsecond=0) + JUMP + timedelta(seconds=1)
    for local in CronSim(schedule.cron, start.astimezone(place), reverse=True):
        moment = local.astimezone(UTC)
        if moment <= at and _is_day(schedule, local):
            return moment
    return None


def _is_day(schedule: Schedule, local: datetime) -> bool:
    """Whether a schedule of every N days has its turn on this date."""
    days = schedule.every_days
    return not days or (local.toordinal() - _FIRST_DAY) % days == schedule.anchor // 86400


_FIRST_DAY = datetime(1970, 1, 1).toordinal()
