"""The thresholds of checks, read from a YAML file."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from scflows.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

#: One year, because every check fetches the readings of the whole window.
LONGEST_WINDOW = 24 * 366
LARGEST = 1e12


@dataclass(frozen=True)
class DeviceLimits:
    """The limits of a device; None means not checked."""

    stale_hours: float | None = 6.0
    silent_hours: float | None = 6.0
    ahead_minutes: float | None = 30.0
    gap_minutes: float | None = 60.0
    window_hours: float = 24.0


@dataclass(frozen=True)
class BatteryLimits:
    sensor: int = 10
    low: float | None = None
    fine: float | None = None  #: from here on it is no longer low (default: `low`)


@dataclass(frozen=True)
class SensorLimits:
    name: str = ""
    min: float | None = None
    max: float | None = None
    stuck_hours: float | None = None


@dataclass(frozen=True)
class Thresholds:
    device: DeviceLimits = DeviceLimits()
    battery: BatteryLimits = BatteryLimits()
    sensors: Mapping[int, SensorLimits] = field(default_factory=dict)
    measurements: Mapping[str, SensorLimits] = field(default_factory=dict)

    def of(self, sensor: int, measurement: str) -> SensorLimits | None:
        """Return the limits of a sensor; None if it is not checked."""
        return self.sensors.get(sensor) or self.measurements.get(measurement.lower())


def read_thresholds(path: str, shown: str) -> Thresholds:
    """Read a file of thresholds. Raises UsageError, beginning with `shown`."""
    from scflows.errors import FlowError
    from scflows.validation import Located

    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise UsageError(f"{shown}: cannot be read: {error.strerror}") from error
    document = Located(content, shown)
    if document.mistakes:
        # For example a duplicate key, of which the last would silently apply.
        raise FlowError(document.mistakes)
    return thresholds_of(document.value, shown)


def thresholds_of(value: Any, shown: str) -> Thresholds:
    """Return the thresholds of a YAML value. Raises UsageError, beginning with `shown`."""
    top = _mapping({} if value is None else value, shown)
    _known(top, Thresholds, shown)
    sensors: dict[int, SensorLimits] = {}
    for key, limits in _mapping(top.get("sensors") or {}, f"{shown}: sensors").items():
        if isinstance(key, bool) or not isinstance(key, int):
            raise UsageError(f"{shown}: sensors: {key!r} is not the number of a sensor")
        sensors[key] = _limits(SensorLimits, limits, f"{shown}: sensors: {key}")
    measurements = {
        str(key).lower(): _limits(SensorLimits, limits, f"{shown}: measurements: {key}")
        for key, limits in _mapping(top.get("measurements") or {}, f"{shown}: measurements").items()
    }
    for where, limits in [*sensors.items(), *measurements.items()]:
        if limits.min is not None and limits.max is not None and limits.min > limits.max:
            raise UsageError(f"{shown}: {where}: min is above max")
    device = _limits(DeviceLimits, top.get("device") or {}, f"{shown}: device")
    if not 0 < device.window_hours <= LONGEST_WINDOW:
        raise UsageError(f"{shown}: device: window_hours must be from 1 to {LONGEST_WINDOW}")
    battery = _limits(BatteryLimits, top.get("battery") or {}, f"{shown}: battery")
    if battery.low is not None and battery.fine is not None and battery.fine < battery.low:
        raise UsageError(f"{shown}: battery: fine must not be below low")
    return Thresholds(device, battery, sensors, measurements)


def _limits(kind: Any, value: Any, where: str) -> Any:
    given = _mapping(value, where)
    _known(given, kind, where)
    for name, each in given.items():
        if name == "name":
            if not isinstance(each, str):
                raise UsageError(f"{where}: {name} must be text")
            continue
        may_be_null = name not in ("sensor", "window_hours")
        is_number = isinstance(each, int | float) and not isinstance(each, bool) and each - each == 0
        if not is_number and not (each is None and may_be_null):
            raise UsageError(f"{where}: {name} must be a number")
        if is_number and (abs(each) > LARGEST or (name == "sensor" and not isinstance(each, int))):
            raise UsageError(f"{where}: {name} cannot be {str(each)[:20]}")
        if each == 0 and name == "stuck_hours":
            raise UsageError(
                f"{where}: {name} must not be 0, because every value would be stuck; use null to disable the check"
            )
        if is_number and each < 0 and name.endswith(("_hours", "_minutes")):
            raise UsageError(f"{where}: {name} must not be below 0")
    return kind(**given)


def _known(given: Mapping[Any, Any], kind: Any, where: str) -> None:
    known = [each.name for each in fields(kind)]
    for name in given:
        if name not in known:
            raise UsageError(f"{where}: unknown key {name!r}; use one of {', '.join(known)}")


def _mapping(value: Any, where: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{where}: must be a mapping")
    return value
