"""What is wrong with one device, from what the platform says of it. Asks nobody, remembers nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from scflows.integrations.smartcitizen.device import parse_date

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from scflows.integrations.smartcitizen.checks.thresholds import SensorLimits, Thresholds
    from scflows.integrations.smartcitizen.readings import Reading

HOUR, MINUTE = 3600.0, 60.0
STALE, GONE, REFUSED = "stale", "gone", "refused"
#: Of a device that cannot be looked at any further.
AWAY = (STALE, GONE, REFUSED)
SILENT, AHEAD, GAP, BATTERY, IMPLAUSIBLE, STUCK, MISSING = (
    "silent",
    "ahead",
    "gap",
    "low-battery",
    "implausible",
    "stuck",
    "missing",
)
#: Those for which readings are asked for.
BY_READINGS = (GAP, STUCK)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    check: str
    message: str
    sensor: int | None = None

    @property
    def key(self) -> str:
        """Tells it from the device's other problems, and stays the same while it lasts."""
        return self.check if self.sensor is None else f"{self.check}:{self.sensor}"


@dataclass(frozen=True)
class Sensor:
    """A sensor of a device, as the platform shows it. Times are epochs."""

    id: int
    label: str
    limits: SensorLimits | None
    value: float | None = None
    last: float | None = None


@dataclass
class Subject:
    """A device that is examined."""

    id: int
    name: str
    last: float | None
    sensors: list[Sensor]
    since: float | None = None  #: when the platform made it
    odd: str = ""  #: why nothing can be said of it
    odd_sensors: str = ""  #: why nothing can be said of its sensors
    readings: Mapping[int, Sequence[Reading]] | None = None  #: of the window; None where they were not asked for
    absent: Sequence[str] | None = None  #: sensors its blueprint needs and it has not; None where nobody knows
    told: frozenset[str] = field(default_factory=frozenset)  #: keys of the problems it had


def subject_of(known: Mapping[str, Any], thresholds: Thresholds) -> Subject:
    """A device from its JSON; what cannot be read of it is as if it were not there."""
    data = known.get("data")
    listed = data.get("sensors") if isinstance(data, dict) else None
    numbered = [
        each
        for each in (listed if isinstance(listed, list) else ())
        if isinstance(each, dict) and isinstance(each.get("id"), int) and not isinstance(each["id"], bool)
    ]
    sensors = [_sensor(each, thresholds) for each in numbered]
    last, written = _date(known.get("last_reading_at")), known.get("last_reading_at")
    subject = Subject(known["id"], str(known.get("name") or ""), last, sensors, _date(known.get("created_at")))
    if last is None and written:
        subject.odd = f"last_reading_at is no date: {str(written)[:40]!r}"
    if not isinstance(listed, list):
        subject.odd_sensors = "what the platform says of it has no list of sensors"
    elif len(numbered) < len(listed):
        subject.odd_sensors = f"{len(listed) - len(numbered)} of its {len(listed)} sensors have no number"
    return subject


def is_away(subject: Subject, thresholds: Thresholds, now: float) -> bool:
    """Whether it has not published for too long."""
    hours = thresholds.device.stale_hours
    if hours is None or subject.last is None:
        return hours is not None
    last = _published(subject, thresholds, now)
    return last is not None and last < now - hours * HOUR


def _published(subject: Subject, thresholds: Thresholds, now: float) -> float | None:
    """When it published last. One reading of the future says nothing of that: then what its other sensors say, and
    the readings of the window where they were asked for; None where nobody can tell."""
    if subject.last is None or not _is_ahead(subject, thresholds, now):
        return subject.last
    told = [sensor.last for sensor in subject.sensors if sensor.last is not None and sensor.last <= now]
    if subject.readings:
        # Nothing at all: before the window, however long.
        told.append(now - thresholds.device.window_hours * HOUR)
        told += [at / 1000 for found in subject.readings.values() for at, _ in found if at / 1000 <= now]
    return max(told, default=None)


