"""Publish and receive MQTT messages."""

from __future__ import annotations

import time
from dataclasses import dataclass

from scflows.errors import StepError, UsageError
from scflows.steps import Acknowledgement, Context, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

#: Seconds to wait for a connection and for each response of the broker.
TIMEOUT = 15.0


@dataclass(frozen=True)
class MqttStep(Step):
    """Publish or receive MQTT messages.

    The secret has `url` (for example `mqtts://host:8883`), or `host` and `port`; optionally `username`, `password` and
    `ca`. `publish` sends the value of `data_key` as JSON, text unchanged, with `each` every item of a list separately.
    It waits until the broker has accepted all messages (QoS 1); the result is `{sent: N}`. `take` returns a list of
    `{topic, payload}`, parsed if the payload is JSON; messages are acknowledged once the list is stored. With a
    `session` the broker keeps messages that arrive between runs.

    - name: send state
      type: mqtt
      mqtt: {secret: bus, mode: publish, topic: "floor/{{ params.floor }}/state", data_key: state, retain: true}
    - name: receive orders
      type: mqtt
      mqtt: {secret: bus, mode: take, topic: orders/#, session: flows, max_messages: 100, wait: 5}
    """

    secret: str = option(help="name of the secret with the broker and credentials")
    topic: str = option(template=True, help="the topic; may contain wildcards for `take`")
    mode: str = option("publish", choices=("publish", "take"))
    data_key: str | None = option(None, help="the key of the value that `publish` sends")
    each: bool = option(False, help="send every item of a list as its own message")
    retain: bool = option(False, help="the broker keeps the last message for later subscribers")
    session: str | None = option(None, help="name of a persistent session for `take`")
    max_messages: int = option(1000, minimum=1, help="maximum number of messages that `take` returns")
    parse: str = option("auto", choices=("auto", "text"), help="`text`: `take` returns payloads as text, also JSON")
    wait: float = option(5, minimum=0.001, duration=True, help="`take` ends after this time without a message")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if (options.get("mode") or "publish") == "publish" and options.get("data_key") is None:
            yield "data_key", "option 'data_key' is missing: 'publish' needs it"

    def writes(self) -> bool:
        return self.mode == "publish" or self.session is not None

    def intention(self) -> str:
        return f"publish to {self.topic}" if self.mode == "publish" else f"take from {self.topic}"

    def dry_result(self) -> Any:
        return {"sent": 0} if self.mode == "publish" else []

    def run(self, ctx: Context) -> Any:
        from scflows.connectors.mqtt import broker_of, new_client

        contents = self._contents(ctx) if self.mode == "publish" else []
        try:
            broker = broker_of("", ctx.secret(self.secret))
            client = new_client(broker, self.session or "", "3.1.1", self.mode == "take", self.session is None)
        except UsageError as error:
            raise StepError(f"secret {self.secret!r}: {error}") from error
        problems: list[str] = []
        ready: list[bool] = []
        client.on_connect = lambda *args: problems.append(str(args[3])) if args[3].is_failure else ready.append(True)
        # A message stored for this session may arrive before any other event.
        received: list[Any] = []
        client.on_message = lambda *args: received.append(args[2])
        try:
            client.connect(broker.host, broker.port, 60)
        except (OSError, ValueError) as error:
            raise StepError(f"mqtt {broker.address}: {getattr(error, 'strerror', None) or error}") from error
        done = False
        client.loop_start()
        try:
            self._wait_until(ctx, lambda: bool(ready or problems), f"mqtt {broker.address}: no response")
            if problems:
                raise StepError(f"mqtt {broker.address}: refused: {problems[0]}")
            if self.mode == "publish":
                return self._publish(ctx, client, contents)
            found = self._take(ctx, client, received)
            done = True
            return found
        finally:
            if not done:
                _close(client)

    def _contents(self, ctx: Context) -> list[bytes]:
        from scflows.documents import json_bytes

        value = ctx.value(str(self.data_key))
        if self.each and not isinstance(value, list):
            raise StepError(f"{self.data_key!r} is not a list; `each` needs one")
        items = value if self.each else [value]
        return [item.encode() if isinstance(item, str) else json_bytes(item) for item in items]

    def _publish(self, ctx: Context, client: Any, contents: list[bytes]) -> Any:
        try:
            sent = [client.publish(self.topic, content, 1, self.retain) for content in contents]
        except ValueError as error:
            raise StepError(f"{self.intention()}: {error}") from error
        for each in sent:
            self._wait_until(ctx, each.is_published, f"{self.intention()}: not acknowledged by the broker")
        return {"sent": len(sent)}

    def _take(self, ctx: Context, client: Any, received: list[Any]) -> Any:
        granted: list[Any] = []
        client.on_subscribe = lambda *args: granted.extend(args[3])
        client.subscribe(self.topic, 1)
        self._wait_until(ctx, lambda: bool(granted), f"{self.intention()}: no response")
        if granted[0].is_failure:
            raise StepError(f"{self.intention()}: refused: {granted[0]}")
        seen, since = -1, time.monotonic()
        while len(received) < self.max_messages and time.monotonic() - since < self.wait:
            if len(received) != seen:
                seen, since = len(received), time.monotonic()
            ctx.sleep(0.02)
        taken = received[: self.max_messages]
        # Before anything is acknowledged: a payload that cannot be held exactly fails the step.
        value = [{"topic": each.topic, "payload": self._value(each)} for each in taken]

        def acknowledge() -> None:
            codes = [client.ack(message.mid, message.qos) for message in taken if message.qos]
            is_connected = client.is_connected()
            _close(client)
            if any(codes) or (codes and not is_connected):
                raise StepError(f"{self.intention()}: the connection was lost before the messages were acknowledged")

        ctx.acknowledgements.append(Acknowledgement(acknowledge, lambda: _close(client)))
        return value

    def _value(self, message: Any) -> Any:
        from scflows.documents import received_value

        return received_value(message.payload, f"{message.topic}: payload", self.parse == "text")

    def _wait_until(self, ctx: Context, condition: Any, problem: str) -> None:
        ends = time.monotonic() + TIMEOUT
        while not condition():
            if time.monotonic() > ends:
                failure = StepError(f"{problem} within {TIMEOUT:g} s")
                failure.is_temporary = True
                raise failure
            ctx.sleep(0.005)


def _close(client: Any) -> None:
    client.disconnect()
    client.loop_stop()
