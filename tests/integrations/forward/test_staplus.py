"""Readings to a SensorThings service, a real server of the test's own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

TABLE = "token,sensor,datastream\nabc,55,7\nabc,56,8\n"


class Service:
    """Takes observations; answers with the statuses of `answers` first."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.answers: list[int] = []
        self.logins: set[str | None] = set()
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(200)

            def do_POST(self) -> None:
                given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                service.logins.add(self.headers["Authorization"])
                status = service.answers.pop(0) if service.answers else 201
                if status == 201:
                    assert self.path == "/v1.1/Observations"
                    service.taken.append(given)
                self._answer(status)

            def _answer(self, status: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *told: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1.1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.close()


@pytest.fixture
def forwarding(
    wait_until: Callable[..., Any],
    broker: Callable[..., Any],
    forward: Callable[..., Any],
    service: Service,
    tmp_path: Path,
) -> tuple[Any, Any]:
    """The broker that readings come from, and the forwarder."""
    source = broker()
    (tmp_path / "streams.csv").write_text(TABLE)
    (tmp_path / "data").mkdir()
    secrets = tmp_path / "data" / "secrets.yml"
    secrets.write_text("- {name: sta, type: credential, username: kit, password: s3cret-word}\n")
    secrets.chmod(0o600)
    forwarder = forward(
        f"""\
name: sta
from: {{url: "{source.url}", topic: "device/<token>/readings/raw"}}
to: {{url: "{service.url}", secret: sta}}
names:
  {{type: csv, path: streams.csv, key: token, collect: {{into: streams, by: sensor, value: datastream}}}}
payload: {{observations: streams}}
""",
        "staplus",
    )
    wait_until(lambda: "staplus http" in forwarder.output and "subscribed" in forwarder.output)
    return source, forwarder


@pytest.mark.service
def test_each_reading_of_a_known_sensor_is_an_observation(
    wait_until: Callable[..., Any], forwarding: tuple[Any, Any], service: Service
) -> None:
    source, forwarder = forwarding
    source.publish([("device/abc/readings/raw", "{t:2026-03-01T10:00:23Z,55:21.5,56:40,99:1}")])
    wait_until(lambda: len(service.taken) == 2)
    moment = "2026-03-01T10:00:23Z"
    assert service.taken == [
        {"phenomenonTime": moment, "resultTime": moment, "result": 21.5, "Datastream": {"@iot.id": 7}},
        {"phenomenonTime": moment, "resultTime": moment, "result": 40.0, "Datastream": {"@iot.id": 8}},
    ]
    assert all(login and login.startswith("Basic ") for login in service.logins)
    assert forwarder.stop() == 0


@pytest.mark.service
def test_an_ailing_service_gets_all_of_it_later_and_what_it_refuses_is_kept(
    wait_until: Callable[..., Any], forwarding: tuple[Any, Any], service: Service, flows: Callable[..., Any]
) -> None:
    source, forwarder = forwarding
    service.answers += [500, 429, 404]
    source.publish([("device/abc/readings/raw", f"{{t:2026-03-01T10:0{n}:00Z,55:{n}}}") for n in range(5)])
    wait_until(lambda: len(service.taken) == 4)
    results = [each["result"] for each in service.taken]
    assert results == sorted(results)
    assert forwarder.stop() == 0
    told = json.loads(flows("forward", "status", "--json").stdout)["items"][0]
    assert told["spool"]["refused"] == 1
    assert told["spool"]["messages"] == 0
