"""The contract of the two ends of a forwarding: a source and a sink.

Each message is acknowledged to its source, in order, once the sink has accepted it or once it is safely on disk.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Protocol

    class End(Protocol):
        """The common part of both ends. None of these calls blocks."""

        name: str  #: type and address, for messages

        @property
        def is_up(self) -> bool:
            """Return True if it is connected."""

        @property
        def problem(self) -> str:
            """Return why it is not connected."""

        @property
        def longest_wait(self) -> float:
            """Return the seconds after which `serve` must be called in any case."""

        def sockets(self) -> tuple[list[Any], list[Any]]:
            """Return the sockets to wait for, as (for reading, for writing)."""

        def serve(self, readable: set[Any], writable: set[Any]) -> None:
            """Read and write what is possible; keep the connection alive or try to restore it."""

        def close(self) -> None: ...

    class Source(End, Protocol):
        """The end that messages come from."""

        def take(self, max_messages: int, max_bytes: int) -> list[Message]:
            """Return received messages in order, up to `max_messages`, and no more once they exceed `max_bytes`."""

        def pause(self, paused: bool) -> None:
            """Stop or resume receiving; meanwhile the broker keeps the messages."""

        def acknowledge(self, message: Message) -> None:
            """Acknowledge a message that is safe; called for every message in the order of arrival."""

    class Sink(End, Protocol):
        """The end that messages go to."""

        losses: int  #: how often messages in flight were lost with the connection

        @property
        def window(self) -> int:
            """Return how many messages may be in flight at the same time."""

        def send(self, number: int, message: Outgoing) -> None:
            """Send a message; `answers` returns its result with this number."""

        def answers(self) -> Iterable[tuple[int, str]]:
            """Return the numbers of finished messages, each with an empty text or the reason of a permanent refusal."""

        def publish_status(self, status: bytes) -> None:
            """Publish the state of the forwarding, if the sink supports that."""


#: The expiry of a message: in MQTT 5 a number of seconds, from which each broker subtracts the time it kept it.
#: Our property in place of `MessageExpiryInterval`: the time of expiry (since the epoch) and the original seconds.
EXPIRES = "Expires"


@dataclass(slots=True)
class Outgoing:
    """A message for a sink."""

    topic: str
    payload: bytes
    retain: bool = False
    properties: dict[str, Any] | None = None  #: the MQTT 5 properties to pass on


@dataclass(slots=True)
class Message(Outgoing):
    """A message from a source."""

    mark: Any = None  #: identifies it to the source


@dataclass(slots=True)
class Dropped:
    """The reason why a message is dropped on purpose."""

    reason: str
    is_unexpected: bool = False  #: whether to warn about it


@dataclass(slots=True)
class Refused:
    """The reason why a message cannot be forwarded."""

    reason: str


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
