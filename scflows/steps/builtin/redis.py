"""Read and write values in Redis."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import StepError, UsageError
from scflows.steps import Context, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

#: Seconds to wait for each response of the server.
TIMEOUT = 30.0
READING = ("get",)
WITH_VALUE = ("set", "push", "publish")


@dataclass(frozen=True)
class RedisStep(Step):
    """Read and write values in Redis, as JSON.

    The secret has `url` (for example `redis://host:6379/0`), or `host` and `port`; optionally `username` and
    `password`. The result depends on the command: `get` and `pop` return the value or null, `delete` whether the key
    existed, `incr` the new number, `push` the new length of the list, `publish` the number of subscribers, `set` true.
    `push` appends to a list and `pop` takes the first item.

    - name: keep the last
      type: redis
      redis: {secret: cache, command: set, key: "last:{{ params.day }}", data_key: summary, ttl: 3600}
    - name: count the runs
      type: redis
      redis: {secret: cache, command: incr, key: runs}
    """

    command: str = option(choices=("get", "set", "delete", "incr", "push", "pop", "publish"))
    key: str = option(template=True, help="the key, or the channel for `publish`")
    secret: str = option(help="name of the secret with the server and credentials")
    data_key: str | None = option(None, help="the key of the value that `set`, `push` and `publish` send")
    ttl: float | None = option(None, minimum=0.001, help="seconds until a value that was `set` expires")
    by: int = option(1, help="how much `incr` adds")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        command = options.get("command")
        if command in WITH_VALUE and options.get("data_key") is None:
            yield "data_key", f"option 'data_key' is missing: {command!r} needs it"
        if options.get("ttl") is not None and command != "set":
            yield "ttl", "'ttl' works only with `set`"

    def writes(self) -> bool:
        return self.command not in READING

    def intention(self) -> str:
        return f"{self.command} {self.key!r} in redis"

    def dry_result(self) -> Any:
        return None

    def run(self, ctx: Context) -> Any:
        from scflows.connectors.redis import client

        content = self._content(ctx)
        try:
            server = client("", ctx.secret(self.secret), ctx.call_timeout(TIMEOUT))
        except UsageError as error:
            raise StepError(f"secret {self.secret!r}: {error}") from error
        from redis import RedisError

        try:
            return self._run_command(server, content)
        except RedisError as error:
            raise StepError(f"{self.intention()}: {' '.join(str(error).split())}") from error
        finally:
            server.close()

    def _content(self, ctx: Context) -> bytes:
        from scflows.documents import json_bytes

        return json_bytes(ctx.value(str(self.data_key))) if self.command in WITH_VALUE else b""

    def _run_command(self, server: Any, content: bytes) -> Any:
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
