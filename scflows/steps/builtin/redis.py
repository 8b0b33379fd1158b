"""Read and write values in Redis."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import StepError, UsageError
from scflows.steps import Acknowledgement, Context, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

#: Seconds to wait for each response of the server.
TIMEOUT = 30.0
READING = ("get",)
#: Seconds after which an item that was taken and not stored, because its run was killed, is in the list again.
LEASE = 60
#: The key with the items that were taken from a list and are not stored yet: a sorted set, by the end of their lease.
TAKEN = "{key}:taken"
# Scripts run as a whole, so another run or a kill cannot come in between.
TAKE = """
local now = tonumber(redis.call('TIME')[1])
local lost = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)
for i = #lost, 1, -1 do
  redis.call('LPUSH', KEYS[1], string.sub(lost[i], string.len(ARGV[1]) + 1))
  redis.call('ZREM', KEYS[2], lost[i])
end
local item = redis.call('LPOP', KEYS[1])
if item then redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[1] .. item) end
return item
"""
REMOVE = "return redis.call('ZREM', KEYS[2], ARGV[1])"
HOLD = """
local now = tonumber(redis.call('TIME')[1])
return redis.call('ZADD', KEYS[2], 'XX', 'GT', now + ARGV[2], ARGV[1])
"""
PUT_BACK = """
if redis.call('ZREM', KEYS[2], ARGV[1]) == 1 then redis.call('LPUSH', KEYS[1], ARGV[2]) end
return 1
"""
WITH_VALUE = ("set", "push", "publish")


@dataclass(frozen=True)
class RedisStep(Step):
    """Read and write values in Redis, as JSON.

    The secret has `url` (for example `redis://host:6379/0`), or `host` and `port`; optionally `username` and
    `password`. The result depends on the command: `get` and `pop` return the value or null, `delete` whether the key
    existed, `incr` the new number, `push` the new length of the list, `publish` the number of subscribers, `set` true.
    `push` appends to a list and `pop` takes the first item, which is removed once it is stored. If the step fails, it
    is put back; if the run is killed, it is in the list again a minute later.

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
    ttl: float | None = option(None, minimum=0.001, duration=True, help="time until a value that was `set` expires")
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
            return self._take(ctx, server) if self.command == "pop" else self._run_command(server, content)
        except RedisError as error:
            raise StepError(f"{self.intention()}: {' '.join(str(error).split())}") from error
        finally:
            if not ctx.acknowledgements:
                server.close()

    def _take(self, ctx: Context, server: Any) -> Any:
        """Take the first item of the list, which stays in a second one until it is stored."""
        from uuid import uuid4

        owner = uuid4().hex
        keys = (self.key, TAKEN.format(key=self.key))
        item = server.eval(TAKE, 2, *keys, owner, LEASE)
        if item is None:
            return None
        member = owner.encode() + item

        def remove() -> None:
            with server:
                if not server.eval(REMOVE, 2, *keys, member):
                    raise StepError(f"{self.intention()}: the item was back in the list before its result was stored")

        def put_back() -> None:
            with server:
                server.eval(PUT_BACK, 2, *keys, member, item)

        def hold(seconds: float) -> None:
            server.eval(HOLD, 2, *keys, member, int(seconds) + LEASE)

        ctx.acknowledgements.append(Acknowledgement(remove, put_back, hold))
        return self._value(item)

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
        found = server.get(self.key)
        return None if found is None else self._value(found)

    def _value(self, content: bytes) -> Any:
        from scflows.documents import decode, parse_json

        return parse_json(decode(content, f"redis {self.key}"), f"redis {self.key}")
