"""Keep values in Redis, and take them from there."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import StepError, UsageError
from scflows.steps import Context, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

#: Seconds that the server may take for one answer.
TIMEOUT = 30.0
READING = ("get",)
WITH_VALUE = ("set", "push", "publish")


@dataclass(frozen=True)
class RedisStep(Step):
    """Call Redis. Values are JSON.

    The secret has `url` (such as `redis://host:6379/0`), or `host` and `port`; `username` and `password` where they
    are wanted. `get` and `pop` give the value, null where there is none; `delete` whether it was there; `incr` the
    number that it is now; `push` how many the list has now; `publish` how many were listening; `set` true. What
    `push` puts at the end of a list `pop` takes from its beginning.

    - name: keep the last
      type: redis
      redis: {secret: cache, command: set, key: "last:{{ params.day }}", data_key: summary, ttl: 3600}
    - name: count the runs
      type: redis
      redis: {secret: cache, command: incr, key: runs}
    """

    command: str = option(choices=("get", "set", "delete", "incr", "push", "pop", "publish"))
    key: str = option(template=True, help="of the value; for `publish` the channel")
    secret: str = option(help="the name of the secret that has the server")
    data_key: str | None = option(None, help="whose value `set`, `push` and `publish` send")
    ttl: float | None = option(None, minimum=0.001, help="seconds after which what was `set` is gone")
    by: int = option(1, help="how much `incr` adds")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        command = options.get("command")
        if command in WITH_VALUE and options.get("data_key") is None:
            yield "data_key", f"`data_key` is missing, which {command} needs"
        if options.get("ttl") is not None and command != "set":
            yield "ttl", "`ttl` is for `set`"

    def writes(self) -> bool:
        return self.command not in READING

    def intention(self) -> str:
        return f"{self.command} {self.key!r} in redis"

    def dry_result(self) -> Any:
        return None

    def run(self, ctx: Context) -> Any:
        from scflows.connectors.redis import client

        content = self._content(ctx)
        remaining = ctx.remaining()
        try:
            server = client(
                "", ctx.secret(self.secret), TIMEOUT if remaining is None else max(0.1, min(TIMEOUT, remaining))
            )
        except UsageError as error:
            raise StepError(f"the secret {self.secret!r}: {error}") from error
        from redis import RedisError

        try:
            return self._called(server, content)
        except RedisError as error:
            raise StepError(f"{self.intention()}: {' '.join(str(error).split())}") from error
        finally:
            server.close()

    def _content(self, ctx: Context) -> bytes:
        from scflows.documents import json_bytes

        return json_bytes(ctx.value(str(self.data_key))) if self.command in WITH_VALUE else b""

    def _called(self, server: Any, content: bytes) -> Any:
        if self.command == "set":
            milliseconds = None if self.ttl is None else max(1, round(self.ttl * 1000))
            return bool(server.set(self.key, content, px=milliseconds))
        if self.command == "push":
            return server.rpush(self.key, content)
        if self.command == "publish":
            return server.publish(self.key, content)
        if self.command == "delete":
            return server.delete(self.key) > 0
        if self.command == "incr":
            return server.incrby(self.key, self.by)
        found = server.get(self.key) if self.command == "get" else server.lpop(self.key)
        return None if found is None else self._value(found)

    def _value(self, content: bytes) -> Any:
        from scflows.documents import decode, parse_json

        return parse_json(decode(content, f"redis {self.key}"), f"redis {self.key}")
