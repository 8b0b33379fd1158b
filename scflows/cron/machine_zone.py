"""The zone of tasks: that of the machine's cron, found once and kept in the state folder.

Slots, crontab lines and missed slots follow the zone of the C library, so each command and each run sets that first.
`TZ` of a shell, of a job or of a crontab says nothing about cron; only programs that steps start still get it.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from scflows.settings import Settings

#: The file in the state folder.
FILE = "zone"
#: The variable with the `TZ` that the process was given; empty if it had none.
GIVEN = "SCFLOWS_GIVEN_TZ"
LOCALTIME = "/etc/localtime"
LONGEST = 255


def use_kept_zone(state: str) -> bool:
    """Make the kept zone that of this process, or `/etc/localtime` if none is kept; return whether one is."""
    zone = kept_zone(state)
    use_zone(zone)
    return bool(zone)


def use_zone(zone: str) -> None:
    """Make a zone that of this process and of the scflows processes that it starts; empty: `/etc/localtime`."""
    before = os.environ.get("TZ")
    os.environ.setdefault(GIVEN, before or "")
    if (before or "") == zone:
        return
    if zone:
        os.environ["TZ"] = zone
    else:
        del os.environ["TZ"]
    time.tzset()


def given_zone(environment: Mapping[str, str]) -> str:
    """Return the `TZ` that a process was given, for the programs that it starts."""
    given = environment.get(GIVEN)
    return environment.get("TZ", "") if given is None else given


def kept_zone(state: str) -> str:
    """Return the zone that is kept; empty if there is none, or its file is damaged."""
    try:
        descriptor = os.open(os.path.join(state, FILE), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        zone = os.read(descriptor, LONGEST + 1).decode("ascii", "replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)
    return zone[:-1] if zone[-1:] == "\n" and _is_zone(zone[:-1]) else ""


def keep_zone(settings: Settings, zone: str = "") -> None:
    """Keep a zone, by default the machine's unless one is kept already. Raises OSError, UsageError."""
    if not zone and kept_zone(settings.state_path):
        return
    from scflows.storage import replace

    zone = zone or find_zone(settings)
    replace(os.path.join(settings.state_path, FILE), zone.encode() + b"\n", mode=0o600)


def find_zone(settings: Settings, proc: str = "/proc", pid: int = 0) -> str:
    """Return the zone of the machine's cron: `CRON_TIMEZONE`, `TZ` of its process, otherwise `/etc/localtime`.

    `pid` is its process, if known. Raises UsageError if `CRON_TIMEZONE` is not a zone.
    """
    if settings.cron_timezone:
        return _checked(settings.cron_timezone)
    if not pid:
        from scflows.cron.daemon import find_daemon
        from scflows.cron.scheduler_lock import scheduler

        found = scheduler(settings) or find_daemon(proc)
        pid = 0 if found is None else found.pid
    return (_zone_of_process(pid, proc) if pid else "") or local_zone()


def is_same_zone(one: str, other: str) -> bool:
    """Return whether clocks in two zones always show the same in the coming year."""
    if one == other:
        return True
    from datetime import UTC, datetime, timedelta

    from scflows.cron.schedule.zones import zone
    from scflows.errors import UsageError

    try:
        places = zone(one), zone(other)
    except UsageError:
        return False  # Rules or a path instead of a name.
    noon = datetime.now(UTC).replace(hour=12)
    days = (noon + timedelta(days=day) for day in range(366))
    return all(day.astimezone(places[0]).utcoffset() == day.astimezone(places[1]).utcoffset() for day in days)


def local_zone() -> str:
    """Return the zone of `/etc/localtime`."""
    path = os.path.realpath(LOCALTIME)
    name = path.partition("zoneinfo/")[2]
    if name and _is_zone(name):
        return name
    return LOCALTIME if os.path.isfile(path) else "UTC"


def _zone_of_process(pid: int, proc: str) -> str:
    if pid == os.getpid():
        return given_zone(os.environ)
    try:
        with open(os.path.join(proc, str(pid), "environ"), "rb") as file:
            variables = file.read().split(b"\0")
    except OSError:
        return ""  # It is another user's.
    zones = [each[3:].decode("ascii", "replace").lstrip(":") for each in variables if each.startswith(b"TZ=")]
    return zones[0] if zones and _is_zone(zones[0]) else ""


def _checked(name: str) -> str:
    from scflows.cron.schedule.zones import zone
    from scflows.errors import UsageError

    try:
        zone(name)
    except UsageError as error:
        raise UsageError(f"CRON_TIMEZONE must be a time zone, not {name!r}", error.help) from None
    return name


def _is_zone(text: str) -> bool:
    return 0 < len(text) <= LONGEST and text.isascii() and text.isprintable()
