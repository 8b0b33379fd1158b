"""MQTT as an end: a source with a lasting session, a sink that publishes with QoS 1."""

from __future__ import annotations

import time
from collections import deque

from scflows.integrations.forward.base import Message, Outgoing
from scflows.integrations.forward.expiry import EXPIRES, left, noted
from scflows.integrations.forward.mqtt_connection import WINDOW, Link, MqttEnd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from scflows.integrations.forward.topic import TopicTemplate

#: The properties of MQTT 5 that make sense at another broker.
#: That for the seconds until it expires goes as `expiry` has it.
PASSED_ON = ("ContentType", "PayloadFormatIndicator", "UserProperty")
#: From this reason code on, MQTT 5 means a failure.
FAILURE = 0x80
#: Seconds without any acknowledgement, though some are due, after which the connection is given up.
ANSWER_WAIT = 30.0
#: How many bytes of messages a source holds that nobody took yet; beyond, it reads no more. QoS 0 gets a quarter: those
#: that come when it is used up are left out, since nobody would send them again.
MOST_HELD, MOST_LOOSE = 64 * 2**20, 16 * 2**20
#: What a message costs beside its payload, in bytes.
OVERHEAD = 1000
LEFT_OUT = "QoS 0 and no room"


class MqttSource:
    """Messages of a subscription with a lasting session: while we are away the broker keeps them."""

    def __init__(
        self, end: MqttEnd, topics: list[TopicTemplate], tell: Callable[[str], None], lasting: bool = True
    ) -> None:
        """Without a `lasting` session nothing is kept for us, acknowledged or taken from anybody: for a look."""
        self.name = f"mqtt {end.where.address}"
        self.longest_wait = 1.0
        self.refused = ""  #: why the broker does not give us the topics
        self.repeated = 0  #: messages that came again and were known
        self.dropped: dict[str, int] = {}  #: messages that were left out, by reason
        self._tell = tell
        self._filters = [each.filter for each in topics]
        self._lasting = lasting
        self._come: deque[Message] = deque()
        self._held = 0  #: their bytes
        self._count = 0
        self._paused = False
        #: Taken but not acknowledged: by packet number, in order.
        self._open: dict[int, Message] = {}
        #: The same of the connection before: they come again.
        self._carried: dict[int, Message] = {}
        self._link = Link(end, tell, self._prepare, self._gone, persistent=lasting)

    @property
    def is_up(self) -> bool:
        return self._link.is_up and not self.refused

    @property
    def problem(self) -> str:
        return self.refused or self._link.problem

    def sockets(self) -> tuple[list[Any], list[Any]]:
        readable, writable = self._link.sockets()
        return (readable if self._held < MOST_HELD else []), writable

    def serve(self, readable: set[Any], writable: set[Any]) -> None:
        # Reading goes on while it is paused: a broker that gets no answer to its pings would be thought dead.
        self._link.serve(readable, writable, lambda: self._count, self._held < MOST_HELD)

    def take(self, most: int, most_bytes: int) -> list[Message]:
        taken: list[Message] = []
        while self._come and len(taken) < most and most_bytes > 0:
            taken.append(self._come.popleft())
            most_bytes -= len(taken[-1].payload)
            self._held -= len(taken[-1].payload) + OVERHEAD
        return taken

    def pause(self, paused: bool) -> None:
        self._paused = paused

    def acknowledge(self, message: Message) -> None:
        packet, client = message.mark
        message.mark = None
        if client is not None and client is self._link.client and self._lasting and packet:
            self._open.pop(packet, None)
            client.ack(packet, 1)

    def close(self) -> None:
        self._link.close()

    def _prepare(self, client: Any) -> None:
        client.on_message = self._message
        client.on_subscribe = self._subscribed
        made = client.on_connect

        def connected(*told: Any) -> None:
            made(*told)
            if self._link.is_up:
                self._subscribe(client)

        client.on_connect = connected

    def _subscribe(self, client: Any) -> None:
        self.refused = ""
        qos = 1 if self._lasting else 0
        if self._link.end.protocol == "5":
            from paho.mqtt.subscribeoptions import SubscribeOptions

            # What is retained comes with a new subscription, not again at each connection.
            options = SubscribeOptions(qos=qos, retainAsPublished=True, retainHandling=1)
            client.subscribe([(each, options) for each in self._filters])
        else:
            client.subscribe([(each, qos) for each in self._filters])

    def _subscribed(self, client: Any, _: object, packet: int, reasons: Any, properties: Any) -> None:
        for topic, reason in zip(self._filters, reasons, strict=False):
            if reason.is_failure:
                self.refused = f"{self._link.end.where.address} refuses the topic {topic!r}: {reason}"
                self._tell(self.refused)
            else:
                self._tell(f"{self._link.end.where.address}: subscribed to {topic!r}")

    def _message(self, client: Any, _: object, given: Any) -> None:
        self._count += 1
        packet = given.mid if given.qos else 0
        known = self._carried.pop(packet, None) if packet else None
        if known is not None and given.dup and (known.topic, known.payload) == (given.topic, given.payload):
            self.repeated += 1
            if known.mark is None:
                client.ack(packet, 1)  # It has arrived meanwhile.
            else:
                known.mark = (packet, client)
                self._open[packet] = known
            return
        if not packet and self._paused and self._held >= MOST_LOOSE:
            self.dropped[LEFT_OUT] = self.dropped.get(LEFT_OUT, 0) + 1
            return
        try:
            topic = given.topic
        except UnicodeDecodeError:
            topic = ""
        message = Message(topic, given.payload, given.retain, _passed_on(given), (packet, client))
        if packet and self._lasting:
            self._open[packet] = message
        self._come.append(message)
        self._held += len(message.payload) + OVERHEAD

    def _gone(self) -> None:
        # Those that nobody took yet will come again: there is no need to remember them.
        for message in self._come:
            self._open.pop(message.mark[0], None)
        self._come.clear()
        self._held = 0
        self._carried, self._open = {**self._carried, **self._open}, {}
        for message in self._carried.values():
            if message.mark is not None:
                message.mark = (message.mark[0], None)


