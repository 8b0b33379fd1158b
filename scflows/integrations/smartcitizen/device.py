"""A device of the platform, with the properties that scheduling needs."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Create a task · leave an existing task unchanged · remove an existing task.
SCHEDULE, LEAVE, REMOVE = "schedule", "leave", "remove"


@dataclass(frozen=True, slots=True)
class Device:
    """A device. Times are epochs (seconds, UTC)."""

    id: int
    name: str = ""
    state: str = ""
    last_reading_at: float | None = None  #: None: it has never published
    has_postprocessing: bool = False
    latest_postprocessing: float | None = None  #: how far it is processed; None: never
    hardware_url: str | None = None  #: as written: an address, a bare name, empty
    odd: str = ""  #: why some of its data is invalid


def device_of(value: Any) -> Device | None:
    """Return the device of a JSON value; None if it has no id."""
    number = value.get("id") if isinstance(value, dict) else None
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        return None
    odd: list[str] = []

    def date(of: dict[str, Any], key: str) -> float | None:
        try:
            return parse_date(of.get(key))
        except ValueError:
            odd.append(f"{key} is not a date: {str(of[key])[:40]!r}")
            return None

    asked = value.get("postprocessing")
    has = isinstance(asked, dict)
    if asked is not None and not has and not _is_nan(asked):
        odd.append("postprocessing is not a mapping")
    asked = asked if has else {}
    hardware = asked.get("hardware_url")
    if hardware is not None and not isinstance(hardware, str) and not _is_nan(hardware):
        odd.append("hardware_url is not text")
    return Device(
        id=number,
        name=str(value.get("name") or ""),
        state=str(value.get("state") or ""),
        last_reading_at=date(value, "last_reading_at"),
        has_postprocessing=has,
        latest_postprocessing=date(asked, "latest_postprocessing"),
        hardware_url=hardware if isinstance(hardware, str) else None,
        odd="; ".join(odd),
    )


def decide_processing(device: Device, hardware_problem: str) -> tuple[str, str]:
    """Return the decision for a device in the search for processing, and the reason."""
    if not device.has_postprocessing:
        return (LEAVE, device.odd) if device.odd else (REMOVE, "has no processing")
    if hardware_problem:
        # It may be an outage of the file host, so the task is never removed for this reason.
        return LEAVE, hardware_problem
    if device.odd:
        return LEAVE, device.odd
    if device.last_reading_at is None:
        return REMOVE, "has never published"
    if device.latest_postprocessing is None:
        return SCHEDULE, "never processed"
    if device.latest_postprocessing > device.last_reading_at:
        return REMOVE, "nothing new"
    return SCHEDULE, "new readings"


def decide_backup(device: Device) -> tuple[str, str]:
    """Return the decision for a device in the search for backups, and the reason."""
    if device.last_reading_at is not None:
        return SCHEDULE, "has published"
    return (LEAVE, device.odd) if device.odd else (REMOVE, "has never published")


def device_number(text: str) -> int:
    """Parse the number of a device. Raises StepError."""
    if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text)):
        raise StepError(f"{text!r} is not a device number")
    return int(text)


def parse_date(value: Any) -> float | None:
    """Parse a date of the platform and return its epoch; None for null, NaN and empty text. Raises ValueError."""
    if value is None or value == "" or _is_nan(value):
        return None
    if not isinstance(value, str):
        raise ValueError("not text")
    from datetime import UTC, datetime

    try:
        at = datetime.fromisoformat(value.strip())
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except OverflowError as error:
        raise ValueError("out of range") from error


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and value != value
