"""The way between two ends: ends of the test's own, a disk that fails, a broker that does not answer."""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scflows.connectors.endpoint import Endpoint
from scflows.integrations.forward import bridge, mqtt, spool
from scflows.integrations.forward import mqtt_connection as link
from scflows.integrations.forward.bridge import Bridge
from scflows.integrations.forward.contract import EXPIRES, Message, Outgoing, expiry, seconds_left
from scflows.integrations.forward.mqtt import MqttSink, MqttSource
from scflows.integrations.forward.mqtt_connection import MqttEnd
from scflows.integrations.forward.route import Route
from scflows.integrations.forward.spool import Spool
from scflows.integrations.forward.topic import TopicTemplate


class End:
    """What a source and a sink have in common; nothing is waited for."""

    def __init__(self) -> None:
        self.name, self.is_up, self.problem, self.longest_wait = "here", True, "", 0.0

    def sockets(self) -> tuple[list[Any], list[Any]]:
        return [], []

    def serve(self, readable: set[Any], writable: set[Any]) -> None:
        pass

    def close(self) -> None:
        pass


class Source(End):
    def __init__(self, count: int = 0, payload: bytes = b"") -> None:
        super().__init__()
        self.come = deque(Message("in", b"%06d" % number + payload) for number in range(count))
        self.safe: list[bytes] = []

    def take(self, max_messages: int, max_bytes: int) -> list[Message]:
        taken: list[Message] = []
        while self.come and len(taken) < max_messages and max_bytes > 0:
            taken.append(self.come.popleft())
            max_bytes -= len(taken[-1].payload)
        return taken

    def pause(self, paused: bool) -> None:
        pass

    def acknowledge(self, message: Message) -> None:
        self.safe.append(message.payload)


class Sink(End):
    """Takes all at once, unless it is away or `holds` its answers."""

    def __init__(self, is_up: bool = True) -> None:
        super().__init__()
        self.is_up, self.losses, self.window, self.holds = is_up, 0, 50, False
        self.taken: list[bytes] = []
        self.numbers: list[tuple[int, str]] = []

    def send(self, number: int, message: Outgoing) -> None:
        self.taken.append(message.payload)
        self.numbers.append((number, ""))

    def answers(self) -> list[tuple[int, str]]:
        if self.holds:
            return []
        answers, self.numbers = self.numbers, []
        return answers

    def publish_status(self, status: bytes) -> None:
        pass


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spool]:
    monkeypatch.setattr(bridge, "START_WAIT", 0.0)
    monkeypatch.setattr(bridge, "DISK_RETRY", 0.0)
    monkeypatch.setattr(bridge, "REMOVE_INTERVAL", 0.0)
    made = Spool(str(tmp_path / "x.spool"), 2**20)
    yield made
    made.close()


def carry(source: Any, sink: Any, disk: Spool, told: list[str] | None = None) -> Bridge:
    route = Route([TopicTemplate("in")], TopicTemplate("out"))
    return Bridge(source, sink, route, disk, (told if told is not None else []).append)


def turn(given: Bridge, times: int = 100) -> None:
    for _ in range(times):
        given.step(0)


def numbers(payloads: list[bytes]) -> list[int]:
    return [int(each[:6]) for each in payloads]