class MqttSink:
    """Publishes with QoS 1."""

    def __init__(self, end: MqttEnd, tell: Callable[[str], None], will: bytes = b"", qos: int = 1) -> None:
        self.name = f"mqtt {end.where.address}"
        self.longest_wait = 1.0
        self.losses = 0
        self._qos = qos
        self._numbers: dict[int, int] = {}  #: of messages, by the numbers of their packets
        self._moved = 0.0  #: when the last of them was acknowledged, or the first sent
        self._stuck = ""  #: why the connection before was given up
        self._answers: list[tuple[int, str]] = []
        self._link = Link(end, tell, self._prepare, self._gone, will=will)

    @property
    def is_up(self) -> bool:
        return self._link.is_up

    @property
    def problem(self) -> str:
        return self._link.problem or self._stuck

    @property
    def window(self) -> int:
        return min(WINDOW, self._link.receive_maximum)

    def sockets(self) -> tuple[list[Any], list[Any]]:
        return self._link.sockets()

    def serve(self, readable: set[Any], writable: set[Any]) -> None:
        self._link.serve(readable, writable, lambda: len(self._answers))
        now = time.monotonic()
        if self._link.is_writing:
            self._moved = now  # A large message on a slow line.
        if self._numbers and now - self._moved > ANSWER_WAIT:
            self._stuck = f"no acknowledgement within {ANSWER_WAIT:g} s"
            self._link.fail(self._stuck)

    def send(self, number: int, message: Outgoing) -> None:
        client = self._link.client
        most = self._link.maximum_packet
        if most and len(message.payload) + len(message.topic.encode()) + OVERHEAD > most:
            self._answers.append((number, f"larger than the {most} bytes that {self._link.end.where.address} takes"))
            return
        if not self._numbers:
            self._moved = time.monotonic()
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

    def tell_status(self, status: bytes) -> None:
        if self._link.end.status_topic and self.is_up:
            self._link.client.publish(self._link.end.status_topic, status, qos=0, retain=True)

    def close(self) -> None:
        self._link.close()

    def _prepare(self, client: Any) -> None:
        client.on_publish = self._published

    def _published(self, client: Any, _: object, packet: int, reason: Any, properties: Any) -> None:
        number = self._numbers.pop(packet, None)
        self._moved, self._stuck = time.monotonic(), ""
        self._link.is_proven = True
        if number is not None:
            self._answers.append((number, str(reason) if reason.value >= FAILURE else ""))

    def _gone(self) -> None:
        self._numbers.clear()
        self.losses += 1


def _passed_on(given: Any) -> dict[str, Any] | None:
    """The properties of a message that go along with it; None where there are none."""
    found = given.properties
    if found is None or found.isEmpty():
        return None
    kept = {name: getattr(found, name) for name in PASSED_ON if hasattr(found, name)}
    if hasattr(found, "MessageExpiryInterval"):
        kept[EXPIRES] = noted(found.MessageExpiryInterval)
    return kept or None


def _properties(given: dict[str, Any] | None) -> Any:
    if not given:
        return None
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    made: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    for name, value in given.items():
        if name == EXPIRES:
            made.MessageExpiryInterval = left(given)
        else:
            # From the disk pairs come back as lists.
            setattr(made, name, [tuple(pair) for pair in value] if name == "UserProperty" else value)
    return made
