"""A connection to an MQTT broker that reconnects automatically.

The client library is driven from outside (by `loop_read` and `loop_write`), so that one thread serves both ends; two
threads would mostly wait for each other.
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

#: Seconds until a reconnection, doubled after each attempt: the first and the longest.
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
#: Seconds that connecting may take.
CONNECT_SECONDS = 10.0
#: The maximum number of packets to read before serving the other end.
READ_BATCH = 200
#: The maximum number of messages in flight.
WINDOW = 200
#: The maximum packet size announced to an MQTT 5 broker, in bytes; it does not send larger packets.
MAX_PACKET = 64 * 2**20
#: The session expiry interval of MQTT 5 that means "never".
NEVER = 0xFFFFFFFF


@dataclass(frozen=True)
class MqttEnd:
    """The connection parameters of one end."""

    broker: Endpoint
    client_id: str
    protocol: str = "5"
    keepalive: int = 30  #: seconds
    status_topic: str = ""  #: the topic for the state of the forwarding, retained


class Link:
    """A connection to a broker, with automatic reconnection."""

    def __init__(
        self,
        end: MqttEnd,
        log: Callable[[str], None],
        prepare: Callable[[Any], None],
        lost: Callable[[], None],
        persistent: bool = False,
        will: bytes = b"",
    ) -> None:
        """Call `prepare` with each new client, and `lost` after a disconnection."""
        self.end = end
        self.is_up = False
        self.problem = "not connected yet"
        self.receive_maximum = 65535
        self.maximum_packet = 0  #: the largest packet that the broker accepts, in bytes; 0: no limit
        self.is_proven = True  #: whether it has worked; otherwise the next reconnection waits longer
        self.client: Any = None
        self._log = log
        self._prepare = prepare
        self._lost = lost
        self._persistent = persistent
        self._will = will
        self._thread: Thread | None = None
        self._began = 0.0
        self._failed = ""
        self._wait = FIRST_WAIT
        self._next = 0.0
        self._misc = 0.0
        self._was_tried = self._was_written = False

    def sockets(self) -> tuple[list[Any], list[Any]]:
        """Return the sockets to wait for, as (for reading, for writing); none without a connection."""
        socket = None if self.client is None or self._thread is not None else self.client.socket()
        if socket is None:
            return [], []
        return [socket], [socket] if self.client.want_write() else []

    @property
    def is_writing(self) -> bool:
        """Return True if there is more to write than one write could send."""
        return self.is_up and self._was_written and bool(self.client.want_write())

    def fail(self, reason: str) -> None:
        """Close the connection; the next reconnection waits longer unless `is_proven` is set by then."""
        self.is_proven = False
        self._drop(reason)

    def serve(
        self,
        readable: set[Any],
        writable: set[Any],
        progress: Callable[[], int] = lambda: 0,
        reads: bool = True,
    ) -> None:
        """Read and write; reading continues as long as `progress`, a count of received messages, grows."""
        now = time.monotonic()
        if self.client is None or self._thread is not None:
            self._connect(now)
            return
        socket = self.client.socket()
        if reads and socket is not None and (socket in readable or _has_more(socket)):
            for _ in range(READ_BATCH):
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
        elif not self.is_up and now - self._began > CONNECT_SECONDS:
            self._drop(f"no response within {CONNECT_SECONDS:g} s")

    def close(self) -> None:
        """Disconnect, without waiting long."""
        if self._thread is not None:
            self._thread.join(CONNECT_SECONDS)
            self._thread = None
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
                pass  # The broker has closed the connection first.
        self.is_up = False

    def _connect(self, now: float) -> None:
        if self._thread is not None:
            if self._thread.is_alive():
                return
            self._thread = None
            if self._failed:
                self._drop(self._failed)
            return
        if now < self._next:
            return
        from threading import Thread

        try:
            client = new_client(self.end.broker, self.end.client_id, self.end.protocol, True, not self._persistent)
        except UsageError as error:
            # Certificates may be replaced at run time; at the start an invalid file is a mistake to report.
            if not self._was_tried:
                raise
            self._drop(str(error))
            return
        self._was_tried = True
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        # With these callbacks the library lets us decide when to write, so that many packets are written together.
        client.on_socket_register_write = client.on_socket_unregister_write = lambda *_: None
        # The bridge enforces the window; the library's own would search all messages at each acknowledgement.
        client.max_inflight_messages_set(0)
        client.connect_timeout = CONNECT_SECONDS
        if self.end.status_topic and self._will:
            client.will_set(self.end.status_topic, self._will, qos=1, retain=True)
        self._prepare(client)
        self.client, self._failed, self._began = client, "", now
        # In a thread, because name resolution and the TLS handshake block.
        self._thread = Thread(target=self._connect_client, args=(client,), daemon=True)
        self._thread.start()

    def _connect_client(self, client: Any) -> None:
        broker = self.end.broker
        try:
            if self.end.protocol == "5":
                properties = _connect_properties(self._persistent)
                options = {"clean_start": not self._persistent, "properties": properties}
                client.connect(broker.host, broker.port, self.end.keepalive, **options)
            else:
                client.connect(broker.host, broker.port, self.end.keepalive)
        except Exception as error:  # Name resolution, sockets and TLS raise different errors.
            message = getattr(error, "strerror", None) or str(error)
            self._failed = message if message and isinstance(error, OSError) else f"{type(error).__name__}: {error}"

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
        self._log(f"connected to {self.end.broker.address}")

    def _disconnected(self, client: Any, _: object, flags: Any, reason: Any, properties: Any) -> None:
        # The library reports a closed socket as "Unspecified error".
        if client is self.client and flags.is_disconnect_packet_from_server and reason.is_failure and not self._failed:
            self._failed = str(reason)

    def _drop(self, reason: str) -> None:
        client, self.client = self.client, None
        was_up, self.is_up = self.is_up, False
        reason = self._failed or reason
        if was_up or reason != self.problem:
            self._log(f"{self.end.broker.address}: {reason}; trying again")
        self.problem, self._failed = reason, ""
        # Random, so that many clients of the same broker do not reconnect at the same moment.
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
    """Write what is pending, for at most one second."""
    from select import select

    ends = time.monotonic() + 1
    while client.socket() is not None and client.want_write() and time.monotonic() < ends:
        select([], [client.socket()], [], 0.1)
        client.loop_write()


def _has_more(socket: Any) -> bool:
    """Return True if a TLS connection has decrypted data, for which `select` would not report the socket."""
    pending = getattr(socket, "pending", None)
    return pending is not None and pending() > 0


def _connect_properties(persistent: bool) -> Any:
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.ReceiveMaximum = WINDOW
    properties.MaximumPacketSize = MAX_PACKET
    if persistent:
        properties.SessionExpiryInterval = NEVER
    return properties
