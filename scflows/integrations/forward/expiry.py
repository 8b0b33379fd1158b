"""When a message is worth nothing any more: MQTT 5 gives it seconds, of which each broker takes off what it kept it."""

from __future__ import annotations

import math
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: The property of ours that stands for `MessageExpiryInterval`: the moment (since the epoch) and the seconds.
EXPIRES = "Expires"


def noted(seconds: int) -> list[float]:
    """The value of EXPIRES for a message that comes now."""
    return [time.time() + seconds, seconds]


def left(properties: dict[str, Any] | None) -> int | None:
    """How many seconds a message has left, 0 for none; None for one that does not expire."""
    if not properties or EXPIRES not in properties:
        return None
    moment: float
    seconds: float
    moment, seconds = properties[EXPIRES]
    # A clock that was set back must not make it live longer than it was given.
    return max(0, min(int(seconds), math.ceil(moment - time.time())))
