"""What is read from payloads, and what is refused."""

from __future__ import annotations

import pytest

from scflows.errors import StepError
from scflows.expressions.templates import Expressions
from scflows.integrations.forward.contract import Message, Outgoing, Refused
from scflows.integrations.forward.payload import from_json, from_kit, shape_by_jq
from scflows.integrations.forward.route import Route
from scflows.integrations.forward.staplus import observations
from scflows.integrations.forward.topic import TopicTemplate

ODD = [
    "1e999",
    "-1e999",
    "inf",
    "-Infinity",
    "1_0",
    "٣",
    "0x10",
    "1 2",
    "+-1",
    ".",
    "e5",
    "1:2",
    "12345678901234567",
    "0.1234567890123456789",
]


@pytest.mark.parametrize("value", ODD)
def test_a_kit_s_value_is_a_number_or_the_message_is_refused(value: str) -> None:
    with pytest.raises(StepError, match="is not a pair of a sensor and its value"):
        from_kit(f"{{t:2026-03-01T10:00:23Z,5:{value}}}".encode())


@pytest.mark.parametrize("name", ["٣", "-1", "1_0", "", "a", "1e1", "99999999999"])
def test_a_kit_s_sensor_is_a_number(name: str) -> None:
    for value in ("1", "null"):
        with pytest.raises(StepError, match="is not a pair of a sensor and its value"):
            from_kit(f"{{t:2026-03-01T10:00:23Z,{name}:{value}}}".encode())


def test_the_numbers_of_a_kit_are_read() -> None:
    read = from_kit(b"{t:2026-03-01T10:00:23Z,1:2,2:-.5,3:+1e3,4:5.,5:null,6:,7:NaN}")["data"][0]["sensors"]
    assert [(each["id"], each["value"]) for each in read] == [(1, 2.0), (2, -0.5), (3, 1000.0), (4, 5.0)]


@pytest.mark.parametrize(
    "payload",
    [
        b'{"data": [{"recorded_at": "x", "sensors": [{"id": 5, "value": 1e999}]}]}',
        b'{"data": [{"recorded_at": "x", "sensors": [{"id": 5, "value": NaN}]}]}',
        b'{"data": [{"recorded_at": "x", "sensors": [5]}]}',
        b'{"data": [{"recorded_at": "x", "sensors": {"id": 5}}]}',
        b'{"data": 5}',
        b"[" * 100_000,
    ],
)
def test_observations_are_made_of_readings_alone(payload: bytes) -> None:
    route = Route([TopicTemplate("in")], TopicTemplate("out"), shape=observations("streams", from_kit))
    made = route.outgoing(Message("in", payload))
    assert isinstance(made, Refused)
    shape = observations("streams", from_kit)
    with pytest.raises((StepError, ValueError)):
        shape(payload, "in", {"streams": {"5": 7}})


def test_a_payload_that_nobody_thought_of_ends_nothing() -> None:
    def shape(payload: bytes, topic: str, names: object) -> bytes:
        raise RecursionError("too deep")

    made = Route([TopicTemplate("in")], TopicTemplate("out"), shape=shape).outgoing(Message("in", b""))
    assert made == Refused("RecursionError: too deep")


def test_jq_writes_no_infinity() -> None:
    shape = shape_by_jq("{a: (1e308 * 10), b: nan}", Expressions(), from_json)
    made = Route([TopicTemplate("in")], TopicTemplate("out"), shape=shape).outgoing(Message("in", b"1"))
    assert not isinstance(made, Outgoing) or (b"Inf" not in made.payload and b"NaN" not in made.payload)
