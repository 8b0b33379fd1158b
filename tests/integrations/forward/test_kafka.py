"""Kafka at either end, against librdkafka's own mock cluster."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

import confluent_kafka
import pytest


def records(cluster: str, topic: str, count: int) -> list[Any]:
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": cluster, "group.id": "look", "auto.offset.reset": "earliest", "log_level": 0}
    )
    consumer.subscribe([topic])
    found: list[Any] = []
    for _ in range(300):
        found += [each for each in consumer.consume(count, 0.1) if each.error() is None]
        if len(found) >= count:
            break
    consumer.close()
    return found


@pytest.mark.service
def test_from_mqtt_to_kafka_with_the_name_as_key(
    wait_until: Callable[..., Any], broker: Callable[..., Any], forward: Callable[..., Any], cluster: str
) -> None:
    source = broker()
    forwarder = forward(f"""\
from: {{url: "{source.url}", topic: "kit/<token>/raw"}}
to: {{url: "kafka://{cluster}", topic: "readings/<token>"}}
""")
    wait_until(lambda: f"kafka {cluster}: connected" in forwarder.output and "subscribed" in forwarder.output)
    source.publish([("kit/abc/raw", str(number)) for number in range(300)])
    found = records(cluster, "readings", 300)
    assert [int(each.value()) for each in found] == list(range(300))
    assert {each.key() for each in found} == {b"abc"}
    assert forwarder.stop() == 0


@pytest.mark.service
@pytest.mark.waits
def test_from_kafka_to_mqtt_goes_on_where_it_was_killed(
    wait_until: Callable[..., Any], broker: Callable[..., Any], forward: Callable[..., Any], cluster: str
) -> None:
    sink = broker()
    come = sink.collect("out/#", name="lasting")
    producer = confluent_kafka.Producer({"bootstrap.servers": cluster, "log_level": 0})
    schema = f"""\
from: {{url: "kafka://{cluster}", topic: "orders/<key>"}}
to: {{url: "{sink.url}", topic: "out/<key>"}}
"""
    for number in range(200):
        producer.produce("orders", str(number), "a")
    producer.flush(10)
    forwarder = forward(schema)
    wait_until(lambda: len(come) >= 200, 60)
    forwarder.stop(signal.SIGKILL)
    for number in range(200, 400):
        producer.produce("orders", str(number), "a")
    producer.flush(10)
    # The cluster waits for the one that died before it gives its share to another.
    forward(schema)
    wait_until(lambda: len({each.payload for each in come}) == 400, 90)
    assert list(dict.fromkeys(int(each.payload) for each in come)) == list(range(400))
    assert come[-1].topic == "out/a"


def test_a_cluster_that_is_away_is_told_and_waited_for(forward: Callable[..., Any], flows: Callable[..., Any]) -> None:
    forwarder = forward("""\
name: away
from: {url: "kafka://127.0.0.1:1", topic: "orders/<key>"}
to: {url: "mqtt://127.0.0.1:1", topic: "out/<key>"}
""")
    import time

    for _ in range(300):
        found = flows("forward", "status", "--json").stdout
        if found and json.loads(found)["items"] and "refused" in json.loads(found)["items"][0]["source"]["problem"]:
            break
        time.sleep(0.1)
    assert "Connection refused" in forwarder.output
    assert forwarder.stop() == 0
