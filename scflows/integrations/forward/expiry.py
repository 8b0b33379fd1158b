"""The expiry of messages: in MQTT 5 a number of seconds, from which each broker subtracts the time it kept them."""

from __future__ import annotations

import math
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Our property in place of `MessageExpiryInterval`: the time of expiry (since the epoch) and the original seconds.
EXPIRES = "Expires"


def expiry(seconds: int) -> list[float]:
    """Return the value of EXPIRES for a message that arrives now."""
    return [time.time() + seconds, seconds]


def seconds_left(properties: dict[str, Any] | None) -> int | None:
    """Return the seconds until a message expires, 0 if it has; None if it does not expire."""
    if not properties or EXPIRES not in properties:
        return None
    moment: float
    seconds: float
    moment, seconds = properties[EXPIRES]
    # If the clock is set back, the message must not live longer than originally allowed.
    return max(0, min(int(seconds), math.ceil(moment - time.time())))
