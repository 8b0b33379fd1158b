"""Publish and take MQTT messages."""

from __future__ import annotations

import time
from dataclasses import dataclass

from scflows.errors import StepError, UsageError
from scflows.steps import Context, Promise, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

#: Seconds that connecting, and an answer of the broker, may take.
TIMEOUT = 15.0


@dataclass(frozen=True)
class MqttStep(Step):
    """Publish messages, or take those that have come.

    The secret has `url` (such as `mqtts://host:8883`), or `host` and `port`; `username`, `password`, `ca` where they
    are wanted. `publish` sends the value of `data_key` as JSON, a text as it is; with `each` every item of a list by
    itself, and waits until the broker has them all (QoS 1): the result is `{sent: N}`. `take` gives a list of
    `{topic, payload}`, JSON where it is that; messages are acknowledged once that is stored. With a `session` the
    broker keeps what comes between two runs.

    - name: tell the floor
      type: mqtt
      mqtt: {secret: bus, mode: publish, topic: "floor/{{ params.floor }}/state", data_key: state, retain: true}
    - name: orders
      type: mqtt
      mqtt: {secret: bus, mode: take, topic: orders/#, session: flows, max_messages: 100, wait: 5}
    """

    secret: str = option(help="the name of the secret that has the broker")
    topic: str = option(template=True, help="for `take` it may have wildcards")
    mode: str = option("publish", choices=("publish", "take"))
    data_key: str | None = option(None, help="what `publish` sends")
    each: bool = option(False, help="send every item of a list by itself")
    retain: bool = option(False, help="the broker keeps the last one for those who come later")
    session: str | None = option(None, help="the name under which the broker keeps what comes for `take`")
    max_messages: int = option(1000, minimum=1, help="the most that `take` gives")
    wait: float = option(5, minimum=0.001, help="seconds without a message after which `take` ends")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if (options.get("mode") or "publish") == "publish" and options.get("data_key") is None:
            yield "data_key", "`data_key` is missing, which publish needs"

    def writes(self) -> bool:
        return self.mode == "publish" or self.session is not None

    def intention(self) -> str:
        return f"publish to {self.topic}" if self.mode == "publish" else f"take from {self.topic}"

    def dry_result(self) -> Any:
        return {"sent": 0} if self.mode == "publish" else []

    def run(self, ctx: Context) -> Any:
        from scflows.connectors.mqtt import broker, new_client

        contents = self._contents(ctx) if self.mode == "publish" else []
        try:
            where = broker("", ctx.secret(self.secret))
            client = new_client(where, self.session or "", "3.1.1", self.mode == "take", self.session is None)
        except UsageError as error:
            raise StepError(f"the secret {self.secret!r}: {error}") from error
        problems: list[str] = []
        ready: list[bool] = []
        client.on_connect = lambda *told: problems.append(str(told[3])) if told[3].is_failure else ready.append(True)
        # A message that the broker kept for this client may come before anything else.
        come: list[Any] = []
        client.on_message = lambda *told: come.append(told[2])
        try:
            client.connect(where.host, where.port, 60)
        except (OSError, ValueError) as error:
            raise StepError(f"mqtt {where.address}: {getattr(error, 'strerror', None) or error}") from error
        done = False
        client.loop_start()
        try:
            self._until(ctx, lambda: bool(ready or problems), f"mqtt {where.address}: no answer")
            if problems:
                raise StepError(f"mqtt {where.address}: refused: {problems[0]}")
            if self.mode == "publish":
                return self._publish(ctx, client, contents)
            found = self._take(ctx, client, come)
            done = True
            return found
        finally:
            if not done:
                _close(client)

    def _contents(self, ctx: Context) -> list[bytes]:
        from scflows.documents import json_bytes

        value = ctx.value(str(self.data_key))
        if self.each and not isinstance(value, list):
            raise StepError(f"{self.data_key!r} is no list; `each` sends its items")
        items = value if self.each else [value]
        return [item.encode() if isinstance(item, str) else json_bytes(item) for item in items]

    def _publish(self, ctx: Context, client: Any, contents: list[bytes]) -> Any:
        try:
            sent = [client.publish(self.topic, content, 1, self.retain) for content in contents]
        except ValueError as error:
            raise StepError(f"{self.intention()}: {error}") from error
        for each in sent:
            self._until(ctx, each.is_published, f"{self.intention()}: the broker has not taken it")
        return {"sent": len(sent)}

    def _take(self, ctx: Context, client: Any, come: list[Any]) -> Any:
        granted: list[Any] = []
        client.on_subscribe = lambda *told: granted.extend(told[3])
        client.subscribe(self.topic, 1)
        self._until(ctx, lambda: bool(granted), f"{self.intention()}: no answer")
        if granted[0].is_failure:
            raise StepError(f"{self.intention()}: refused: {granted[0]}")
        seen, since = -1, time.monotonic()
        while len(come) < self.max_messages and time.monotonic() - since < self.wait:
            if len(come) != seen:
                seen, since = len(come), time.monotonic()
            ctx.sleep(0.02)
        taken = come[: self.max_messages]

        def keep() -> None:
            for message in taken:
                if message.qos:
                    client.ack(message.mid, message.qos)
            _close(client)

        ctx.promises.append(Promise(keep, lambda: _close(client)))
        return [{"topic": message.topic, "payload": _value(message.payload)} for message in taken]

    def _until(self, ctx: Context, holds: Any, problem: str) -> None:
        ends = time.monotonic() + TIMEOUT
        while not holds():
            if time.monotonic() > ends:
                raise StepError(f"{problem} within {TIMEOUT:g} s")
            ctx.sleep(0.005)


def _close(client: Any) -> None:
    client.disconnect()
    client.loop_stop()


def _value(content: bytes) -> Any:
    from scflows.documents import parse_json

    try:
        text = content.decode()
    except UnicodeDecodeError:
        return content.decode("utf-8", "backslashreplace")
    try:
        return parse_json(text, "payload")
    except StepError:
        return text
