"""The steps `mqtt` and `kafka`, with a real broker and librdkafka's mock cluster."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.service, pytest.mark.language("§10 kafka", "§10 mqtt")]


@pytest.fixture
def secret(workspace: Path) -> Callable[[str], None]:
    """Writes a secret `bus` with a URL."""

    def write(url: str) -> None:
        folder = workspace / "data"
        folder.mkdir(exist_ok=True)
        (folder / "secrets.yml").write_text(f'- {{name: bus, type: credential, url: "{url}"}}\n')
        (folder / "secrets.yml").chmod(0o600)

    return write


def test_mqtt_publishes_each_item_and_takes_what_a_session_kept(
    broker: Callable[..., Any], run_flow: Callable[..., Any], secret: Callable[[str], None]
) -> None:
    server = broker()
    secret(server.url)
    take = "{name: take, type: mqtt, mqtt: {secret: bus, mode: take, topic: orders/#, session: flows, wait: 0.3}}"
    assert run_flow(f"steps: [{take}]").result["take"] == []
    sent = run_flow("""
steps:
  - {name: items, type: set_fact, set_fact: {value: '[{"n": 1}, "two"]', parse: json}}
  - {name: tell, type: mqtt, mqtt: {secret: bus, topic: orders/new, data_key: items, each: true}}
""")
    assert sent.result["tell"] == {"sent": 2}
    run = run_flow(f"steps: [{take}]")
    assert run.result["take"] == [
        {"topic": "orders/new", "payload": {"n": 1}},
        {"topic": "orders/new", "payload": "two"},
    ]
    assert run_flow(f"steps: [{take}]").result["take"] == []


def test_mqtt_messages_of_a_step_that_fails_come_again(
    broker: Callable[..., Any], run_flow: Callable[..., Any], secret: Callable[[str], None]
) -> None:
    server = broker()
    secret(server.url)
    options = "mqtt: {secret: bus, mode: take, topic: a, session: flows, wait: 0.3}"
    run_flow(f"steps: [{{name: take, type: mqtt, {options}}}]")
    server.publish([("a", "1")])
    failed = run_flow(f"steps: [{{name: take, type: mqtt, {options}, jq_expression: 'error(\"no\")'}}]")
    assert failed.status == "failed"
    run = run_flow(f"steps: [{{name: take, type: mqtt, {options}}}]")
    assert [each["payload"] for each in run.result["take"]] == [1]


def test_mqtt_tells_who_cannot_be_reached(run_flow: Callable[..., Any], secret: Callable[[str], None]) -> None:
    secret("mqtt://127.0.0.1:1")
    run = run_flow("steps: [{name: t, type: mqtt, mqtt: {secret: bus, topic: a, data_key: __input__}}]")
    assert run.message == "t: mqtt 127.0.0.1:1: Connection refused"


def test_kafka_produces_by_key_and_consumes_each_record_once(
    cluster: str, run_flow: Callable[..., Any], secret: Callable[[str], None]
) -> None:
    secret(f"kafka://{cluster}")
    sent = run_flow("""
steps:
  - {name: items, type: set_fact, set_fact: {value: [{station: a, v: 1}, {station: b, v: 2}]}}
  - {name: tell, type: kafka, kafka: {secret: bus, mode: produce, topic: readings, key: .station, data_key: items}}