def _is_ahead(subject: Subject, thresholds: Thresholds, now: float) -> bool:
    minutes = thresholds.device.ahead_minutes or 0
    return subject.last is not None and subject.last > now + minutes * MINUTE


def examine(subject: Subject, thresholds: Thresholds, now: float) -> list[Problem]:
    """What is wrong, what matters most first. Of a device that is away only that."""
    if is_away(subject, thresholds, now):
        last = _published(subject, thresholds, now)
        if subject.last is None or last is None:
            return [Problem(STALE, "it has never published")]
        but = f", but for one {_span(subject.last - now)} ahead" if subject.last > now else ""
        return [Problem(STALE, f"no reading for {_span(now - last)}{but}")]
    implausible = list(_implausible(subject))
    # A value that cannot be and stays the same is one thing that is wrong.
    stuck = [each for each in _stuck(subject) if all(each.sensor != other.sensor for other in implausible)]
    return [
        *_ahead(subject, thresholds, now),
        *_battery(subject, thresholds),
        *(
            Problem(MISSING, f"{name} is not there, which its blueprint needs", _number(name))
            for name in subject.absent or ()
        ),
        *_silent(subject, thresholds, now),
        *implausible,
        *stuck,
        *_gaps(subject, thresholds, now),
    ]


def judged(subject: Subject) -> tuple[str, ...]:
    """The checks that could be made of a device that is not away."""
    found = [*AWAY, SILENT, AHEAD, BATTERY, IMPLAUSIBLE]
    found += BY_READINGS if subject.readings is not None else ()
    found += (MISSING,) if subject.absent is not None else ()
    return tuple(found)


def battery_of(subject: Subject, thresholds: Thresholds) -> float | None:
    """Its charge in percent; None for a device without a battery."""
    for sensor in subject.sensors:
        if sensor.id == thresholds.battery.sensor and sensor.value is not None and sensor.value >= 0:
            return sensor.value
    return None


def _ahead(subject: Subject, thresholds: Thresholds, now: float) -> Iterator[Problem]:
    if thresholds.device.ahead_minutes is not None and subject.last and _is_ahead(subject, thresholds, now):
        yield Problem(AHEAD, f"its clock is {_span(subject.last - now)} ahead")


def _battery(subject: Subject, thresholds: Thresholds) -> Iterator[Problem]:
    limits, charge = thresholds.battery, battery_of(subject, thresholds)
    if limits.low is None or charge is None:
        return
    # One that goes to and fro around the limit is told once.
    least = limits.fine if BATTERY in subject.told and limits.fine is not None else limits.low
    if charge < least:
        yield Problem(BATTERY, f"the battery has {charge:g} %")


def _silent(subject: Subject, thresholds: Thresholds, now: float) -> Iterator[Problem]:
    hours, last = thresholds.device.silent_hours, _published(subject, thresholds, now)
    if hours is None or last is None:
        return
    for sensor in _checked(subject):
        if sensor.last is not None and sensor.last < last - hours * HOUR:
            span = _span(last - sensor.last)
            yield Problem(SILENT, f"{sensor.label} sends nothing for {span}, while others do", sensor.id)


def _implausible(subject: Subject) -> Iterator[Problem]:
    for sensor in _checked(subject):
        assert sensor.limits is not None
        low, high = sensor.limits.min, sensor.limits.max
        found = subject.readings.get(sensor.id) if subject.readings is not None else None
        values = [value for _, value in found or () if value is not None]
        if not values:
            values = [sensor.value] if sensor.value is not None else []
        for wrong, limit, word in (
            ([value for value in values if low is not None and value < low], low, "below"),
            ([value for value in values if high is not None and value > high], high, "above"),
        ):
            if wrong:
                worst = min(wrong) if word == "below" else max(wrong)
                count = f", {len(wrong)} of {len(values)} readings" if len(values) > 1 else ""
                yield Problem(IMPLAUSIBLE, f"{sensor.label} {worst:g} is {word} {limit:g}{count}", sensor.id)
                break