def test_a_full_disk_blocks_nothing_once_the_sink_is_back(disk: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    source, sink, told = Source(2000, b"x" * 200), Sink(is_up=False), list[str]()
    disk._file.execute("PRAGMA max_page_count=30")
    monkeypatch.setattr(bridge, "WRITE_BYTES", 10_000)
    given = carry(source, sink, disk, told)
    turn(given)
    assert 0 < disk.count < 500
    assert "full" in given.disk_problem
    assert numbers(source.safe) == list(range(disk.count))
    sink.is_up = True
    turn(given)
    assert numbers(sink.taken) == numbers(source.safe) == list(range(2000))
    assert (disk.count, given.disk_problem) == (0, "")
    assert len(told) == 1


def test_a_disk_that_forgets_nothing_holds_nothing_up(disk: Spool) -> None:
    source, sink, told = Source(100), Sink(is_up=False), list[str]()
    given = carry(source, sink, disk, told)
    turn(given, 5)
    assert disk.count == 100
    disk._file.execute("PRAGMA query_only=ON")
    source.come += Source(200).come
    sink.is_up = True
    turn(given)
    assert len(sink.taken) == len(source.safe) == 300
    assert (disk.count, len(told)) == (100, 1)
    disk._file.execute("PRAGMA query_only=OFF")
    turn(given)
    assert (disk.count, given.disk_problem) == (0, "")


def test_a_disk_that_is_nearly_full_is_left_alone(disk: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs(".")
    blocks = 2**30 // real.f_frsize
    full = os.statvfs_result((real.f_bsize, real.f_frsize, blocks, 500, 500, *tuple(real)[5:10]))
    monkeypatch.setattr(spool.os, "statvfs", lambda path: full)
    source, sink = Source(10), Sink(is_up=False)
    given = carry(source, sink, disk)
    turn(given, 3)
    assert (disk.count, source.safe) == (0, [])
    assert given.disk_problem.startswith("the disk has only")
    sink.is_up = True
    turn(given)
    assert numbers(sink.taken) == numbers(source.safe) == list(range(10))


def test_what_was_on_its_way_goes_before_what_came_later(disk: Spool) -> None:
    source, sink = Source(300), Sink()
    sink.holds = True
    given = carry(source, sink, disk)
    turn(given, 3)
    assert len(sink.taken) == 50
    sink.is_up, sink.holds, sink.losses, sink.numbers, sink.taken = False, False, 1, [], []
    turn(given, 5)
    assert (disk.count, len(source.safe)) == (300, 300)
    sink.is_up = True
    turn(given)
    assert numbers(sink.taken) == list(range(300))


def test_what_is_on_its_way_is_bounded_by_bytes(disk: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "MAX_BYTES", 10_000)
    source, sink = Source(50, b"x" * 3994), Sink()
    sink.holds = True
    given = carry(source, sink, disk)
    turn(given, 5)
    assert (len(sink.taken), len(source.come)) == (3, 47)
    sink.holds = False
    turn(given)
    assert numbers(source.safe) == list(range(50))


def test_the_file_shrinks_and_what_was_refused_is_part_of_the_share(disk: Spool) -> None:
    disk.add([Outgoing("a", b"x" * 9000)] * 100)
    file = Path(disk.path)
    disk.remove(disk.last)
    while disk.can_shrink:
        disk.shrink()
    assert file.stat().st_size < 50_000
    disk.refuse([(Outgoing("a", b"%03d" % number + b"x" * 50_000), "no") for number in range(20)])
    assert disk.refused == 5
    assert disk.refused_bytes <= disk.max_bytes // 4
    disk.refuse([(Outgoing("a", b"x" * 300_000), "no")])
    with sqlite3.connect(disk.path) as look:
        kept = look.execute("SELECT substr(payload, 1, 3), reason FROM refused ORDER BY id").fetchall()
    assert kept[0] == (b"015", "no")
    assert kept[-1] == (None, "no (its 300000 bytes are not stored)")
    again = Spool(disk.path, disk.max_bytes)
    assert (again.refused, again.refused_bytes) == (disk.refused, disk.refused_bytes)
    again.close()


def test_what_has_expired_meanwhile_is_left_out_and_counted(disk: Spool) -> None:
    assert seconds_left(None) is None
    assert seconds_left({EXPIRES: expiry(60)}) == 60
    assert seconds_left({EXPIRES: [time.time() + 1e6, 60]}) == 60  # The clock was set back.
    source, sink = Source(3), Sink(is_up=False)
    source.come[0].properties = {EXPIRES: expiry(60)}
    source.come[1].properties = {EXPIRES: [time.time() - 1, 60]}
    given = carry(source, sink, disk)
    turn(given, 5)
    assert disk.count == 3
    sink.is_up = True
    turn(given, 5)
    assert numbers(sink.taken) == [0, 2]
    assert (disk.count, given.counters.dropped) == (0, {"expired": 1})


class Silent:
    """A broker of MQTT 3.1.1 that takes connections and answers pings, but acknowledges nothing."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                found, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            found.recv(65536)
            found.sendall(b"\x20\x02\x00\x00")
            threading.Thread(target=self._swallow, args=(found,), daemon=True).start()

    @staticmethod
    def _swallow(found: socket.socket) -> None:
        with found:
            try:
                while found.recv(65536):
                    pass
            except OSError:
                pass


def test_a_sink_that_acknowledges_nothing_is_given_up_and_told_of(
    disk: Spool, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., Any]
) -> None:
    monkeypatch.setattr(mqtt, "ANSWER_WAIT", 0.1)
    monkeypatch.setattr(link, "FIRST_WAIT", 0.01)
    broker, told = Silent(), list[str]()
    end = MqttEnd(Endpoint("127.0.0.1", broker.port), "x", "3.1.1")
    sink, source = MqttSink(end, told.append), Source(1000)
    given = carry(source, sink, disk, told)

    def moved() -> bool:
        given.step(0.01)
        return broker.connections >= 2 and disk.count == 1000

    wait_until(moved)
    assert sink.problem == "no acknowledgement within 0.1 s"
    assert numbers(source.safe) == list(range(1000))
    assert any("no acknowledgement" in line for line in told)
    sink.close()
    broker.close()


@pytest.mark.service
def test_a_paused_source_goes_on_reading(broker: Callable[..., Any], wait_until: Callable[..., Any]) -> None:
    server, told = broker(), list[str]()
    end = MqttEnd(Endpoint("127.0.0.1", server.port), "x")
    source = MqttSource(end, [TopicTemplate("a")], told.append)
    source.pause(True)

    def served(holds: Callable[[], Any]) -> Callable[[], Any]:
        def look() -> Any:
            source.serve(*(set(each) for each in source.sockets()))
            return holds()

        return look

    wait_until(served(lambda: any("subscribed" in line for line in told)))
    server.publish([("a", "1")])
    assert wait_until(served(lambda: source.take(1, 1)))[0].payload == b"1"
    source.close()


def test_certificates_that_vanish_are_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., Any]
) -> None:
    import trustme

    monkeypatch.setattr(link, "FIRST_WAIT", 0.01)
    authority = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(authority)
    sink = MqttSink(MqttEnd(Endpoint("127.0.0.1", 1, tls=True, ca=str(authority)), "x"), lambda told: None)

    def told(what: str) -> Callable[[], Any]:
        def look() -> Any:
            sink.serve(set(), set())
            return what in sink.problem

        return look

    wait_until(told("refused"))
    authority.unlink()
    wait_until(told("ca.pem: No such file"))
    trustme.CA().cert_pem.write_to_path(authority)
    wait_until(told("refused"))
