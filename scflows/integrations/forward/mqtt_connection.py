"""A connection to an MQTT broker that is made again whenever it breaks.

The client library is driven from outside (its `loop_read` and `loop_write`), so that one thread serves both ends:
two threads would spend their time on waiting for each other.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from scflows.connectors.mqtt import new_client
from scflows.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Thread
    from typing import Any

    from scflows.connectors.endpoint import Endpoint

#: Seconds until a broken connection is tried again: doubled each time, up to the second.
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
#: Seconds that making a connection may take.
PATIENCE = 10.0
#: How many packets are read before the other end has its turn.
READ_AT_ONCE = 200
#: How many messages may be on their way.
WINDOW = 200
#: What a message may have at most, in bytes, as a broker of MQTT 5 is told: it does not send us a larger one.
MOST_PACKET = 64 * 2**20
#: Seconds that a broker keeps our session and its messages while we are away: MQTT 5's longest, "for ever".
FOR_EVER = 0xFFFFFFFF


@dataclass(frozen=True)
class MqttEnd:
    """How to reach one end."""

    where: Endpoint
    client_id: str
    protocol: str = "5"
    keepalive: int = 30  #: seconds
    status_topic: str = ""  #: where the state of the forwarding is published, retained


class Link:
    """One connection to a broker, and the next ones after it."""

    def __init__(
        self,
        end: MqttEnd,
        tell: Callable[[str], None],
        prepare: Callable[[Any], None],
        lost: Callable[[], None],
        persistent: bool = False,
        will: bytes = b"",
    ) -> None:
        """`prepare` is given each new client; `lost` is called when one that was connected is gone."""
        self.end = end
        self.is_up = False
        self.problem = "not connected yet"
        self.receive_maximum = 65535
        self.maximum_packet = 0  #: bytes that the broker takes at once; 0 for any number
        self.is_proven = True  #: whether it did what it is for: only then it is soon tried again
        self.client: Any = None
        self._tell = tell
        self._prepare = prepare
        self._lost = lost
        self._persistent = persistent
        self._will = will
        self._making: Thread | None = None
        self._began = 0.0
        self._failed = ""
        self._wait = FIRST_WAIT
        self._next = 0.0
        self._misc = 0.0
        self._was_tried = self._was_written = False

    @property
    def socket(self) -> Any:
        """What to wait for; None while there is no connection."""
        return None if self.client is None or self._making is not None else self.client.socket()

    def sockets(self) -> tuple[list[Any], list[Any]]:
        socket = self.socket
        if socket is None:
            return [], []
        return [socket], [socket] if self.client.want_write() else []

    @property
    def is_writing(self) -> bool:
        """Whether more was to be written than could be at once."""
        return self.is_up and self._was_written and bool(self.client.want_write())

    def fail(self, why: str) -> None:
        """Give this connection up; the next one is waited for longer, unless `is_proven` is set until then."""
        self.is_proven = False
        self._drop(why)

    def serve(
        self,
        readable: set[Any],
        writable: set[Any],
        progress: Callable[[], int] = lambda: 0,
        reads: bool = True,
    ) -> None:
        """`progress` counts what came in: reading goes on as long as it grows, if at all."""
        now = time.monotonic()
        if self.client is None or self._making is not None:
            self._connect(now)
            return
        socket = self.client.socket()
        if reads and socket is not None and (socket in readable or _has_more(socket)):
            for _ in range(READ_AT_ONCE):
                before = progress()
                self.client.loop_read()
                if self.client is None or self.client.socket() is None:
                    break
                if progress() == before and not _has_more(socket):
                    break
        if self.client is not None and self.client.socket() is not None:
            self._was_written = socket in writable
            if self.client.want_write():
                self.client.loop_write()
            if now - self._misc >= 1:
                self._misc = now
                self.client.loop_misc()
        if self.client is not None and self.client.socket() is None:
            self._drop("the connection broke")
        elif not self.is_up and now - self._began > PATIENCE:
            self._drop(f"no answer within {PATIENCE:g} s")

    def close(self) -> None:
        """Say goodbye, as far as that goes without waiting long."""
        if self._making is not None:
            self._making.join(PATIENCE)
            self._making = None
        client, self.client = self.client, None
        if client is None:
            return
        client.on_disconnect = client.on_message = None
        if client.socket() is not None:
            try:
                flush(client)
                client.disconnect()
                flush(client)
            except (OSError, ValueError):
                pass  # The other side was quicker.
        self.is_up = False

    def _connect(self, now: float) -> None:
        if self._making is not None:
            if self._making.is_alive():
                return
            self._making = None
            if self._failed:
                self._drop(self._failed)
            return
        if now < self._next:
            return
        from threading import Thread

        try:
            client = new_client(self.end.where, self.end.client_id, self.end.protocol, True, not self._persistent)
        except UsageError as error:
            # Files of certificates are exchanged while others run; at the start it is a mistake to be told.
            if not self._was_tried:
                raise
            self._drop(str(error))
            return
        self._was_tried = True
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        # With these the library leaves it to us when to write: many packets at once.
        client.on_socket_register_write = client.on_socket_unregister_write = lambda *_: None
        # We keep the window; its own would look through all messages at each answer.
        client.max_inflight_messages_set(0)
        client.connect_timeout = PATIENCE
        if self.end.status_topic and self._will:
            client.will_set(self.end.status_topic, self._will, qos=1, retain=True)
        self._prepare(client)
        self.client, self._failed, self._began = client, "", now
        # Looking up a name and the handshake of TLS wait; the other end must not.
        self._making = Thread(target=self._make, args=(client,), daemon=True)
        self._making.start()

    def _make(self, client: Any) -> None:
        where = self.end.where
        try:
            if self.end.protocol == "5":
                properties = _connect_properties(self._persistent)
                client.connect(
                    where.host, where.port, self.end.keepalive, clean_start=not self._persistent, properties=properties
                )
            else:
                client.connect(where.host, where.port, self.end.keepalive)
        except Exception as error:  # Names, sockets, certificates: each has errors of its own.
            told = getattr(error, "strerror", None) or str(error)
            self._failed = told if told and isinstance(error, OSError) else f"{type(error).__name__}: {error}"

    def _connected(self, client: Any, _: object, flags: Any, reason: Any, properties: Any) -> None:
        if client is not self.client:
            return
        if reason.is_failure:
            self._failed = f"refused: {reason}"
            return
        self.receive_maximum = getattr(properties, "ReceiveMaximum", 65535) or 65535
        self.maximum_packet = getattr(properties, "MaximumPacketSize", 0) or 0
        self.is_up, self.problem = True, ""
        if self.is_proven:
            self._wait = FIRST_WAIT
        self._tell(f"connected to {self.end.where.address}")

    def _disconnected(self, client: Any, _: object, flags: Any, reason: Any, properties: Any) -> None:
        # "Unspecified error" is the library's word for a socket that was closed.
        if client is self.client and flags.is_disconnect_packet_from_server and reason.is_failure and not self._failed:
            self._failed = str(reason)

    def _drop(self, why: str) -> None:
        client, self.client = self.client, None
        was_up, self.is_up = self.is_up, False
        why = self._failed or why
        if was_up or why != self.problem:
            self._tell(f"{self.end.where.address}: {why}; trying again")
        self.problem, self._failed = why, ""
        # Many that lost the same broker must not come back in the same moment.
        self._next = time.monotonic() + self._wait * random.uniform(0.5, 1)
        self._wait = min(2 * self._wait, LONGEST_WAIT)
        if client is not None:
            client.on_disconnect = client.on_message = client.on_publish = None
            socket = client.socket()
            if socket is not None:
                socket.close()
        if was_up:
            self._lost()


def flush(client: Any) -> None:
    """Write what waits to be written, for a second at most."""
    from select import select

    ends = time.monotonic() + 1
    while client.socket() is not None and client.want_write() and time.monotonic() < ends:
        select([], [client.socket()], [], 0.1)
        client.loop_write()


def _has_more(socket: Any) -> bool:
    """Whether an encrypted connection has unpacked more than was read: nothing would tell of it."""
    pending = getattr(socket, "pending", None)
    return pending is not None and pending() > 0


def _connect_properties(lasting: bool) -> Any:
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.ReceiveMaximum = WINDOW
    properties.MaximumPacketSize = MOST_PACKET
    if lasting:
        properties.SessionExpiryInterval = FOR_EVER
    return properties
