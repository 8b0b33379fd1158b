"""Fetch the stored readings of a sensor, complete and not averaged."""

from __future__ import annotations

from scflows.errors import Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from scflows.integrations.smartcitizen.client import Client

    #: Time (epoch, in milliseconds) and value.
    Reading = tuple[int, float | None]

#: The maximum number of readings per request. The platform gives up on a request after 20 seconds.
BATCH = 10_000


def stored_readings(
    client: Client, device: int, sensor: int, begin: int, end: int, odd: list[str] | None = None
) -> Iterator[Reading]:
    """Yield the stored readings from `begin` until before `end` (epochs), oldest first.

    A value that is not a number becomes None and is added to `odd` as text. Raises the errors of `Client.api`, and
    Unreachable for an invalid response.

    Readings of a sensor are at least a second apart, so a rollup of one second does not change them. The platform's
    limit counts from the oldest reading, so each request starts where the last one ended.
    """
    while begin < end:
        found = _fetch(client, device, sensor, begin, end - 1, "1s", BATCH, odd)
        if not found:
            return
        if found[0][0] < begin * 1000 or found[-1][0] >= end * 1000:
            raise Unreachable(f"sensor {sensor} of device {device}: the readings are not from the requested time")
        yield from found
        begin = found[-1][0] // 1000 + 1


def rolled_readings(client: Client, device: int, sensor: int, begin: int, end: int, rollup: str) -> list[Reading]:
    """Return averages over intervals such as `1m`, oldest first. Raises the same errors."""
    found = _fetch(client, device, sensor, begin, end, rollup, None, None)
    # The first interval may begin earlier.
    return [each for each in found if begin * 1000 <= each[0] <= end * 1000]


def _fetch(
    client: Client,
    device: int,
    sensor: int,
    begin: int,
    end: int,
    rollup: str,
    limit: int | None,
    odd: list[str] | None,
) -> list[Reading]:
    from urllib.parse import urlencode

    query = {"sensor_id": sensor, "rollup": rollup, "function": "avg", "from": stamp(begin), "to": stamp(end)}
    if limit is not None:
        query["limit"] = limit
    answer = client.api(f"devices/{device}/readings?{urlencode(query)}")
    listed = answer.get("readings") if isinstance(answer, dict) else None
    if not isinstance(listed, list):
        # Failures of the platform's storage look like this: status 200 without readings.
        message = answer.get("message") if isinstance(answer, dict) else None
        raise Unreachable(f"sensor {sensor} of device {device}: the response has no readings{_suffix(message)}")
    found: dict[int, float | None] = {}
    try:
        for each in listed:
            at, value = _time(each[0]), _number(each[1])
            if value is None and each[1] is not None and odd is not None:
                odd.append(str(each[1])[:40])
            if value is not None or at not in found:
                found[at] = value
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        raise Unreachable(f"sensor {sensor} of device {device}: invalid reading: {error}") from error
    return sorted(found.items())


def stamp(epoch: float) -> str:
    """Format a time like the platform: UTC, in seconds."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _suffix(message: Any) -> str:
    return f": {message[:100]}" if isinstance(message, str) else ""


def _time(text: Any) -> int:
    from datetime import UTC, datetime

    at = datetime.fromisoformat(text)
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _number(value: Any) -> float | None:
    """Return a number; None for other values, so that one of them does not make all readings fail."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value - value != 0:
        return None
    try:
        return float(value)
    except OverflowError:
        return None
