"""Check devices: the problems of each, and which of them are new."""

from __future__ import annotations

from dataclasses import dataclass, field

from scflows.errors import NotFound, Refused, ScflowsError, Unreachable
from scflows.integrations.smartcitizen.checks.blueprint import Blueprints
from scflows.integrations.smartcitizen.checks.rules import (
    AWAY,
    GONE,
    HOUR,
    REFUSED,
    Problem,
    Subject,
    battery_of,
    examine,
    is_away,
    judged,
    subject_of,
)
from scflows.integrations.smartcitizen.readings import rolled_readings, stamp
from scflows.integrations.smartcitizen.search import PROCESSING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from scflows.integrations.smartcitizen.checks.last_results import Memory
    from scflows.integrations.smartcitizen.checks.thresholds import Thresholds
    from scflows.integrations.smartcitizen.client import Client
    from scflows.settings import Settings

#: The states of a device.
OK, PROBLEM, STALE, UNKNOWN = "ok", "problem", "stale", "unknown"
ROLLUP = "1m"
#: The maximum number of devices to fetch one by one.
FEW = 3
#: The number of consecutive failures after which no more devices are requested.
MOST_AWAY = 3


@dataclass
class Found:
    """The result for a device. Times are epochs."""

    device: int
    name: str = ""
    state: str = OK
    problems: list[Problem] = field(default_factory=list)
    news: list[Problem] = field(default_factory=list)  #: the new problems
    recovered: list[str] = field(default_factory=list)  #: messages of problems that are over
    since: dict[str, str] = field(default_factory=dict)  #: the start of each problem, by its key
    last: float | None = None
    battery: float | None = None
    notes: list[str] = field(default_factory=list)  #: what could not be checked

    def item(self) -> dict[str, Any]:
        """Return the result as JSON."""
        new = {problem.key for problem in self.news}
        return {
            "device": self.device,
            "name": self.name,
            "state": self.state,
            "problems": [
                {
                    "check": each.check,
                    "sensor": each.sensor,
                    "message": each.message,
                    "since": self.since.get(each.key),
                    "is_new": each.key in new,
                }
                for each in self.problems
            ],
            "recovered": self.recovered,
            "last_reading_at": None if self.last is None else stamp(self.last),
            "battery": self.battery,
            "notes": self.notes,
        }


def run_checks(
    numbers: Iterable[int],
    client: Client,
    thresholds: Thresholds,
    now: float,
    memory: Memory | None = None,
    with_readings: bool = True,
    report: Callable[[str, int, int], None] = lambda text, done, count: None,
) -> list[Found]:
    """Check devices and return the results by number. With a memory, new problems are marked and the memory is updated.

    `with_readings` fetches the readings of each checked sensor, with one request each, to find gaps and stuck values.
    Raises Unreachable if the platform does not respond, Refused for an invalid token.
    """
    blueprints = Blueprints(client, now)
    found = []
    for number, known in devices_told(client, numbers, report):
        if isinstance(known, ScflowsError):
            found.append(_not_shown(number, known, now, memory))
            continue
        subject = subject_of(known, thresholds)
        before = memory.problems(number) if memory is not None else {}
        subject.known_problems = frozenset(before)
        each = Found(number, subject.name, last=subject.last, battery=battery_of(subject, thresholds))
        found.append(each)
        if subject.odd:
            each.state = UNKNOWN
            each.notes.append(subject.odd)
            continue
        if not is_away(subject, thresholds, now):
            if subject.odd_sensors:
                each.state = UNKNOWN
                each.notes.append(subject.odd_sensors)
                continue
            try:
                subject.absent = blueprints.absent(known)
            except (NotFound, Refused, Unreachable) as error:
                each.notes.append(str(error))
            if with_readings and not _read(subject, client, thresholds, now, each.notes):
                each.state = UNKNOWN
        problems = examine(subject, thresholds, now)
        _compare(each, problems, judged(subject), now, memory)
        if each.state != UNKNOWN or each.problems:
            each.state = _state(each.problems)
    return sorted(found, key=lambda each: each.device)


