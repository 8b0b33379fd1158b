"""Kafka as an end. What a topic template is matched with, or fills, is `TOPIC/KEY`."""

from __future__ import annotations

import time
from threading import Thread

from scflows.integrations.forward.base import Message, Outgoing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from scflows.integrations.forward.topic import TopicTemplate

#: Seconds that a poll may wait when nothing came: librdkafka has no socket to wait for.
IDLE = 0.05
#: Seconds between two commits of offsets.
COMMIT_EVERY = 1.0
#: How many messages may be on their way.
WINDOW = 1000
#: Milliseconds until librdkafka gives a message back that no broker took.
GIVE_UP = 30_000
#: Seconds between two looks whether a cluster is back.
LOOK_EVERY = 2.0
#: The errors of a message that will not go better another time.
FOR_GOOD = (
    "MSG_SIZE_TOO_LARGE",
    "TOPIC_EXCEPTION",
    "TOPIC_AUTHORIZATION_FAILED",
    "INVALID_MSG",
    "INVALID_RECORD",
    "POLICY_VIOLATION",
)


class KafkaSource:
    """Messages of topics, as one consumer of a group; an offset is committed once its message is safe."""

    def __init__(
        self, settings: dict[str, Any], topics: list[TopicTemplate], group: str, tell: Callable[[str], None]
    ) -> None:
        from confluent_kafka import Consumer

        self.name = f"kafka {settings['bootstrap.servers']}"
        self.is_up = False
        self.problem = "no partitions yet"
        self.longest_wait = IDLE
        self._tell = tell
        self._paused = False
        self._safe: dict[tuple[str, int], int] = {}  #: offsets to commit
        self._generation = 0
        self._committed = 0.0
        self._consumer = Consumer(
            {
                **settings,
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                # So long nobody gets what belonged to one that was killed.
                "session.timeout.ms": 10_000,
                "error_cb": self._failed,
                "logger": _silent(),
                # What librdkafka fetches ahead, in kB: the memory is bounded by this.
                "queued.max.messages.kbytes": 16_384,
            }
        )
        names = list(dict.fromkeys(topic.text.partition("/")[0] for topic in topics))
        self._consumer.subscribe(names, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)

    def sockets(self) -> tuple[list[Any], list[Any]]:
        return [], []

    def serve(self, readable: set[Any], writable: set[Any]) -> None:
        if self._paused:
            self._consumer.poll(0)  # Nothing comes; its heartbeat goes on.
        if time.monotonic() - self._committed >= COMMIT_EVERY:
            self._commit(wait=False)

    def take(self, most: int, most_bytes: int) -> list[Message]:
        found = []  # What librdkafka has fetched bounds the bytes.
        records: list[Any] = self._consumer.consume(most, 0) if most > 0 else []
        for record in records:
            if record.error() is not None:
                self._failed(record.error())
                continue
            key = record.key()
            topic = record.topic() + ("/" + key.decode("utf-8", "replace") if key else "")
            mark = (self._generation, record.topic(), record.partition(), record.offset())
            found.append(Message(topic, record.value() or b"", mark=mark))
        if found:
            self.is_up, self.problem = True, ""
        self.longest_wait = 0.0 if found else IDLE
        return found

    def pause(self, paused: bool) -> None:
        if paused == self._paused:
            return
        self._paused = paused
        partitions = self._consumer.assignment()
        (self._consumer.pause if paused else self._consumer.resume)(partitions)

    def acknowledge(self, message: Message) -> None:
        generation, topic, partition, offset = message.mark
        if generation == self._generation:
            self._safe[topic, partition] = offset + 1

    def close(self) -> None:
        self._commit(wait=True)
        self._consumer.close()

    def _commit(self, wait: bool) -> None:
        from confluent_kafka import KafkaException, TopicPartition

        self._committed = time.monotonic()
        if not self._safe:
            return
        offsets = [TopicPartition(topic, partition, offset) for (topic, partition), offset in self._safe.items()]
        try:
            if wait:
                self._consumer.commit(offsets=offsets, asynchronous=False)
            else:
                self._consumer.commit(offsets=offsets, asynchronous=True)
            self._safe.clear()
        except KafkaException as error:
            self._tell(f"{self.name}: offsets were not committed: {error.args[0]}")

    def _assigned(self, consumer: Any, partitions: list[Any]) -> None:
        self.is_up, self.problem = True, ""
        if self._paused and partitions:
            consumer.assign(partitions)
            consumer.pause(partitions)

    def _revoked(self, consumer: Any, partitions: list[Any]) -> None:
        self._commit(wait=True)
        # What was taken of them comes to whoever has them now.
        self._generation += 1
        self._safe.clear()

    def _failed(self, error: Any) -> None:
        if str(error) != self.problem:
            self._tell(f"{self.name}: {error}")
        self.problem = str(error)
        if error.name() == "_ALL_BROKERS_DOWN":
            self.is_up = False


