"""Real brokers and real forwarders, each in a process of its own."""

from __future__ import annotations

import ctypes
import glob
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import confluent_kafka
import paho.mqtt.client as paho
import pytest

CONFIGURATION = """\
listener {port} 127.0.0.1
max_queued_messages 0
persistence true
persistence_location {folder}/
log_type none
"""


def _wait_until(holds: Callable[[], Any], seconds: float = 60.0) -> Any:
    """What the function gives, once that is true."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        found = holds()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds:g} s")


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    """Waits until a function gives something true."""
    return _wait_until


class Broker:
    """A Mosquitto of its own, which can be stopped and started again."""

    def __init__(self, folder: Path, more: str = "allow_anonymous true\n") -> None:
        folder.mkdir()
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = int(found.getsockname()[1])
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self._file = folder / "mosquitto.conf"
        self._file.write_text(CONFIGURATION.format(port=self.port, folder=folder) + more)
        # As root it would change to another user, who may not write here.
        self._file.write_text(self._file.read_text() + ("user root\n" if os.geteuid() == 0 else ""))
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: list[Any] = []

    def start(self) -> None:
        self._process = subprocess.Popen([_mosquitto(), "-c", str(self._file)], stderr=subprocess.DEVNULL)
        _wait_until(self._answers)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def client(self, name: str = "", login: Callable[[Any], None] = lambda client: None) -> Any:
        """A client of the test's own that connects again by itself."""
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name, clean_session=not name)
        client.reconnect_delay_set(1, 1)
        login(client)
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        self._clients.append(client)
        return client

    def collect(self, topic: str, name: str = "", login: Callable[[Any], None] = lambda client: None) -> list[Any]:
        """The messages of a topic, as they come."""
        come: list[Any] = []
        ready: list[bool] = []

        def prepare(client: Any) -> None:
            login(client)
            client.on_connect = lambda *_: client.subscribe(topic, 1)
            client.on_subscribe = lambda *_: ready.append(True)
            client.on_message = lambda *told: come.append(told[2])

        self.client(name, prepare)
        _wait_until(lambda: ready)
        return come

    def publish(self, messages: list[tuple[str, str]], client: Any = None) -> None:
        """Have it take messages, in order."""
        writer = client or self.client()
        for sent in [writer.publish(topic, payload, 1) for topic, payload in messages]:
            sent.wait_for_publish(30)

    def close(self) -> None:
        for client in self._clients:
            client.loop_stop()
            client.disconnect()
        self.stop()

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False


def _mosquitto() -> str:
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("needs mosquitto")
    return found


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """Makes brokers that run until the test ends."""
    made: list[Broker] = []

    def make(**more: str) -> Broker:
        made.append(Broker(tmp_path / f"broker{len(made)}", **more))
        made[-1].start()
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def brokers(broker: Callable[..., Broker]) -> tuple[Broker, Broker]:
    """Where messages come from, and where they go to."""
    return broker(), broker()


class Forwarder:
    """A `flows forward` in a process of its own."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self._output = folder / "forwarder.out"
        with open(self._output, "ab") as out:
            self.process = subprocess.Popen(command, env=environment, cwd=folder, stdout=out, stderr=out)

    @property
    def output(self) -> str:
        return self._output.read_text()

    def is_ready(self) -> bool:
        """Whether it has found both ends."""
        assert self.process.poll() is None, self.output
        output = self.output.rpartition(": mqtt ")[2]
        return output.count("connected to") >= 2 and "subscribed to" in output

    def stop(self, how: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(60)


@pytest.fixture
def forward(tmp_path: Path, environment: dict[str, str]) -> Iterator[Callable[..., Forwarder]]:
    """Starts a forwarder with a schema, given as text."""
    started: list[Forwarder] = []

    def start(schema: str, kind: str = "mqtt", *options: str) -> Forwarder:
        path = tmp_path / "schema.yml"
        path.write_text(schema)
        command = [sys.executable, "-P", "-m", "scflows", "forward", kind, "--schema-file", str(path), *options]
        started.append(Forwarder(command, environment, tmp_path))
        return started[-1]

    yield start
    for each in started:
        each.stop(signal.SIGKILL)


@pytest.fixture
def flows(tmp_path: Path, environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command of ours to its end."""

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "scflows", *arguments]
        return subprocess.run(
            command, env={**environment, **more}, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )

    return run


@pytest.fixture
def cluster() -> Iterator[str]:
    """The address of a cluster of one broker that lives in this process."""
    folder = os.path.join(os.path.dirname(os.path.dirname(confluent_kafka.__file__)), "confluent_kafka.libs")
    library = ctypes.CDLL(glob.glob(os.path.join(folder, "librdkafka*.so*"))[0])
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_mock_cluster_new"):
        getattr(library, name).restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    problem = ctypes.create_string_buffer(512)
    settings = ctypes.c_void_p(library.rd_kafka_conf_new())
    library.rd_kafka_conf_set(settings, b"log_level", b"0", problem, 512)
    handle = ctypes.c_void_p(library.rd_kafka_new(0, settings, problem, 512))
    made = ctypes.c_void_p(library.rd_kafka_mock_cluster_new(handle, 1))
    yield library.rd_kafka_mock_cluster_bootstraps(made).decode()
    library.rd_kafka_mock_cluster_destroy(made)
    library.rd_kafka_destroy(handle)