def summary(found: Iterable[Found], only_news: bool = False) -> str:
    """Return the problems in one line."""
    lines = []
    for each in found:
        problems = each.news if only_news else each.problems
        if problems:
            lines.append(f"{each.device}: {', '.join(problem.message for problem in problems)}")
    return "; ".join(lines[:10]) + (f"; and {len(lines) - 10} more devices" if len(lines) > 10 else "")


def _read(subject: Subject, client: Client, thresholds: Thresholds, now: float, notes: list[str]) -> bool:
    """Fetch the readings of all checked sensors; return False if that fails."""
    begin = int(now - thresholds.device.window_hours * HOUR)
    readings = {}
    try:
        for sensor in subject.sensors:
            if sensor.limits is not None:
                readings[sensor.id] = rolled_readings(client, subject.id, sensor.id, begin, int(now), ROLLUP)
    except (NotFound, Refused, Unreachable) as error:
        notes.append(str(error))
        return False
    subject.readings = readings
    return True


def _not_shown(number: int, error: ScflowsError, now: float, memory: Memory | None) -> Found:
    found = Found(number)
    if isinstance(error, Unreachable):
        found.state = UNKNOWN
        found.notes.append(str(error))
        return found
    check = GONE if isinstance(error, NotFound) else REFUSED
    message = "no longer on the platform" if check == GONE else "the platform does not show it"
    _compare(found, [Problem(check, message)], AWAY, now, memory)
    found.state = PROBLEM
    return found


def _compare(found: Found, problems: list[Problem], checks: tuple[str, ...], now: float, memory: Memory | None) -> None:
    """Mark new and resolved problems. Problems that could not be checked stay unchanged."""
    found.problems = problems
    if memory is None:
        return
    before = memory.problems(found.device)
    is_away = any(problem.check in AWAY for problem in problems)
    remaining = {}
    for key, entry in before.items():
        check = key.partition(":")[0]
        if check not in checks or (is_away and check not in AWAY):
            remaining[key] = entry
        elif all(problem.key != key for problem in problems):
            found.recovered.append(str(entry.get("message") or key))
    for problem in problems:
        if problem.key in before:
            remaining[problem.key] = {**before[problem.key], "message": problem.message}
        else:
            found.news.append(problem)
            remaining[problem.key] = {"since": stamp(now), "message": problem.message}
        found.since[problem.key] = str(remaining[problem.key].get("since"))
    memory.keep(found.device, remaining)


def _state(problems: list[Problem]) -> str:
    if not problems:
        return OK
    return STALE if any(problem.check == "stale" for problem in problems) else PROBLEM


def scheduled_devices(settings: Settings) -> list[int]:
    """Return the devices that have any task on this machine."""
    from scflows.cron.task import TaskStore

    found = set()
    for task in TaskStore(settings).read_all()[0]:
        number = str(task.params.get("device", ""))
        if number.isascii() and number.isdigit() and int(number):
            found.add(int(number))
    return sorted(found)


def devices_told(
    client: Client, numbers: Iterable[int], report: Callable[[str, int, int], None]
) -> Iterator[tuple[int, dict[str, Any] | ScflowsError]]:
    """Yield the JSON of each device, or the error; `report` gets the progress.

    Fetches pages of a hundred devices if that takes fewer requests, and the rest one by one. Raises Unreachable if the
    platform does not respond, Refused for an invalid token.
    """
    missing = dict.fromkeys(numbers)
    count = len(missing)
    if count > FEW:
        for number, page in enumerate(client.pages("devices", PROCESSING), 1):
            for each in page.items:
                id = each.get("id") if isinstance(each, dict) else None
                if id in missing:
                    del missing[id]
                    yield id, each
            report("devices", count - len(missing), count)
            if page.pages is not None and page.pages - number > len(missing):
                break
    away = 0
    for done, id in enumerate(list(missing), count - len(missing) + 1):
        try:
            if away >= MOST_AWAY:
                raise Unreachable("not requested, because the platform does not respond")
            known = client.api(f"devices/{id}")
            away = 0
            if not isinstance(known, dict) or known.get("id") != id:
                raise Unreachable(f"the response of the platform for {id} is not a device")
            yield id, known
        except (NotFound, Refused, Unreachable) as error:
            away += isinstance(error, Unreachable)
            if count == away:
                raise
            yield id, error
        report("devices", done, count)
