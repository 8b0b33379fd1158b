"""How fast `flows forward mqtt` is beside a bare pass-through with the same client library, in the same run.

Two brokers of Mosquitto are started. Each round gives the first one that many messages for a session that is away,
then lets a forwarder come: the rate is that at which they arrive at the second one. `--outages` is another run: see
`forward_outages.py`.
"""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import paho.mqtt.client as paho
from measure import arguments
from paho.mqtt.enums import CallbackAPIVersion

SCHEMA = """\
name: bench
from: {{url: "mqtt://127.0.0.1:{source}", topic: "in/<token>/raw", client_id: forwarder, protocol: "3.1.1"}}
to: {{url: "mqtt://127.0.0.1:{sink}", topic: "/<tenant>/<device>/attrs"}}
names: {{type: csv, path: names.csv, key: token}}
"""
#: The least one can write: what comes is published, and acknowledged by the library at once.
BARE = """\
import sys, paho.mqtt.client as paho
version = paho.CallbackAPIVersion.VERSION2
out = paho.Client(version, client_id="out")
out.connect("127.0.0.1", int(sys.argv[2])); out.loop_start()
come = paho.Client(version, client_id="forwarder", clean_session=False)
come.on_connect = lambda client, *_: client.subscribe("in/+/raw", 1)
come.on_message = lambda client, _, message: out.publish("/t/" + message.topic.split("/")[1], message.payload, 1)
come.connect("127.0.0.1", int(sys.argv[1])); come.loop_forever()
"""
CONFIGURATION = "listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nlog_type none\n"


def main(count: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, sink = port(), port()
        brokers = [broker(folder, each) for each in (source, sink)]
        try:
            _measure(folder, source, sink, count, rounds)
        finally:
            for each in brokers:
                each.terminate()
                each.wait()


def _measure(folder: str, source: int, sink: int, count: int, rounds: int) -> None:
    with open(os.path.join(folder, "names.csv"), "w", encoding="utf-8") as file:
        file.write("token,tenant,device\n" + "".join(f"k{n},t{n},{n}\n" for n in range(10)))
    schema = os.path.join(folder, "bench.yml")
    with open(schema, "w", encoding="utf-8") as file:
        file.write(SCHEMA.format(source=source, sink=sink))
    ours = [sys.executable, "-P", "-m", "scflows", "forward", "mqtt", "--schema-file", schema]
    bare = [sys.executable, "-c", BARE, str(source), str(sink)]
    rates: dict[str, list[float]] = {"bare": [], "ours": []}
    most = 0.0
    for _ in range(rounds):
        for name, command in (("bare", bare), ("ours", ours)):
            rate, memory = _round(command, folder, source, sink, count)
            rates[name].append(rate)
            most = max(most, memory if name == "ours" else 0)
    medians = {name: statistics.median(found) for name, found in rates.items()}
    for name, found in medians.items():
        print(f"{name}: {found:7.0f} messages/s")
    print(f"ours is {medians['ours'] / medians['bare']:.0%} of bare; peak memory {most:.0f} MiB")


def _round(command: list[str], folder: str, source: int, sink: int, count: int) -> tuple[float, float]:
    _fill(source, count)
    times: list[float] = []
    reader = paho.Client(CallbackAPIVersion.VERSION2)
    reader.on_connect = lambda client, *_: client.subscribe("#", 0)
    reader.on_message = lambda *_: times.append(time.monotonic())
    reader.connect("127.0.0.1", sink)
    reader.loop_start()
    time.sleep(0.5)
    environment = {**os.environ, "HOME": folder, "XDG_STATE_HOME": folder, "XDG_CACHE_HOME": folder}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    ends = time.monotonic() + 60 + count / 100
    while len(times) < count and time.monotonic() < ends and process.poll() is None:
        time.sleep(0.02)
    memory = peak(process.pid)
    process.send_signal(signal.SIGTERM)
    process.wait()
    reader.loop_stop()
    reader.disconnect()
    if len(times) < count:
        raise SystemExit(f"only {len(times)} of {count} messages arrived")
    return (count - 1) / (times[count - 1] - times[0]), memory


def _fill(port: int, count: int) -> None:
    """Have the broker keep messages for the forwarder, which is away."""
    session = paho.Client(CallbackAPIVersion.VERSION2, client_id="forwarder", clean_session=False)
    session.on_connect = lambda client, *_: client.subscribe("in/+/raw", 1)
    session.on_subscribe = lambda client, *_: client.disconnect()
    session.connect("127.0.0.1", port)
    session.loop_forever()
    writer = paho.Client(CallbackAPIVersion.VERSION2)
    writer.max_inflight_messages_set(500)
    writer.connect("127.0.0.1", port)
    writer.loop_start()
    sent = [writer.publish(f"in/k{number % 10}/raw", f"{{t:1,55:{number}}}", 1) for number in range(count)]
    for each in sent:
        each.wait_for_publish()
    writer.disconnect()
    writer.loop_stop()


def broker(folder: str, port: int, more: str = "") -> subprocess.Popen[bytes]:
    """A broker that answers; `more` is for its configuration."""
    path = os.path.join(folder, f"{port}.conf")
    with open(path, "w", encoding="utf-8") as file:
        file.write(CONFIGURATION.format(port=port) + more)
    process = subprocess.Popen(["mosquitto", "-c", path])
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process
        except OSError:
            time.sleep(0.05)
    raise SystemExit("mosquitto does not start")


def port() -> int:
    """A free one."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def peak(pid: int) -> float:
    """The most memory that a process had so far, in MiB."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return 0.0


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("MESSAGES", nargs="?", type=int, help="20,000, or 100,000 with --outages, if not given")
    parser.add_argument("ROUNDS", nargs="?", type=int, default=3, help="3, if not given")
    parser.add_argument("--outages", action="store_true", help="the same as forward_outages.py")
    given = parser.parse_args()
    if given.outages:
        from forward_outages import main as through_outages

        through_outages(given.MESSAGES or 100_000)
    else:
        main(given.MESSAGES or 20_000, given.ROUNDS)
