"""From broker to broker."""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TABLE = "token,tenant,device_id,tags\nabc,north,13486,air;out\nxyz,south,13487,indoor\n"
SCHEMA = """\
name: kits
from: {{url: "{source}", topic: "bridge/sc/device/sck/<token>/readings/raw"}}
to: {{url: "{sink}", topic: "/<tenant>/<device_id>/attrs", status_topic: "forward/kits"}}
names: {{type: csv, path: names.csv, key: token}}
"""

Broker = Any
Forwarder = Any

pytestmark = pytest.mark.service


@pytest.fixture
def schema(brokers: tuple[Broker, Broker], tmp_path: Path) -> str:
    (tmp_path / "names.csv").write_text(TABLE)
    return SCHEMA.format(source=brokers[0].url, sink=brokers[1].url)


def raw(token: str, payload: str) -> tuple[str, str]:
    return f"bridge/sc/device/sck/{token}/readings/raw", payload


def waiting(folder: Path) -> int:
    """How many messages lie on the disk."""
    with sqlite3.connect(f"file:{folder}/state/scflows/forward/kits.spool?mode=ro", uri=True) as file:
        return int(file.execute("SELECT count(*) FROM waiting").fetchone()[0])


def test_topics_are_rewritten_by_the_table_and_payloads_kept(
    wait_until: Callable[..., Any],
    brokers: tuple[Broker, Broker],
    forward: Callable[..., Forwarder],
    schema: str,
    flows: Callable[..., Any],
) -> None:
    source, sink = brokers
    come = sink.collect("/#")
    forwarder = forward(schema)
    wait_until(forwarder.is_ready)
    source.publish([raw("abc", "{t:1}"), raw("who", "{t:2}"), raw("xyz", "{t:3}")])
    wait_until(lambda: len(come) == 2)
    assert [(each.topic, each.payload) for each in come] == [
        ("/north/13486/attrs", b"{t:1}"),
        ("/south/13487/attrs", b"{t:3}"),
    ]
    assert forwarder.stop() == 0
    told = json.loads(flows("forward", "status", "--json").stdout)["items"][0]
    assert (told["received"], told["forwarded"], told["dropped"]) == (3, 2, {"unknown name": 1})


def test_tags_choose_and_jq_makes_the_payload(
    wait_until: Callable[..., Any], brokers: tuple[Broker, Broker], forward: Callable[..., Forwarder], schema: str
) -> None:
    source, sink = brokers
    come = sink.collect("/#")
    more = """\
only: {tags: [indoor, lab]}
payload: {as: kit, jq: '.names.device_id as $id | .payload.data[0] | {$id, first: .sensors[0].value, at: .recorded_at}'}
"""
    wait_until(forward(schema + more).is_ready)
    reading = "{t:2026-03-01T10:00:23Z,55:21.5,56:40}"
    source.publish([raw("abc", reading), raw("xyz", reading)])
    wait_until(lambda: come)
    assert json.loads(come[0].payload) == {"id": "13487", "first": 21.5, "at": "2026-03-01T10:00:23Z"}
    assert come[0].topic == "/south/13487/attrs"


def test_nothing_is_lost_or_out_of_order_through_restarts_and_kills(
    wait_until: Callable[..., Any], brokers: tuple[Broker, Broker], forward: Callable[..., Forwarder], schema: str
) -> None:
    source, sink = brokers
    come = sink.collect("/+/+/attrs", name="lasting")
    forwarder = forward(schema)
    wait_until(forwarder.is_ready)
    writer = source.client()
    count = 0

    def publish(most: int) -> None:
        nonlocal count
        source.publish([raw(("abc", "xyz")[n % 2], str(n)) for n in range(count, count + most)], writer)
        count += most

    for number in range(3):
        publish(400)
        sink.stop()
        publish(400)
        if number < 2:
            forwarder.stop(signal.SIGKILL)
            forwarder = forward(schema)
            publish(200)
        sink.start()
        publish(200)
    wait_until(lambda: len({each.payload for each in come}) == count, 60)
    seen = defaultdict(list)
    for each in come:
        seen[each.topic].append(int(each.payload))
    for topic, numbers in seen.items():
        first_seen = list(dict.fromkeys(numbers))
        assert first_seen == sorted(first_seen), topic
    # What was on its way at a kill or a restart may come twice, not more.
    assert len(come) - count < 5 * 400


