"""Kafka ends. Topic templates are matched with, and produce, `TOPIC/KEY`."""

from __future__ import annotations

import time
from threading import Thread

from scflows.integrations.forward.contract import Message, Outgoing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from scflows.integrations.forward.topic import TopicTemplate

#: Seconds between two polls when idle, because librdkafka has no socket to wait for.
IDLE = 0.05
#: Seconds between two commits of offsets.
COMMIT_EVERY = 1.0
#: The maximum number of messages in flight.
WINDOW = 1000
#: Milliseconds until librdkafka gives up on a message.
GIVE_UP = 30_000
#: Seconds between two checks whether a cluster is available again.
PROBE_INTERVAL = 2.0
#: The errors for which sending a message again is useless.
PERMANENT_ERRORS = (
    "MSG_SIZE_TOO_LARGE",
    "TOPIC_EXCEPTION",
    "TOPIC_AUTHORIZATION_FAILED",
    "INVALID_MSG",
    "INVALID_RECORD",
    "POLICY_VIOLATION",
)


class KafkaSource:
    """A source that is one consumer of a group; offsets are committed once their messages are safe."""

    def __init__(
        self, settings: dict[str, Any], topics: list[TopicTemplate], group: str, log: Callable[[str], None]
    ) -> None:
        from confluent_kafka import Consumer

        self.name = f"kafka {settings['bootstrap.servers']}"
        self.is_up = False
        self.problem = "no partitions yet"
        self.longest_wait = IDLE
        self._log = log
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
                # If a consumer is killed, its partitions are assigned to others only after this time.
                "session.timeout.ms": 10_000,
                "error_cb": self._failed,
                "logger": _null_logger(),
                # Limits the memory for prefetched messages, in kB.
                "queued.max.messages.kbytes": 16_384,
            }
        )
        names = list(dict.fromkeys(topic.text.partition("/")[0] for topic in topics))
        self._consumer.subscribe(names, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)

    def sockets(self) -> tuple[list[Any], list[Any]]:
        return [], []

    def serve(self, readable: set[Any], writable: set[Any]) -> None:
        if self._paused:
            self._consumer.poll(0)  # Returns nothing, but sends the heartbeat.
        if time.monotonic() - self._committed >= COMMIT_EVERY:
            self._commit(wait=False)

    def take(self, max_messages: int, max_bytes: int) -> list[Message]:
        found = []  # The prefetch limit bounds the bytes.
        records: list[Any] = self._consumer.consume(max_messages, 0) if max_messages > 0 else []
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
            self._log(f"{self.name}: offsets were not committed: {error.args[0]}")

    def _assigned(self, consumer: Any, partitions: list[Any]) -> None:
        self.is_up, self.problem = True, ""
        if self._paused and partitions:
            consumer.assign(partitions)
            consumer.pause(partitions)

    def _revoked(self, consumer: Any, partitions: list[Any]) -> None:
        self._commit(wait=True)
        # Their unacknowledged messages go to the new consumer.
        self._generation += 1
        self._safe.clear()

    def _failed(self, error: Any) -> None:
        if str(error) != self.problem:
            self._log(f"{self.name}: {error}")
        self.problem = str(error)
        if error.name() == "_ALL_BROKERS_DOWN":
            self.is_up = False


class KafkaSink:
    """A sink that produces in order and without duplicates (an idempotent producer)."""

    def __init__(self, settings: dict[str, Any], log: Callable[[str], None]) -> None:
        self.name = f"kafka {settings['bootstrap.servers']}"
        self.is_up = False
        self.problem = "not connected yet"
        self.window = WINDOW
        self.losses = 0
        self._settings = settings
        self._log = log
        self._answers: list[tuple[int, str]] = []
        self._generation = 0
        self._probed = 0.0
        self._probe_thread: Thread | None = None
        self._producer = self._new_producer()

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
            and now - self._probed >= PROBE_INTERVAL
            and (self._probe_thread is None or not self._probe_thread.is_alive())
        ):
            self._probed = now
            self._probe_thread = Thread(target=self._probe, args=(self._producer,), daemon=True)
            self._probe_thread.start()

    def send(self, number: int, message: Outgoing) -> None:
        from confluent_kafka import KafkaException

        topic, _, key = message.topic.partition("/")
        generation = self._generation

        def arrived(error: Any, record: Any) -> None:
            if generation != self._generation:
                return
            if error is None:
                self._answers.append((number, ""))
            elif error.name() in PERMANENT_ERRORS:
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

    def publish_status(self, status: bytes) -> None:
        pass  # A topic would keep all states, not the current one.

    def close(self) -> None:
        self._producer.flush(5)

    def _new_producer(self) -> Any:
        from confluent_kafka import Producer

        return Producer(
            {
                **self._settings,
                "enable.idempotence": True,
                "linger.ms": 5,
                "message.timeout.ms": GIVE_UP,
                "queue.buffering.max.kbytes": 32_768,
                "error_cb": self._failed,
                "logger": _null_logger(),
            }
        )

    def _probe(self, producer: Any) -> None:
        from confluent_kafka import KafkaException

        try:
            producer.list_topics(timeout=PROBE_INTERVAL)
        except KafkaException as error:
            self.problem = str(error.args[0])
            return
        if producer is self._producer:
            self.is_up, self.problem = True, ""
            self._log(f"{self.name}: connected")

    def _failed(self, error: Any) -> None:
        if error.name() == "_ALL_BROKERS_DOWN" or error.fatal():
            self._lose(str(error))

    def _lose(self, reason: str) -> None:
        if not self.is_up:
            return
        self.is_up, self.problem = False, reason
        self._log(f"{self.name}: {reason}; trying again")
        self._generation += 1
        self.losses += 1
        self._answers.clear()
        # Its queue would be sent in addition to the messages from the disk.
        self._producer.purge()
        self._producer = self._new_producer()


def _null_logger() -> Any:
    """Return a logger that keeps librdkafka from writing to stderr; its callbacks report errors as well."""
    import logging

    logger = logging.getLogger("scflows.kafka")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger
