"""Produce and consume Kafka records."""

from __future__ import annotations

import time
from dataclasses import dataclass

from scflows.errors import StepError, UsageError
from scflows.steps import Acknowledgement, Context, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

#: Seconds to wait for the acknowledgement of a record.
TIMEOUT = 30.0
#: The most records in the send buffer.
MAX_BUFFERED = 10_000


@dataclass(frozen=True)
class KafkaStep(Step):
    """Produce or consume Kafka records.

    The secret has `url` (for example `kafka://one:9092,two:9092`), or `host` and `port`; optionally `username`,
    `password`, `mechanism` (of SASL, default: `PLAIN`) and `ca`. `produce` sends each item of a list as JSON, any other
    value as one record, and waits for all acknowledgements; the result is `{sent: N}`. `consume` returns a list of
    `{topic, key, value}`, parsed if the value is JSON; the group's offsets are committed once the list is stored.

    - name: send readings
      type: kafka
      kafka: {secret: bus, mode: produce, topic: readings, key: .station, data_key: readings}
    - name: receive orders
      type: kafka
      kafka: {secret: bus, mode: consume, topic: orders, group: flows, max_messages: 100, wait: 10}
    """

    secret: str = option(help="name of the secret with the cluster and credentials")
    topic: str = option(template=True, help="the topic to produce to or consume from")
    mode: str = option("produce", choices=("produce", "consume"))
    data_key: str | None = option(None, help="the key of the value that `produce` sends")
    key: str | None = option(None, help="a jq expression that returns the record key for an item")
    group: str | None = option(None, help="the consumer group; each record is delivered to one of its members")
    max_messages: int = option(1000, minimum=1, help="maximum number of records that `consume` returns")
    parse: str = option("auto", choices=("auto", "text"), help="`text`: `consume` returns values as text, also JSON")
    wait: float = option(10, minimum=0.001, duration=True, help="`consume` ends after this time without a record")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        mode = options.get("mode") or "produce"
        needed = "data_key" if mode == "produce" else "group"
        if options.get(needed) is None:
            yield needed, f"option {needed!r} is missing: {mode!r} needs it"
        if options.get("key") is not None:
            from scflows.expressions.jq import check_program

            try:
                check_program(options["key"])
            except StepError as error:
                yield "key", str(error)

    def writes(self) -> bool:
        # Consuming moves the offsets of the group.
        return True

    def intention(self) -> str:
        return f"produce to {self.topic}" if self.mode == "produce" else f"consume from {self.topic} as {self.group}"

    def dry_result(self) -> Any:
        return {"sent": 0} if self.mode == "produce" else []

    def run(self, ctx: Context) -> Any:
        from scflows.connectors.kafka import settings_of

        # All keys are computed before anything is sent.
        records = self._records(ctx) if self.mode == "produce" else []
        try:
            settings = settings_of("", ctx.secret(self.secret))
        except UsageError as error:
            raise StepError(f"secret {self.secret!r}: {error}") from error
        problems: list[str] = []

        def failed(error: Any) -> None:
            if error.name() == "_ALL_BROKERS_DOWN" or error.fatal():
                problems.append(str(error))

        settings |= {"error_cb": failed, "log_level": 0}
        if self.mode == "produce":
            return self._produce(ctx, settings, problems, records)
        return self._consume(ctx, settings, problems)

    def _records(self, ctx: Context) -> list[tuple[bytes | None, bytes]]:
        from scflows.documents import json_bytes

        value = ctx.value(str(self.data_key))
        items = value if isinstance(value, list) else [value]
        return [(self._key(ctx, item), json_bytes(item)) for item in items]

    def _produce(
        self, ctx: Context, settings: dict[str, Any], problems: list[str], records: list[tuple[bytes | None, bytes]]
    ) -> Any:
        from confluent_kafka import KafkaException, Producer

        milliseconds = int(TIMEOUT * 1000)
        producer = Producer({**settings, "enable.idempotence": True, "message.timeout.ms": milliseconds})
        refused: list[str] = []

        def arrived(error: Any, record: Any) -> None:
            if error is not None:
                refused.append(str(error))

        try:
            for key, content in records:
                while len(producer) >= MAX_BUFFERED:
                    producer.poll(0.05)
                    ctx.sleep(0)
                producer.produce(self.topic, content, key, on_delivery=arrived)
            while len(producer) and not problems and not refused:
                producer.poll(0.05)
                ctx.sleep(0)
        except (KafkaException, BufferError) as error:
            raise StepError(f"{self.intention()}: {error}") from error
        if problems or refused:
            producer.purge()
            failure = StepError(f"{self.intention()}: {(problems or refused)[0]}")
            failure.is_temporary = bool(problems)
            raise failure
        return {"sent": len(records)}

    def _key(self, ctx: Context, item: Any) -> bytes | None:
        if self.key is None:
            return None
        key = ctx.expressions.filter(self.key, item)
        return None if key is None else str(key).encode()

    def _consume(self, ctx: Context, settings: dict[str, Any], problems: list[str]) -> Any:
        from confluent_kafka import Consumer, KafkaException

        options = {
            "group.id": self.group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            # The shortest time that brokers allow. If a run is killed, the next one waits this long for its partitions.
            "session.timeout.ms": 6000,
            # The offsets may be committed as late as at the end of the run.
            "max.poll.interval.ms": int(min(max(300.0, (ctx.remaining() or 0.0) + 60.0), 86_400.0) * 1000),
        }
        consumer: Any = Consumer({**settings, **options})
        received: list[Any] = []
        try:
            consumer.subscribe([self.topic])
            since = time.monotonic()
            while len(received) < self.max_messages and time.monotonic() - since < self.wait:
                records = consumer.consume(self.max_messages - len(received), 0.05)
                for record in records:
                    if record.error() is not None:
                        raise StepError(f"{self.intention()}: {record.error()}")
                if records:
                    since = time.monotonic()
                if problems:
                    failure = StepError(f"{self.intention()}: {problems[0]}")
                    failure.is_temporary = True
                    raise failure
                received += records
                ctx.sleep(0)
            value = [_values(record, self.parse == "text") for record in received]
        except KafkaException as error:
            consumer.close()
            raise StepError(f"{self.intention()}: {error.args[0]}") from error
        except BaseException:
            consumer.close()
            raise
        ctx.acknowledgements.append(Acknowledgement(_commit(consumer, received), consumer.close))
        return value


def _commit(consumer: Any, received: list[Any]) -> Callable[[], None]:
    def commit() -> None:
        from confluent_kafka import TopicPartition

        last: dict[tuple[str, int], int] = {}
        for record in received:
            last[record.topic(), record.partition()] = record.offset() + 1
        try:
            if last:
                offsets = [TopicPartition(topic, number, offset) for (topic, number), offset in last.items()]
                consumer.commit(offsets=offsets, asynchronous=False)
        finally:
            consumer.close()

    return commit


def _values(record: Any, as_text: bool) -> dict[str, Any]:
    from scflows.documents import received_value

    key, content = record.key(), record.value()
    place = f"{record.topic()}, partition {record.partition()}, offset {record.offset()}"
    return {
        "topic": record.topic(),
        "key": None if key is None else key.decode("utf-8", "backslashreplace"),
        "value": None if content is None else received_value(content, place, as_text),
    }
