"""What the platform says of a device, as far as a schedule needs it."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@dataclass(frozen=True, slots=True)
class Device:
    """Times are epochs (seconds, UTC)."""

    id: int
    name: str = ""
    state: str = ""
    last_reading_at: float | None = None  #: None: it has never sent anything
    has_postprocessing: bool = False
    latest_postprocessing: float | None = None  #: up to when it is processed; None: not at all
    hardware_url: str | None = None  #: as written: an address, a bare name, empty
    odd: str = ""  #: what of it cannot be understood


def device_of(value: Any) -> Device | None:
    """The device that a JSON value is about; None for one without an id."""
    number = value.get("id") if isinstance(value, dict) else None
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        return None
    odd: list[str] = []

    def date(of: dict[str, Any], key: str) -> float | None:
        try:
            return parse_date(of.get(key))
        except ValueError:
            odd.append(f"{key} is no date: {str(of[key])[:40]!r}")
            return None

    asked = value.get("postprocessing")
    has = isinstance(asked, dict)
    if asked is not None and not has and not _is_nan(asked):
        odd.append("postprocessing is no mapping")
    asked = asked if has else {}
    hardware = asked.get("hardware_url")
    if hardware is not None and not isinstance(hardware, str) and not _is_nan(hardware):
        odd.append("hardware_url is no text")
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


def device_number(text: str) -> int:
    """The number of a device, from a text. Raises StepError."""
    if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text)):
        raise StepError(f"{text!r} is no number of a device")
    return int(text)


def parse_date(value: Any) -> float | None:
    """The epoch of a date as the platform writes it; None for null, NaN and an empty text. Raises ValueError."""
    if value is None or value == "" or _is_nan(value):
        return None
    if not isinstance(value, str):
        raise ValueError("no text")
    from datetime import UTC, datetime

    try:
        at = datetime.fromisoformat(value.strip())
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except OverflowError as error:
        raise ValueError("out of range") from error


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and value != value
