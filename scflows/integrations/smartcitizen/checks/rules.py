"""Find the problems of one device from its data. Nothing is fetched or stored here."""

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
#: The checks of a device that cannot be examined further.
AWAY = (STALE, GONE, REFUSED)
SILENT, AHEAD, GAP, BATTERY = "silent", "ahead", "gap", "low-battery"
IMPLAUSIBLE, STUCK, MISSING = "implausible", "stuck", "missing"
#: The checks that need readings.
BY_READINGS = (GAP, STUCK)


@dataclass(frozen=True)
class Problem:
    """One problem of a device."""

    check: str
    message: str
    sensor: int | None = None

    @property
    def key(self) -> str:
        """Return a key that is unique for the device and stays the same while the problem lasts."""
        return self.check if self.sensor is None else f"{self.check}:{self.sensor}"


@dataclass(frozen=True)
class Sensor:
    """A sensor of a device. Times are epochs."""

    id: int
    label: str
    limits: SensorLimits | None
    value: float | None = None
    last: float | None = None


@dataclass
class Subject:
    """A device to examine."""

    id: int
    name: str
    last: float | None
    sensors: list[Sensor]
    since: float | None = None  #: when it was created
    odd: str = ""  #: why it cannot be examined
    odd_sensors: str = ""  #: why its sensors cannot be examined
    readings: Mapping[int, Sequence[Reading]] | None = None  #: of the window; None if not fetched
    absent: Sequence[str] | None = None  #: missing sensors that its blueprint needs; None if unknown
    known_problems: frozenset[str] = field(default_factory=frozenset)  #: keys of earlier problems


def subject_of(known: Mapping[str, Any], thresholds: Thresholds) -> Subject:
    """Return a device from its JSON; invalid values are treated as missing."""
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
        subject.odd = f"last_reading_at is not a date: {str(written)[:40]!r}"
    if not isinstance(listed, list):
        subject.odd_sensors = "the response of the platform has no list of sensors"
    elif len(numbered) < len(listed):
        subject.odd_sensors = f"{len(listed) - len(numbered)} of its {len(listed)} sensors have no number"
    return subject


def is_away(subject: Subject, thresholds: Thresholds, now: float) -> bool:
    """Return True if it has not published for too long."""
    hours = thresholds.device.stale_hours
    if hours is None or subject.last is None:
        return hours is not None
    last = _published(subject, thresholds, now)
    return last is not None and last < now - hours * HOUR


def _published(subject: Subject, thresholds: Thresholds, now: float) -> float | None:
    """Return when it last published; None if unknown.

    If the last reading is in the future, its other sensors and the fetched readings are used instead.
    """
    if subject.last is None or not _is_ahead(subject, thresholds, now):
        return subject.last
    times = [sensor.last for sensor in subject.sensors if sensor.last is not None and sensor.last <= now]
    if subject.readings:
        # Without readings in the window, it last published before it.
        times.append(now - thresholds.device.window_hours * HOUR)
        times += [at / 1000 for found in subject.readings.values() for at, _ in found if at / 1000 <= now]
    return max(times, default=None)


def _is_ahead(subject: Subject, thresholds: Thresholds, now: float) -> bool:
    minutes = thresholds.device.ahead_minutes or 0
    return subject.last is not None and subject.last > now + minutes * MINUTE


def examine(subject: Subject, thresholds: Thresholds, now: float) -> list[Problem]:
    """Return the problems, most important first; for a device that is away only that one."""
    if is_away(subject, thresholds, now):
        last = _published(subject, thresholds, now)
        if subject.last is None or last is None:
            return [Problem(STALE, "never published")]
        but = f", except one that is {_span(subject.last - now)} in the future" if subject.last > now else ""
        return [Problem(STALE, f"no reading for {_span(now - last)}{but}")]
    implausible = list(_implausible(subject))
    # An implausible value that is also stuck counts as one problem.
    stuck = [each for each in _stuck(subject) if all(each.sensor != other.sensor for other in implausible)]
    return [
        *_ahead(subject, thresholds, now),
        *_battery(subject, thresholds),
        *(
            Problem(MISSING, f"{name} is missing, but its blueprint needs it", _number(name))
            for name in subject.absent or ()
        ),
        *_silent(subject, thresholds, now),
        *implausible,
        *stuck,
        *_gaps(subject, thresholds, now),
    ]


def judged(subject: Subject) -> tuple[str, ...]:
    """Return the checks that were possible for a device that is not away."""
    found = [*AWAY, SILENT, AHEAD, BATTERY, IMPLAUSIBLE]
    found += BY_READINGS if subject.readings is not None else ()
    found += (MISSING,) if subject.absent is not None else ()
    return tuple(found)


def battery_of(subject: Subject, thresholds: Thresholds) -> float | None:
    """Return the battery charge in percent; None without a battery."""
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
    # A charge that fluctuates around the limit is reported once.
    least = limits.fine if BATTERY in subject.known_problems and limits.fine is not None else limits.low
    if charge < least:
        yield Problem(BATTERY, f"battery at {charge:g} %")


def _silent(subject: Subject, thresholds: Thresholds, now: float) -> Iterator[Problem]:
    hours, last = thresholds.device.silent_hours, _published(subject, thresholds, now)
    if hours is None or last is None:
        return
    for sensor in _checked(subject):
        if sensor.last is not None and sensor.last < last - hours * HOUR:
            span = _span(last - sensor.last)
            yield Problem(SILENT, f"{sensor.label} has sent nothing for {span}, unlike other sensors", sensor.id)


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
            # The average of equal numbers may differ in the last digits.
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
            continue  # Silent all the time, which is reported separately.
        own = [
            (start, stop)
            for start, stop in _longer([at / 1000 for at, _ in found], begin, end, least)
            # Gaps of all sensors are reported once for the device.
            if not any(start <= first and second <= stop for first, second in all_gaps)
        ]
        if own:
            yield Problem(GAP, f"{sensor.label}: no readings {_spoken(own)}", sensor.id)


def _longer(times: list[float], begin: float, end: float, least: float) -> list[tuple[float, float]]:
    """Return the gaps longer than `least` seconds between the times or to the ends of the window."""
    marks = [begin, *times, end]
    return [(start, stop) for start, stop in pairwise(marks) if stop - start > least]


def _spoken(gaps: list[tuple[float, float]]) -> str:
    from scflows.integrations.smartcitizen.readings import stamp

    start, stop = max(gaps, key=lambda gap: gap[1] - gap[0])
    text = f"for {_span(stop - start)} from {stamp(start)}"
    return text if len(gaps) == 1 else f"{len(gaps)} times, the longest {text}"


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
