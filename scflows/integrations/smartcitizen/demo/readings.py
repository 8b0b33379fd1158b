"""Parse times and roll up readings like the platform."""

from __future__ import annotations

from scflows.integrations.smartcitizen.readings import stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "M": 30 * 86400, "y": 365 * 86400}
FUNCTIONS: dict[str, Callable[[list[float]], float]] = {
    "avg": lambda values: sum(values) / len(values),
    "min": min,
    "max": max,
    "sum": sum,
    "count": len,
}


def read_time(text: str) -> int:
    """Return the epoch of a time; without an offset it is UTC. Raises ValueError."""
    from datetime import UTC, datetime

    # An unescaped plus arrives as a space.
    if len(text) > 6 and text[-3] == ":" and text[-6] == " ":
        text = f"{text[:-6]}+{text[-5:]}"
    at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


def rolled_up(readings: Iterable[tuple[int, float]], rollup: str, function: str) -> list[list[Any]]:
    """One value for each interval that has readings, at the time of its first one; oldest first.

    Raises ValueError for a rollup or function that there is not.
    """
    number, unit = rollup[:-1], rollup[-1:]
    if unit not in UNITS or not number.isdigit() or not int(number) or function not in FUNCTIONS:
        raise ValueError(f"rollup {rollup!r}, function {function!r}")
    width = int(number) * UNITS[unit]
    found: list[tuple[int, int, list[float]]] = []
    for at, value in readings:
        if found and found[-1][0] == at // width:
            found[-1][2].append(value)
        else:
            found.append((at // width, at, [value]))
    return [[stamp(at), round(FUNCTIONS[function](values), 4)] for _, at, values in found]
