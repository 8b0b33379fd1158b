"""MQTT ends: a source with a persistent session, and a sink that publishes with QoS 1."""

from __future__ import annotations

import time
from collections import deque

from scflows.integrations.forward.contract import EXPIRES, Message, Outgoing, expiry, seconds_left
from scflows.integrations.forward.mqtt_connection import WINDOW, Link, MqttEnd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from scflows.integrations.forward.topic import TopicTemplate

#: The MQTT 5 properties that are passed on to the other broker. The expiry is handled in `expiry`.
PASSED_ON = ("ContentType", "PayloadFormatIndicator", "UserProperty")
#: The lowest reason code that means a failure in MQTT 5.
FAILURE = 0x80
#: Seconds without an expected acknowledgement after which the connection is closed.
ANSWER_WAIT = 30.0
#: The maximum size of received messages in memory, in bytes; beyond it, nothing more is read. Messages with QoS 0 get a
#: quarter of it; further ones are dropped, because the broker would not send them again.
MAX_BUFFERED, MAX_BUFFERED_QOS0 = 64 * 2**20, 16 * 2**20
#: The memory of a message besides its payload, in bytes.
OVERHEAD = 1000
BUFFER_FULL = "QoS 0 and no room"


class _MqttEnd:
    """The common part of both ends."""

    name: str
    longest_wait = 1.0
    _link: Link

    @property
    def is_up(self) -> bool:
        return self._link.is_up

    def sockets(self) -> tuple[list[Any], list[Any]]:
        return self._link.sockets()

    def close(self) -> None:
        self._link.close()


class MqttSource(_MqttEnd):
    """A source with a persistent session: the broker keeps messages while it is disconnected."""

    def __init__(
        self, end: MqttEnd, topics: list[TopicTemplate], log: Callable[[str], None], persistent: bool = True
    ) -> None:
        """Without `persistent` nothing is stored or acknowledged: for a preview."""
        self.name = f"mqtt {end.broker.address}"
        self.refused = ""  #: why the broker refuses the topics
        self.repeated = 0  #: messages delivered again that were already known
        self.dropped: dict[str, int] = {}  #: the number of dropped messages, by reason
        self._log = log
        self._filters = [each.filter for each in topics]
        self._persistent = persistent
        self._received: deque[Message] = deque()
        self._buffered = 0  #: their bytes
        self._count = 0
        self._paused = False
        #: Received but not acknowledged: by packet number, in order.
        self._unacknowledged: dict[int, Message] = {}
        #: The same from the previous connection: they will be delivered again.
        self._previous: dict[int, Message] = {}
        self._link = Link(end, log, self._prepare, self._disconnected, persistent=persistent)

    @property
    def is_up(self) -> bool:
        return self._link.is_up and not self.refused

    @property
    def problem(self) -> str:
        return self.refused or self._link.problem

    def sockets(self) -> tuple[list[Any], list[Any]]:
        readable, writable = super().sockets()
        return (readable if self._buffered < MAX_BUFFERED else []), writable

    def serve(self, readable: set[Any], writable: set[Any]) -> None:
        # Keep reading while paused, because otherwise pings would not be answered.
        self._link.serve(readable, writable, lambda: self._count, self._buffered < MAX_BUFFERED)

    def take(self, max_messages: int, max_bytes: int) -> list[Message]:
        taken: list[Message] = []
        while self._received and len(taken) < max_messages and max_bytes > 0:
            taken.append(self._received.popleft())
            max_bytes -= len(taken[-1].payload)
            self._buffered -= len(taken[-1].payload) + OVERHEAD
        return taken

    def pause(self, paused: bool) -> None:
        self._paused = paused

    def acknowledge(self, message: Message) -> None:
        packet, client = message.mark
        message.mark = None
        if client is not None and client is self._link.client and self._persistent and packet:
            self._unacknowledged.pop(packet, None)
            client.ack(packet, 1)

    def _prepare(self, client: Any) -> None:
        client.on_message = self._message
        client.on_subscribe = self._subscribed
        on_connect = client.on_connect

        def connected(*args: Any) -> None:
            on_connect(*args)
            if self._link.is_up:
                self._subscribe(client)

        client.on_connect = connected

    def _subscribe(self, client: Any) -> None:
        self.refused = ""
        qos = 1 if self._persistent else 0
        if self._link.end.protocol == "5":
            from paho.mqtt.subscribeoptions import SubscribeOptions

            # Retained messages are sent for a new subscription only, not after each reconnection.
            options = SubscribeOptions(qos=qos, retainAsPublished=True, retainHandling=1)
            client.subscribe([(each, options) for each in self._filters])
        else:
            client.subscribe([(each, qos) for each in self._filters])

    def _subscribed(self, client: Any, _: object, packet: int, reasons: Any, properties: Any) -> None:
        for topic, reason in zip(self._filters, reasons, strict=False):
            if reason.is_failure:
                self.refused = f"{self._link.end.broker.address} refuses topic {topic!r}: {reason}"
                self._log(self.refused)
            else:
                self._log(f"{self._link.end.broker.address}: subscribed to {topic!r}")

    def _message(self, client: Any, _: object, given: Any) -> None:
        self._count += 1
        packet = given.mid if given.qos else 0
        known = self._previous.pop(packet, None) if packet else None
        if known is not None and given.dup and (known.topic, known.payload) == (given.topic, given.payload):
            self.repeated += 1
            if known.mark is None:
                client.ack(packet, 1)  # It has been delivered in the meantime.
            else:
                known.mark = (packet, client)
                self._unacknowledged[packet] = known
            return
        if not packet and self._paused and self._buffered >= MAX_BUFFERED_QOS0:
            self.dropped[BUFFER_FULL] = self.dropped.get(BUFFER_FULL, 0) + 1
            return
        try:
            topic = given.topic
        except UnicodeDecodeError:
            topic = ""
        message = Message(topic, given.payload, given.retain, _passed_on(given), (packet, client))
        if packet and self._persistent:
            self._unacknowledged[packet] = message
        self._received.append(message)
        self._buffered += len(message.payload) + OVERHEAD

    def _disconnected(self) -> None:
        # Messages that were not taken yet will be delivered again and need not be remembered.
        for message in self._received:
            self._unacknowledged.pop(message.mark[0], None)
        self._received.clear()
        self._buffered = 0
        self._previous, self._unacknowledged = {**self._previous, **self._unacknowledged}, {}
        for message in self._previous.values():
            if message.mark is not None:
                message.mark = (message.mark[0], None)


