"""The readings of a sensor as the platform has stored them: none left out, none made an average of."""

from __future__ import annotations

from scflows.errors import Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from scflows.integrations.smartcitizen.client import Client

    #: When (epoch, in milliseconds) and what.
    Reading = tuple[int, float | None]

#: How many readings are asked for at once. The platform gives up on a request after 20 seconds.
AT_ONCE = 10_000


def stored_readings(
    client: Client, device: int, sensor: int, begin: int, end: int, odd: list[str] | None = None
) -> Iterator[Reading]:
    """The readings from `begin` to before `end` (epochs), each as it is stored, oldest first.

    What is no number is None, and is added to `odd` as it stands. Raises what `Client.api` does, and Unreachable for
    an answer that is none.

    Two readings of a sensor are at least a second apart, since times are whole seconds: rolled up by the second they
    are what they were. The platform's limit counts what is stored, from the oldest on; so the next readings are asked
    for from where the last ones end, until there are no more.
    """
    while begin < end:
        found = _asked(client, device, sensor, begin, end - 1, "1s", AT_ONCE, odd)
        if not found:
            return
        if found[0][0] < begin * 1000 or found[-1][0] >= end * 1000:
            raise Unreachable(f"sensor {sensor} of device {device}: readings of another time than was asked for")
        yield from found
        begin = found[-1][0] // 1000 + 1


def rolled_readings(client: Client, device: int, sensor: int, begin: int, end: int, rollup: str) -> list[Reading]:
    """Averages over intervals such as `1m`, oldest first. Raises the same."""
    found = _asked(client, device, sensor, begin, end, rollup, None, None)
    # An interval may have begun before.
    return [each for each in found if begin * 1000 <= each[0] <= end * 1000]


def _asked(
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
        # So faults of the platform's own storage look: status 200, and no readings.
        told = answer.get("message") if isinstance(answer, dict) else None
        raise Unreachable(f"sensor {sensor} of device {device}: the answer has no readings{_told(told)}")
    found: dict[int, float | None] = {}
    try:
        for each in listed:
            at, value = _time(each[0]), _number(each[1])
            if value is None and each[1] is not None and odd is not None:
                odd.append(str(each[1])[:40])
            if value is not None or at not in found:
                found[at] = value
    except (ValueError, TypeError, LookupError, OverflowError) as error:
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
    """None also for what is no number: one such reading must not keep all others from being had."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value - value != 0:
        return None
    try:
        return float(value)
    except OverflowError:
        return None