def test_what_waits_is_on_the_disk_while_the_other_end_is_away(
    wait_until: Callable[..., Any],
    brokers: tuple[Broker, Broker],
    forward: Callable[..., Forwarder],
    schema: str,
    flows: Callable[..., Any],
    tmp_path: Path,
) -> None:
    source, sink = brokers
    come = sink.collect("/#", name="lasting")
    forwarder = forward(schema)
    wait_until(forwarder.is_ready)
    sink.stop()
    source.publish([raw("abc", str(number)) for number in range(50)])
    wait_until(lambda: waiting(tmp_path) == 50)
    assert forwarder.stop() == 0
    shown = flows("forward", "status")
    assert "stopped; 50 messages wait on the disk" in shown.stdout
    # They were acknowledged, so their broker has them no more: only the disk does.
    sink.start()
    forward(schema)
    wait_until(lambda: len(come) >= 50)
    assert [int(each.payload) for each in come][-50:] == list(range(50))


def test_a_full_share_of_the_disk_leaves_messages_with_their_sender(
    wait_until: Callable[..., Any], brokers: tuple[Broker, Broker], forward: Callable[..., Forwarder], schema: str
) -> None:
    source, sink = brokers
    come = sink.collect("/#", name="lasting")
    forwarder = forward(schema + "spool: {max_bytes: 2 kB}\n")
    wait_until(forwarder.is_ready)
    sink.stop()
    numbers = list(range(2000))
    source.publish([raw("abc", f"{number:040}") for number in numbers])
    sink.start()
    wait_until(lambda: len({each.payload for each in come}) == 2000)
    assert list(dict.fromkeys(int(each.payload) for each in come)) == numbers


def test_the_status_topic_says_online_offline_and_lost(
    wait_until: Callable[..., Any], brokers: tuple[Broker, Broker], forward: Callable[..., Forwarder], schema: str
) -> None:
    told = brokers[1].collect("forward/kits")
    states = lambda: [json.loads(each.payload)["state"] for each in told]  # noqa: E731
    forwarder = forward(schema)
    wait_until(lambda: "online" in states())
    forwarder.stop(signal.SIGKILL)
    wait_until(lambda: states()[-1] == "lost")
    forwarder = forward(schema)
    wait_until(lambda: states()[-1] == "online")
    assert forwarder.stop() == 0
    wait_until(lambda: states()[-1] == "offline")


def test_a_killed_one_is_told_of_and_a_second_one_is_refused(
    wait_until: Callable[..., Any],
    forward: Callable[..., Forwarder],
    schema: str,
    flows: Callable[..., Any],
    tmp_path: Path,
) -> None:
    first = forward(schema)
    wait_until(first.is_ready)
    second = flows("forward", "mqtt", "--schema-file", str(tmp_path / "schema.yml"))
    assert second.returncode == 6
    assert "is already running as process" in second.stderr
    first.stop(signal.SIGKILL)
    shown = flows("health", "forward")
    assert shown.returncode == 1
    assert "its process died" in shown.stdout


def test_a_dry_run_shows_and_takes_nothing(
    wait_until: Callable[..., Any], brokers: tuple[Broker, Broker], forward: Callable[..., Forwarder], schema: str
) -> None:
    source, sink = brokers
    come = sink.collect("#")
    look = forward(schema, "mqtt", "--dry-run", "--count", "2", "--json")
    writer = source.client()
    ends = time.monotonic() + 60
    while look.process.poll() is None and time.monotonic() < ends:
        source.publish([raw("abc", "1"), raw("who", "2")], writer)
        time.sleep(0.05)
    assert look.process.wait(1) == 0
    shown = [json.loads(line) for line in look.output.splitlines() if line[0] == "{"]
    assert {line.get("to", line.get("dropped")) for line in shown} <= {"/north/13486/attrs", "unknown name"}
    assert come == []


