"""Redis, a real one."""

from __future__ import annotations

import time
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


def put(key: str, *items: str) -> Any:
    import redis

    server = redis.Redis(decode_responses=True)
    server.rpush(key, *items)
    return server


def test_an_item_that_cannot_be_stored_stays_in_the_list(run_flow: Callable[..., Any], key: str) -> None:
    server = put(key, '{"order": 81}', "order 82", '{"order": 83}')
    run = run_flow(f"""
steps:
  - {{name: unfit, type: redis, ignore_errors: unfit, redis: {{secret: cache, command: pop, key: "{key}"}},
      jq_expression: 'error("unfit")'}}
  - {{name: tried, type: redis, retry: {{attempts: 3, delay: 0, on: unfit}}, ignore_errors: unfit,
      redis: {{secret: cache, command: pop, key: "{key}"}}, jq_expression: 'error("unfit")'}}
  - {{name: first, type: redis, redis: {{secret: cache, command: pop, key: "{key}"}}}}
  - {{name: text, type: redis, ignore_errors: ., redis: {{secret: cache, command: pop, key: "{key}"}}}}
""")
    assert run.result["first"] == {"order": 81}
    assert len(run.errors) == 3
    assert server.lrange(key, 0, -1) == ["order 82", '{"order": 83}']
    assert not server.exists(f"{key}:taken")


def test_what_a_killed_run_took_is_in_the_list_again(run_flow: Callable[..., Any], key: str) -> None:
    server = put(key, "3")
    # As two killed runs leave them: a long time ago, and just now.
    server.zadd(f"{key}:taken", {"a" * 32 + "1": 1, "b" * 32 + "2": 2, "c" * 32 + "4": 4e9})
    run = run_flow(f"""
steps:
  - {{name: one, type: redis, redis: {{secret: cache, command: pop, key: "{key}"}}}}
  - {{name: two, type: redis, redis: {{secret: cache, command: pop, key: "{key}"}}}}
  - {{name: three, type: redis, redis: {{secret: cache, command: pop, key: "{key}"}}}}
  - {{name: none, type: redis, redis: {{secret: cache, command: pop, key: "{key}"}}}}
""")
    assert [run.result[name] for name in ("one", "two", "three", "none")] == [1, 2, 3, None]
    assert server.zrange(f"{key}:taken", 0, -1) == ["c" * 32 + "4"]
    server.delete(f"{key}:taken")


def test_an_item_is_removed_after_its_result_is_in_the_journal(
    run_flow: Callable[..., Any], key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scflows.execution.journal import Notes

    server = put(key, "7")
    order: list[int] = []
    note_step = Notes.note_step

    def note(self: Notes, *arguments: Any) -> None:
        order.append(server.zcard(f"{key}:taken"))
        note_step(self, *arguments)

    monkeypatch.setattr(Notes, "note_step", note)
    # The steps run in a forked process, so what was seen is told by a key.
    monkeypatch.setattr(Notes, "note_end", lambda self, *_: server.set(f"{key}:seen", str(order)))
    child = f"steps: [{{name: pop, type: redis, redis: {{secret: cache, command: pop, key: '{key}'}}}}]"
    run_flow(child, name="child.yml")
    assert server.get(f"{key}:seen") == "[1]"
    server.rpush(key, "8")
    run_flow("steps: [{name: child, type: flow, flow: {path: child.yml}}]")
    # Of the child's own step; then of the step that ran the child.
    assert server.get(f"{key}:seen") == "[1, 0]"
    assert not server.exists(f"{key}:taken")
    server.delete(f"{key}:seen")


def test_an_item_that_no_journal_keeps_is_removed_when_the_run_has_succeeded(
    run_flow: Callable[..., Any], key: str, workspace: Path
) -> None:
    secrets = workspace / "data" / "secrets.yml"
    secrets.write_text(secrets.read_text().replace("}", ", token: token-of-the-cache}"))
    server = put(key, '"token-of-the-cache"')
    pop = f'{{name: pop, type: redis, redis: {{secret: cache, command: pop, key: "{key}"}}}}'
    run_flow(f"steps: [{pop}, {{name: end, type: shell, shell: {{command: 'kill -9 $PPID'}}}}]")
    [(item, until)] = server.zrange(f"{key}:taken", 0, -1, withscores=True)
    # It waits for as long as the run might have taken, not only for a minute.
    assert until > time.time() + 300
    server.zadd(f"{key}:taken", {item: 1})
    assert run_flow(f"steps: [{pop}, {{name: end, type: jq, jq: {{expression: 'error(1)'}}}}]").status == "failed"
    assert server.lrange(key, 0, -1) == ['"token-of-the-cache"']
    run = run_flow(f"steps: [{pop}, {{name: end, type: debug, debug: {{data_key: pop}}}}]")
    assert run.status == "success"
    assert "acknowledged when the run has succeeded" in run.log
    assert not server.exists(key, f"{key}:taken")
