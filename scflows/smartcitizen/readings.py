"""The readings of a sensor as the platform has stored them: none left out, none made an average of."""

from __future__ import annotations

from scflows.errors import Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from scflows.smartcitizen.client import Client

    #: When (epoch, in milliseconds) and what.
    Reading = tuple[int, float | None]

#: How many readings are asked for at once. The platform gives up on a request after 20 seconds.
AT_ONCE = 10_000


def stored_readings(client: Client, device: int, sensor: int, begin: int, end: int) -> Iterator[Reading]:
    """The readings from `begin` to before `end` (epochs), each as it is stored, oldest first.

    Raises what `Client.api` does, and Unreachable for an answer that is none.

    Two readings of a sensor are at least a second apart, since times are whole seconds: rolled up by the second they
    are what they were. The platform's limit counts what is stored, from the oldest on; so the next readings are asked
    for from where the last ones end, until there are no more.
    """
    while begin < end:
        found = _asked(client, device, sensor, begin, end - 1, "1s", AT_ONCE)
        if not found:
            return
        if found[0][0] < begin * 1000 or found[-1][0] >= end * 1000:
            raise Unreachable(f"sensor {sensor} of device {device}: readings of another time than was asked for")
        yield from found
        begin = found[-1][0] // 1000 + 1


def rolled_readings(client: Client, device: int, sensor: int, begin: int, end: int, rollup: str) -> list[Reading]:
    """Averages over intervals such as `1m`, oldest first. Raises the same."""
    found = _asked(client, device, sensor, begin, end, rollup, None)
    # An interval may have begun before.
    return [each for each in found if begin * 1000 <= each[0] <= end * 1000]


def _asked(
    client: Client, device: int, sensor: int, begin: int, end: int, rollup: str, limit: int | None
) -> list[Reading]:
    from urllib.parse import urlencode

    query = {"sensor_id": sensor, "rollup": rollup, "function": "avg", "from": stamp(begin), "to": stamp(end)}
    if limit is not None:
        query["limit"] = limit
    answer = client.api(f"devices/{device}/readings?{urlencode(query)}")
    listed = answer.get("readings") if isinstance(answer, dict) else None
    if not isinstance(listed, list):
        # So faults of the platform's own storage look: status 200, and no readings.
        told = answer.get("message") if isinstance(answer, dict) else None
        raise Unreachable(f"sensor {sensor} of device {device}: the answer has no readings{_told(told)}")
    try:
        found = {_time(each[0]): _number(each[1]) for each in listed}
    except (ValueError, TypeError, LookupError) as error:
        raise Unreachable(f"sensor {sensor} of device {device}: a reading that is none: {error}") from error
    return sorted(found.items())


def stamp(epoch: float) -> str:
    """A time as the platform writes it: UTC, whole seconds."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _told(message: Any) -> str:
    return f": {message[:100]}" if isinstance(message, str) else ""


def _time(text: Any) -> int:
    from datetime import UTC, datetime

    at = datetime.fromisoformat(text)
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value - value != 0:
        raise ValueError(f"{str(value)[:40]!r} is no number")
    return float(value)