def test_tls_and_a_password_from_the_secrets(
    wait_until: Callable[..., Any],
    broker: Callable[..., Broker],
    forward: Callable[..., Forwarder],
    tmp_path: Path,
    environment: dict[str, str],
) -> None:
    import subprocess

    import trustme

    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    (tmp_path / "cert.pem").write_bytes(b"".join(each.bytes() for each in certificate.cert_chain_pems))
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(tmp_path / "users"), "kit", "s3cret-word"], check=True)
    files = f"cafile {tmp_path}/ca.pem\ncertfile {tmp_path}/cert.pem\nkeyfile {tmp_path}/key.pem\n"
    sink = broker(more=f"{files}allow_anonymous false\npassword_file {tmp_path}/users\n")
    source = broker()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "secrets.yml").write_text(
        "- {name: out, type: credential, username: kit, password: s3cret-word}\n"
    )
    (tmp_path / "data" / "secrets.yml").chmod(0o600)

    def login(client: Any) -> None:
        client.tls_set(str(tmp_path / "ca.pem"))
        client.username_pw_set("kit", "s3cret-word")

    come = sink.collect("#", login=login)
    url = sink.url.replace("mqtt:", "mqtts:")
    forwarder = forward(f"""\
from: {{url: "{source.url}", topic: "in/<n>"}}
to: {{url: "{url}", secret: out, tls: {{ca: ca.pem}}, topic: "out/<n>"}}
""")
    wait_until(forwarder.is_ready)
    source.publish([("in/7", "hello")])
    wait_until(lambda: come)
    assert (come[0].topic, come[0].payload) == ("out/7", b"hello")
    assert forwarder.stop() == 0
    written = b"".join(each.read_bytes() for each in (tmp_path / "state").rglob("*") if each.is_file())
    assert b"s3cret-word" not in written + forwarder.output.encode()


def test_a_broker_that_refuses_the_login_is_told_and_asked_again(
    wait_until: Callable[..., Any],
    broker: Callable[..., Broker],
    forward: Callable[..., Forwarder],
    flows: Callable[..., Any],
) -> None:
    closed, source = broker(more="allow_anonymous false\n"), broker()
    forwarder = forward(f'{{from: {{url: "{source.url}", topic: a}}, to: {{url: "{closed.url}", topic: b}}}}')
    wait_until(lambda: "refused: Not authorized" in forwarder.output)
    assert forwarder.stop() == 0


def test_what_nothing_can_be_made_of_is_kept_beside(
    wait_until: Callable[..., Any],
    brokers: tuple[Broker, Broker],
    forward: Callable[..., Forwarder],
    schema: str,
    flows: Callable[..., Any],
    tmp_path: Path,
) -> None:
    source, sink = brokers
    come = sink.collect("/#")
    forwarder = forward(schema + "payload: {jq: .payload.value}\n")
    wait_until(forwarder.is_ready)
    source.publish([raw("abc", "no json"), raw("abc", '{"value": 7}')])
    wait_until(lambda: come)
    assert come[0].payload == b"7"
    assert forwarder.stop() == 0
    told = json.loads(flows("forward", "status", "--json").stdout)["items"][0]
    assert (told["refused"], told["spool"]["refused"]) == (1, 1)
    # The topic has the device's token: it is shown by its name, in the log and beside.
    assert "<token>" in forwarder.output
    assert "abc" not in forwarder.output
    with sqlite3.connect(tmp_path / "state/scflows/forward/kits.spool") as file:
        topics = [topic for (topic,) in file.execute("SELECT topic FROM refused")]
    assert topics == [raw("<token>", "")[0]]