class KafkaSink:
    """Produces in order, without doubles of its own making (an idempotent producer)."""

    def __init__(self, settings: dict[str, Any], tell: Callable[[str], None]) -> None:
        self.name = f"kafka {settings['bootstrap.servers']}"
        self.is_up = False
        self.problem = "not connected yet"
        self.window = WINDOW
        self.losses = 0
        self._settings = settings
        self._tell = tell
        self._answers: list[tuple[int, str]] = []
        self._generation = 0
        self._looked = 0.0
        self._looking: Thread | None = None
        self._producer = self._new()

    @property
    def longest_wait(self) -> float:
        return 0.005 if len(self._producer) else IDLE

    def sockets(self) -> tuple[list[Any], list[Any]]:
        return [], []

    def serve(self, readable: set[Any], writable: set[Any]) -> None:
        self._producer.poll(0)
        now = time.monotonic()
        if (
            not self.is_up
            and now - self._looked >= LOOK_EVERY
            and (self._looking is None or not self._looking.is_alive())
        ):
            self._looked = now
            self._looking = Thread(target=self._look, args=(self._producer,), daemon=True)
            self._looking.start()

    def send(self, number: int, message: Outgoing) -> None:
        from confluent_kafka import KafkaException

        topic, _, key = message.topic.partition("/")
        generation = self._generation

        def arrived(error: Any, record: Any) -> None:
            if generation != self._generation:
                return
            if error is None:
                self._answers.append((number, ""))
            elif error.name() in FOR_GOOD:
                self._answers.append((number, str(error)))
            else:
                self._lose(str(error))

        try:
            self._producer.produce(topic, message.payload, key.encode() if key else None, on_delivery=arrived)
        except (BufferError, KafkaException) as error:
            self._lose(str(error))

    def answers(self) -> Iterable[tuple[int, str]]:
        answers, self._answers = self._answers, []
        return answers

    def tell_status(self, status: bytes) -> None:
        pass  # A log of all states is no place to look one up.

    def close(self) -> None:
        self._producer.flush(5)

    def _new(self) -> Any:
        from confluent_kafka import Producer

        return Producer(
            {
                **self._settings,
                "enable.idempotence": True,
                "linger.ms": 5,
                "message.timeout.ms": GIVE_UP,
                "queue.buffering.max.kbytes": 32_768,
                "error_cb": self._failed,
                "logger": _silent(),
            }
        )

    def _look(self, producer: Any) -> None:
        from confluent_kafka import KafkaException

        try:
            producer.list_topics(timeout=LOOK_EVERY)
        except KafkaException as error:
            self.problem = str(error.args[0])
            return
        if producer is self._producer:
            self.is_up, self.problem = True, ""
            self._tell(f"{self.name}: connected")

    def _failed(self, error: Any) -> None:
        if error.name() == "_ALL_BROKERS_DOWN" or error.fatal():
            self._lose(str(error))

    def _lose(self, why: str) -> None:
        if not self.is_up:
            return
        self.is_up, self.problem = False, why
        self._tell(f"{self.name}: {why}; trying again")
        self._generation += 1
        self.losses += 1
        self._answers.clear()
        # Its queue would be sent once more beside what comes from the disk.
        self._producer.purge()
        self._producer = self._new()


def _silent() -> Any:
    """A logger for librdkafka, which would write to stderr: what matters comes by its callbacks, too."""
    import logging

    logger = logging.getLogger("scflows.kafka")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger
