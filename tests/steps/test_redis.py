"""Redis, a real one."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.service, pytest.mark.language("§10 redis")]


@pytest.fixture
def key(workspace: Path) -> Iterator[str]:
    """A key that nobody else has, on the server that the secret `cache` names."""
    import redis

    server = redis.Redis(socket_timeout=5)
    try:
        server.ping()
    except redis.RedisError:
        pytest.skip("needs a Redis on 127.0.0.1:6379")
    (workspace / "data").mkdir()
    secrets = workspace / "data" / "secrets.yml"
    secrets.write_text('- {name: cache, type: credential, url: "redis://127.0.0.1:6379/0"}\n')
    secrets.chmod(0o600)
    name = f"scflows-test-{uuid.uuid4()}"
    yield name
    server.delete(name)
    server.close()


def test_a_value_is_set_for_a_while_and_got_back(run_flow: Callable[..., Any], key: str) -> None:
    run = run_flow(f"""
steps:
  - {{name: before, type: redis, redis: {{secret: cache, command: get, key: "{key}"}}}}
  - {{name: summary, type: set_fact, set_fact: {{value: {{mean: "20.5", odd: "ä\\"{{"}}}}}}
  - {{name: set, type: redis, redis: {{secret: cache, command: set, key: "{key}", data_key: summary, ttl: 100}}}}
  - {{name: get, type: redis, redis: {{secret: cache, command: get, key: "{key}"}}}}
  - {{name: gone, type: redis, redis: {{secret: cache, command: delete, key: "{key}"}}}}
  - {{name: again, type: redis, redis: {{secret: cache, command: delete, key: "{key}"}}}}
""")
    result = run.result
    assert (result["before"], result["set"], result["gone"], result["again"]) == (None, True, True, False)
    assert result["get"] == result["summary"]


def test_a_list_gives_first_what_was_put_first_and_a_number_grows(run_flow: Callable[..., Any], key: str) -> None:
    run = run_flow(f"""
steps:
  - {{name: push, type: redis, redis: {{secret: cache, command: push, key: "{key}", data_key: __job_id__}}}}
  - {{name: push2, type: redis, redis: {{secret: cache, command: push, key: "{key}", data_key: __errors__}}}}
  - {{name: pop, type: redis, redis: {{secret: cache, command: pop, key: "{key}"}}}}
  - {{name: pop2, type: redis, redis: {{secret: cache, command: pop, key: "{key}"}}}}
  - {{name: pop3, type: redis, redis: {{secret: cache, command: pop, key: "{key}"}}}}
  - {{name: one, type: redis, redis: {{secret: cache, command: incr, key: "{key}"}}}}
  - {{name: five, type: redis, redis: {{secret: cache, command: incr, key: "{key}", by: 4}}}}
""")
    result = run.result
    assert (result["push"], result["push2"]) == (1, 2)
    assert (result["pop"], result["pop2"], result["pop3"]) == (result["__job_id__"], [], None)
    assert (result["one"], result["five"]) == (1, 5)


def test_what_the_server_refuses_is_told(run_flow: Callable[..., Any], key: str) -> None:
    run = run_flow(f"""
steps:
  - {{name: push, type: redis, redis: {{secret: cache, command: push, key: "{key}", data_key: __errors__}}}}
  - {{name: wrong, type: redis, redis: {{secret: cache, command: get, key: "{key}"}}}}
""")
    assert run.status == "failed"
    assert f"get '{key}' in redis: WRONGTYPE" in run.message


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("command: set, key: a", "option 'data_key' is missing: 'set' needs it"),
        ("command: get, key: a, ttl: 3", "'ttl' works only with `set`"),
        ("command: got, key: a", "did you mean 'get'?"),
    ],
)
def test_a_wrong_option_is_told(run_flow: Callable[..., Any], options: str, told: str) -> None:
    run = run_flow(f"steps: [{{name: r, type: redis, redis: {{secret: cache, {options}}}}}]")
    assert told in run.message