def _stuck(subject: Subject) -> Iterator[Problem]:
    for sensor in _checked(subject):
        assert sensor.limits is not None
        hours = sensor.limits.stuck_hours
        found = subject.readings.get(sensor.id) if subject.readings is not None else None
        if hours is None or not found:
            continue
        last_at, last = found[-1]
        if last is None:
            continue
        since = last_at
        for at, value in reversed(found):
            # An average of equal numbers need not be that number to the last bit.
            if value is None or abs(value - last) > 1e-9 * max(1.0, abs(last)):
                break
            since = at
        if (last_at - since) / 1000 >= hours * HOUR:
            yield Problem(STUCK, f"{sensor.label} has been {last:g} for {_span((last_at - since) / 1000)}", sensor.id)


def _gaps(subject: Subject, thresholds: Thresholds, now: float) -> Iterator[Problem]:
    minutes = thresholds.device.gap_minutes
    if minutes is None or not subject.readings:
        return
    least = minutes * MINUTE
    begin, end = now - thresholds.device.window_hours * HOUR, min(now, subject.last or now)
    begin = max(begin, subject.since or begin)
    every = sorted({at / 1000 for found in subject.readings.values() for at, _ in found})
    all_gaps = _longer(every, begin, end, least)
    if all_gaps:
        yield Problem(GAP, f"no readings {_spoken(all_gaps)}")
    for sensor in _checked(subject):
        found = subject.readings.get(sensor.id)
        if found is None or (sensor.last is not None and sensor.last < begin):
            continue  # Silent all the time, which is told as that.
        own = [
            (start, stop)
            for start, stop in _longer([at / 1000 for at, _ in found], begin, end, least)
            # What is missing of all is no fault of one.
            if not any(start <= first and second <= stop for first, second in all_gaps)
        ]
        if own:
            yield Problem(GAP, f"{sensor.label}: no readings {_spoken(own)}", sensor.id)


def _longer(times: list[float], begin: float, end: float, least: float) -> list[tuple[float, float]]:
    """Where nothing is for longer than `least` seconds between two times, or between them and the window's ends."""
    marks = [begin, *times, end]
    return [(start, stop) for start, stop in pairwise(marks) if stop - start > least]


def _spoken(gaps: list[tuple[float, float]]) -> str:
    from scflows.integrations.smartcitizen.readings import stamp

    start, stop = max(gaps, key=lambda gap: gap[1] - gap[0])
    told = f"for {_span(stop - start)} from {stamp(start)}"
    return told if len(gaps) == 1 else f"{len(gaps)} times, the longest {told}"


def _checked(subject: Subject) -> Iterator[Sensor]:
    return (sensor for sensor in subject.sensors if sensor.limits is not None)


def _sensor(each: Mapping[str, Any], thresholds: Thresholds) -> Sensor:
    measured = each.get("measurement")
    measurement = str(measured.get("name") or "") if isinstance(measured, dict) else ""
    limits = thresholds.of(each["id"], measurement)
    value = each.get("value")
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and value - value == 0
    label = (limits.name if limits is not None else "") or measurement or str(each.get("name") or "")
    return Sensor(
        each["id"],
        f"{label} ({each['id']})",
        limits,
        float(value) if is_number and value is not None else None,
        _date(each.get("last_reading_at")),
    )


def _date(value: Any) -> float | None:
    try:
        return parse_date(value)
    except ValueError:
        return None


def _number(name: str) -> int | None:
    digits = name.rpartition("(")[2].rstrip(")")
    return int(digits) if digits.isdigit() else None


def _span(seconds: float) -> str:
    if seconds < 2 * HOUR:
        return f"{seconds / MINUTE:.0f} min"
    return f"{seconds / HOUR:.0f} h" if seconds < 48 * HOUR else f"{seconds / HOUR / 24:.0f} days"