class MqttSink(_MqttEnd):
    """A sink that publishes with QoS 1."""

    def __init__(self, end: MqttEnd, log: Callable[[str], None], will: bytes = b"", qos: int = 1) -> None:
        self.name = f"mqtt {end.broker.address}"
        self.losses = 0
        self._qos = qos
        self._numbers: dict[int, int] = {}  #: of messages, by packet number
        self._progress_at = 0.0  #: when the last message was acknowledged, or the first sent
        self._stuck = ""  #: why the previous connection was closed
        self._answers: list[tuple[int, str]] = []
        self._link = Link(end, log, self._prepare, self._disconnected, will=will)

    @property
    def problem(self) -> str:
        return self._link.problem or self._stuck

    @property
    def window(self) -> int:
        return min(WINDOW, self._link.receive_maximum)

    def serve(self, readable: set[Any], writable: set[Any]) -> None:
        self._link.serve(readable, writable, lambda: len(self._answers))
        now = time.monotonic()
        if self._link.is_writing:
            self._progress_at = now  # A large message on a slow connection.
        if self._numbers and now - self._progress_at > ANSWER_WAIT:
            self._stuck = f"no acknowledgement within {ANSWER_WAIT:g} s"
            self._link.fail(self._stuck)

    def send(self, number: int, message: Outgoing) -> None:
        client = self._link.client
        max_bytes = self._link.maximum_packet
        if max_bytes and len(message.payload) + len(message.topic.encode()) + OVERHEAD > max_bytes:
            self._answers.append(
                (number, f"larger than the {max_bytes} bytes that {self._link.end.broker.address} accepts")
            )
            return
        if not self._numbers:
            self._progress_at = time.monotonic()
        try:
            properties = _properties(message.properties) if self._link.end.protocol == "5" else None
            info = client.publish(message.topic, message.payload, self._qos, message.retain, properties)
        except ValueError as error:
            self._answers.append((number, str(error)))
            return
        if self._qos:
            self._numbers[info.mid] = number
        else:
            self._answers.append((number, ""))

    def answers(self) -> Iterable[tuple[int, str]]:
        answers, self._answers = self._answers, []
        return answers

    def publish_status(self, status: bytes) -> None:
        if self._link.end.status_topic and self.is_up:
            self._link.client.publish(self._link.end.status_topic, status, qos=0, retain=True)

    def _prepare(self, client: Any) -> None:
        client.on_publish = self._published

    def _published(self, client: Any, _: object, packet: int, reason: Any, properties: Any) -> None:
        number = self._numbers.pop(packet, None)
        self._progress_at, self._stuck = time.monotonic(), ""
        self._link.is_proven = True
        if number is not None:
            self._answers.append((number, str(reason) if reason.value >= FAILURE else ""))

    def _disconnected(self) -> None:
        self._numbers.clear()
        self.losses += 1


def _passed_on(given: Any) -> dict[str, Any] | None:
    """Return the properties of a message to pass on; None if there are none."""
    found = given.properties
    if found is None or found.isEmpty():
        return None
    properties = {name: getattr(found, name) for name in PASSED_ON if hasattr(found, name)}
    if hasattr(found, "MessageExpiryInterval"):
        properties[EXPIRES] = expiry(found.MessageExpiryInterval)
    return properties or None


def _properties(given: dict[str, Any] | None) -> Any:
    if not given:
        return None
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    properties: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    for name, value in given.items():
        if name == EXPIRES:
            properties.MessageExpiryInterval = seconds_left(given)
        else:
            # Pairs read from the disk are lists.
            setattr(properties, name, [tuple(pair) for pair in value] if name == "UserProperty" else value)
    return properties
