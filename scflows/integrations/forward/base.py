"""Take messages at one place and bring them to another: the contract of both ends.

Whatever a source gives is acknowledged there, in order, once the sink has taken it, or once it lies safely on disk.
"""

from __future__ import annotations

from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Protocol

    class End(Protocol):
        """What both ends have in common. None of these calls waits."""

        name: str  #: for messages: what it is and where

        @property
        def is_up(self) -> bool:
            """Whether it is connected."""

        @property
        def problem(self) -> str:
            """Why it is not."""

        @property
        def longest_wait(self) -> float:
            """Seconds after which it wants to be served in any case."""

        def sockets(self) -> tuple[list[Any], list[Any]]:
            """What to wait for: until these can be read, until those can be written."""

        def serve(self, readable: set[Any], writable: set[Any]) -> None:
            """Read and write what is possible, keep the connection alive, or try to make it again."""

        def close(self) -> None: ...

    class Source(End, Protocol):
        """Where messages come from."""

        def take(self, most: int, most_bytes: int) -> list[Message]:
            """The messages that have come, in order, at most so many, and none after they have so many bytes."""

        def pause(self, paused: bool) -> None:
            """Take in nothing more for now; what is sent meanwhile is kept by whoever sends it."""

        def acknowledge(self, message: Message) -> None:
            """The message is safe. Called for every message, in the order in which they came."""

    class Sink(End, Protocol):
        """Where messages go to."""

        losses: int  #: how often what was on its way was lost, with the connection

        @property
        def window(self) -> int:
            """How many may be on their way at once."""

        def send(self, number: int, message: Outgoing) -> None:
            """Send a message; `answers` tells under its number what became of it."""

        def answers(self) -> Iterable[tuple[int, str]]:
            """The numbers of messages that were taken, each with nothing, or why it was refused for good."""

        def tell_status(self, status: bytes) -> None:
            """Publish the state of the forwarding, as far as the sink has a place for that."""


@dataclass(slots=True)
class Message:
    """What a source gives."""

    topic: str
    payload: bytes
    retain: bool = False
    properties: dict[str, Any] | None = None  #: those of MQTT 5 that make sense elsewhere
    mark: Any = None  #: by which the source knows it again


@dataclass(slots=True)
class Outgoing:
    """What a sink is given."""

    topic: str
    payload: bytes
    retain: bool = False
    properties: dict[str, Any] | None = None


@dataclass(slots=True)
class Dropped:
    """A message that is left out on purpose."""

    why: str
    is_odd: bool = False  #: whether that is worth a warning


@dataclass(slots=True)
class Refused:
    """A message of which nothing could be made."""

    why: str
