"""What becomes of messages while the second broker is restarted three times and the forwarder is killed twice.

Messages of 50 topics are published without a pause. When a tenth, two fifths and three fifths of them have arrived, the
second broker is stopped for 1, 6 and 6 seconds; at a quarter, and in the last outage, the forwarder is killed. Printed
are the messages that never came, those that came more than once, the topics out of order (by the first time that each
message came), the rate from the first message published to the last one arrived, outages included, and memory.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable

import paho.mqtt.client as paho
from forward import broker, peak, port
from measure import numbers
from paho.mqtt.enums import CallbackAPIVersion

TOPICS = 50
SCHEMA = """\
name: outages
from: {{url: "mqtt://127.0.0.1:{source}", topic: "in/<token>/raw"}}
to: {{url: "mqtt://127.0.0.1:{sink}", topic: "/<tenant>/<device>/attrs"}}
names: {{type: csv, path: names.csv, key: token}}
"""
#: Seconds without a message after which no more is waited for.
PATIENCE = 60.0


class Run:
    def __init__(self, folder: str, count: int) -> None:
        self.folder, self.count = folder, count
        self.source, self.sink = port(), port()
        self.come: dict[str, list[int]] = defaultdict(list)
        self.arrived = 0
        self.last = 0.0
        self.memory = 0.0
        # What a lasting session is owed must outlive the broker that owes it.
        self.lasting = f"persistence true\npersistence_location {folder}/\npersistence_file "
        self.lasting = ("user root\n" if os.geteuid() == 0 else "") + self.lasting
        self.brokers = {each: self.broker(each) for each in (self.source, self.sink)}
        names = "token,tenant,device\n" + "".join(f"k{n},t{n},{n}\n" for n in range(TOPICS))
        self.write("names.csv", names)
        self.schema = self.write("outages.yml", SCHEMA.format(source=self.source, sink=self.sink))
        self.reader = self.client("reader")
        self.reader.on_message = self.read
        self.reader.on_connect = lambda client, *_: client.subscribe("/+/+/attrs", 1)
        self.reader.connect("127.0.0.1", self.sink)
        self.reader.loop_start()
        self.forwarder = self.start()

    def broker(self, number: int) -> subprocess.Popen[bytes]:
        return broker(self.folder, number, f"{self.lasting}{number}.db\n")

    def client(self, name: str) -> paho.Client:
        made = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
        made.reconnect_delay_set(1, 1)
        return made

    def write(self, name: str, text: str) -> str:
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def read(self, client: object, _: object, message: paho.MQTTMessage) -> None:
        self.come[message.topic].append(int(message.payload))
        self.arrived += 1
        self.last = time.monotonic()

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", "scflows", "forward", "mqtt", "--schema-file", self.schema]
        home = {"HOME": self.folder, "XDG_STATE_HOME": self.folder, "XDG_CACHE_HOME": self.folder}
        with open(os.path.join(self.folder, "forwarder.out"), "a+b") as out:
            begin = out.tell()
            process = subprocess.Popen(command, env={**os.environ, **home}, stdout=out, stderr=out)
            while process.poll() is None:
                out.seek(begin)
                if b"subscribed to" in out.read():
                    return process
                time.sleep(0.05)
        raise SystemExit("the forwarder does not start")

    def publish(self) -> None:
        writer = self.client("writer")
        writer.max_inflight_messages_set(500)
        writer.connect("127.0.0.1", self.source)
        writer.loop_start()
        sent = []
        for number in range(self.count):
            sent.append(writer.publish(f"in/k{number % TOPICS}/raw", str(number), 1))
            if len(sent) > 5000:
                sent.pop(0).wait_for_publish()
        for each in sent:
            each.wait_for_publish()
        writer.disconnect()
        writer.loop_stop()

    def wait_for(self, part: float) -> None:
        begun = time.monotonic()
        while self.arrived < part * self.count:
            if time.monotonic() - max(self.last, begun) > PATIENCE:
                raise SystemExit(f"only {self.arrived} of {self.count} messages came")
            time.sleep(0.005)
        self.memory = max(self.memory, peak(self.forwarder.pid))

    def outage(self, seconds: float, kills: bool = False) -> None:
        process = self.brokers[self.sink]
        process.terminate()
        process.wait()
        time.sleep(seconds / 2)
        if kills:
            self.kill()
        time.sleep(seconds / 2)
        self.brokers[self.sink] = self.broker(self.sink)

    def kill(self) -> None:
        self.memory = max(self.memory, peak(self.forwarder.pid))
        self.forwarder.kill()
        self.forwarder.wait()
        self.forwarder = self.start()

    def go(self) -> None:
        writer = threading.Thread(target=self.publish)
        begun = time.monotonic()
        writer.start()
        outages: list[tuple[float, Callable[[], None]]] = [
            (0.1, lambda: self.outage(1)),
            (0.25, self.kill),
            (0.4, lambda: self.outage(6)),
            (0.6, lambda: self.outage(6, kills=True)),
        ]
        for part, act in outages:
            self.wait_for(part)
            act()
        while sum(len(set(each)) for each in self.come.values()) < self.count:
            if time.monotonic() - self.last > PATIENCE:
                break
            time.sleep(0.2)
        writer.join()
        time.sleep(2)  # What comes twice may come late.
        self.memory = max(self.memory, peak(self.forwarder.pid))
        self.told(self.last - begun)

    def told(self, seconds: float) -> None:
        different = sum(len(set(each)) for each in self.come.values())
        firsts = [list(dict.fromkeys(each)) for each in self.come.values()]
        unordered = sum(each != sorted(each) for each in firsts)
        print(
            f"{self.count} messages: {self.count - different} lost, {self.arrived - different} twice, {unordered} of "
            f"{len(firsts)} topics out of order; {different / seconds:.0f} messages/s with 13 s of outages; "
            f"peak memory {self.memory:.0f} MiB"
        )

    def close(self) -> None:
        self.reader.disconnect()
        self.reader.loop_stop()
        self.forwarder.send_signal(signal.SIGTERM)
        self.forwarder.wait()
        for each in self.brokers.values():
            each.terminate()
            each.wait()


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = Run(folder, count)
        try:
            run.go()
        finally:
            run.close()


if __name__ == "__main__":
    main(*numbers(__doc__, MESSAGES=100_000))