""")
    assert sent.result["tell"] == {"sent": 2}
    options = "kafka: {secret: bus, mode: consume, topic: readings, group: g, max_messages: 1, wait: 15}"
    first = run_flow(f"steps: [{{name: take, type: kafka, {options}}}]").result["take"]
    second = run_flow(f"steps: [{{name: take, type: kafka, {options}}}]").result["take"]
    assert sorted((each["key"], json.dumps(each["value"])) for each in first + second) == [
        ("a", '{"station": "a", "v": 1}'),
        ("b", '{"station": "b", "v": 2}'),
    ]


def test_kafka_tells_that_no_broker_answers(run_flow: Callable[..., Any], secret: Callable[[str], None]) -> None:
    secret("kafka://127.0.0.1:1")
    run = run_flow("steps: [{name: t, type: kafka, kafka: {secret: bus, topic: a, data_key: __input__}}]")
    assert run.status == "failed"
    assert "produce to a" in run.message
    assert "brokers are down" in run.message


def test_a_dry_run_publishes_and_takes_nothing(
    broker: Callable[..., Any], run_flow: Callable[..., Any], secret: Callable[[str], None]
) -> None:
    server = broker()
    secret(server.url)
    come = server.collect("#")
    run = run_flow("steps: [{name: t, type: mqtt, mqtt: {secret: bus, topic: a, data_key: __input__}}]", dry_run=True)
    assert run.status == "success"
    assert "would publish to a" in run.log
    assert come == []


SECRET_ORDER = '{"id": 7, "note": "token-of-the-bus"}'
#: What ends the process of a flow after its first step; what lets it succeed.
KILL = "{name: end, type: shell, shell: {command: 'kill -9 $PPID'}}"
FAIL = "{name: end, type: jq, jq: {expression: 'error(1)'}}"
WELL = "{name: end, type: debug, debug: {data_key: take}}"


@pytest.fixture
def with_token(secret: Callable[[str], None], workspace: Path) -> Callable[[str], None]:
    """Writes a secret `bus` whose token is in the messages, so that no journal keeps them."""

    def write(url: str) -> None:
        secret(url)
        file = workspace / "data" / "secrets.yml"
        file.write_text(file.read_text().replace("}", ", token: token-of-the-bus}"))

    return write


@pytest.mark.parametrize("end", [KILL, FAIL])
def test_mqtt_messages_that_no_journal_keeps_are_acknowledged_when_the_run_has_succeeded(
    broker: Callable[..., Any], run_flow: Callable[..., Any], with_token: Callable[[str], None], end: str
) -> None:
    server = broker()
    with_token(server.url)
    take = "{name: take, type: mqtt, mqtt: {secret: bus, mode: take, topic: a, session: flows, wait: 0.3}}"
    run_flow(f"steps: [{take}]")
    server.publish([("a", SECRET_ORDER)])
    broken = run_flow(f"steps: [{take}, {end}]")
    assert broken.status != "success"
    assert "acknowledged when the run has succeeded" in broken.log
    child = f"steps: [{take}]"
    run_flow(child, name="child.yml")
    server.publish([("a", "8")])
    run = run_flow("steps: [{name: take, type: flow, flow: {path: child.yml}}, " + WELL + "]")
    assert [each["payload"] for each in run.result["take"]["take"]] == [8]


def test_kafka_records_that_no_journal_keeps_are_committed_when_the_run_has_succeeded(
    cluster: str, run_flow: Callable[..., Any], with_token: Callable[[str], None]
) -> None:
    with_token(f"kafka://{cluster}")
    order = f"{{name: order, type: set_fact, set_fact: {{value: '{SECRET_ORDER}', parse: json}}}}"
    run_flow(f"steps: [{order}, {{name: s, type: kafka, kafka: {{secret: bus, topic: a, data_key: order}}}}]")
    take = (
        "{name: take, type: kafka, kafka: {secret: bus, mode: consume, topic: a, group: g, max_messages: 1, wait: 20}}"
    )
    assert run_flow(f"steps: [{take}, {FAIL}]").status != "success"
    run = run_flow(f"steps: [{take}, {WELL}]")
    assert [each["value"]["id"] for each in run.result["take"]] == [7]


LONG = '{"v": [1, 0.12345678901234567890123]}'


def test_mqtt_numbers_that_cannot_be_held_are_refused_or_text(
    broker: Callable[..., Any], run_flow: Callable[..., Any], secret: Callable[[str], None]
) -> None:
    server = broker()
    secret(server.url)
    options = "mqtt: {secret: bus, mode: take, topic: a/#, session: flows, wait: 0.3"
    run_flow(f"steps: [{{name: take, type: mqtt, {options}}}}}]")
    server.publish([("a/b", '{"v": 1e400}'), ("a/c", LONG)])
    failed = run_flow(f"steps: [{{name: take, type: mqtt, {options}}}}}]")
    assert failed.message == (
        "take: a/b: payload: JSON: 1e400 is too large for a number (line 1, column 7); or receive text (parse: text)"
    )
    run = run_flow(f"steps: [{{name: take, type: mqtt, {options}, parse: text}}}}]")
    assert [each["payload"] for each in run.result["take"]] == ['{"v": 1e400}', LONG]


def test_kafka_numbers_that_cannot_be_held_are_refused_or_text(
    cluster: str, run_flow: Callable[..., Any], secret: Callable[[str], None]
) -> None:
    from confluent_kafka import Producer

    secret(f"kafka://{cluster}")
    producer = Producer({"bootstrap.servers": cluster})
    producer.produce("a", LONG.encode())
    producer.flush(30)
    options = "kafka: {secret: bus, mode: consume, topic: a, group: g, max_messages: 1, wait: 15"
    failed = run_flow(f"steps: [{{name: take, type: kafka, {options}}}}}]")
    assert "offset 0: JSON: 0.12345678901234567890123 has more digits than a number can hold" in failed.message
    run = run_flow(f"steps: [{{name: take, type: kafka, {options}, parse: text}}}}]")
    assert [each["value"] for each in run.result["take"]] == [LONG]
