"""A sink that posts readings as observations to a SensorThings service (OGC SensorThings API 1.1, STAplus)."""

from __future__ import annotations

import json
import random
import socket
import time
from collections import deque
from queue import Empty, Queue
from threading import Event, Thread

from scflows.errors import StepError
from scflows.integrations.forward.contract import Outgoing
from scflows.integrations.forward.payload import from_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from scflows.integrations.forward.route import Shape
    from scflows.secrets.masking import Mask
    from scflows.secrets.secret import Secret

#: The maximum number of messages in flight.
WINDOW = 50
#: Seconds until another attempt, doubled each time: the first and the longest.
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
#: The maximum size of a response, in bytes.
MAX_BYTES = 2**20
#: Seconds that one call may take.
CALL_SECONDS = 30.0
#: The statuses after which the service may accept the same observation later.
RETRY_STATUSES = (401, 403, 408, 425, 429)


def observations(column: str, decode: Callable[[bytes], Any]) -> Shape:
    """Return a converter from readings to a JSON list of observations, one for each sensor with a datastream.

    `column` of the names maps sensor numbers to datastream ids; other sensors are skipped. The time of a reading
    becomes both phenomenonTime and resultTime (SensorThings 1.1, 8.2.5).
    """

    def shape(payload: bytes, topic: str, names: Mapping[str, object]) -> bytes | None:
        streams = names.get(column)
        if not isinstance(streams, dict):
            raise StepError(f"the names have no column {column!r} with datastreams")
        given = decode(payload)
        readings = given.get("data") if isinstance(given, dict) else None
        if not isinstance(readings, list):
            raise StepError("payload: no readings under `data`")
        found = []
        for reading in readings:
            moment = reading.get("recorded_at") if isinstance(reading, dict) else None
            sensors = (reading.get("sensors") or []) if moment else []
            if not isinstance(sensors, list) or not all(isinstance(each, dict) for each in sensors):
                raise StepError("payload: `sensors` is not a list of mappings")
            for sensor in sensors:
                stream = streams.get(str(sensor.get("id")))
                if stream is not None and sensor.get("value") is not None:
                    found.append(
                        {
                            "phenomenonTime": moment,
                            "resultTime": moment,
                            "result": sensor["value"],
                            "Datastream": {"@iot.id": _id(stream)},
                        }
                    )
        return json.dumps(found, allow_nan=False, separators=(",", ":")).encode() if found else None

    return shape


class StaplusSink:
    """A sink that posts each observation separately, in a thread that waits for the responses."""

    def __init__(self, url: str, secret: Secret | None, mask: Mask, log: Callable[[str], None]) -> None:
        """Authenticate with `secret`, a credential, token or api-key."""
        from scflows.connectors.http.request import shown

        self.name = f"staplus {shown(url)}"
        self.is_up = False
        self.problem = "not connected yet"
        self.window = WINDOW
        self.losses = 0
        self.longest_wait = 1.0
        self._url = url.rstrip("/")
        self._authorization = None if secret is None else authorization_of(secret)
        self._mask = mask
        self._log = log
        self._queue: Queue[tuple[int, int, Outgoing]] = Queue()
        self._answers: deque[tuple[int, str]] = deque()
        self._generation = 0
        self._closed = Event()
        # The thread wakes the main loop by sending a byte through this pair.
        self._wake_send, self._wake_receive = socket.socketpair()
        self._wake_receive.setblocking(False)
        self._wake_send.setblocking(False)
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()

    def sockets(self) -> tuple[list[Any], list[Any]]:
        return [self._wake_receive], []

    def serve(self, readable: set[Any], writable: set[Any]) -> None:
        try:
            while self._wake_receive.recv(4096):
                pass
        except BlockingIOError:
            pass

    def send(self, number: int, message: Outgoing) -> None:
        self._queue.put((self._generation, number, message))

    def answers(self) -> Iterable[tuple[int, str]]:
        return [self._answers.popleft() for _ in range(len(self._answers))]

    def publish_status(self, status: bytes) -> None:
        pass  # A SensorThings service has no place for it.

    def close(self) -> None:
        self._closed.set()
        self._thread.join(CALL_SECONDS)

    def _work(self) -> None:
        wait = FIRST_WAIT
        while not self._closed.is_set():
            if not self.is_up:
                problem = self._probe()
                if problem:
                    if problem != self.problem:
                        self._log(f"{problem}; trying again")
                    self.problem = problem
                    self._closed.wait(wait * random.uniform(0.5, 1))
                    wait = min(2 * wait, LONGEST_WAIT)
                    continue
                wait, self.problem, self.is_up = FIRST_WAIT, "", True
                self._log(f"{self.name}: connected")
                self._wake()
            try:
                generation, number, message = self._queue.get(timeout=0.2)
            except Empty:
                continue
            if generation == self._generation:
                self._post_all(number, message)
                self._wake()

    def _post_all(self, number: int, message: Outgoing) -> None:
        refused = []
        try:
            given = from_json(message.payload)
        except StepError as error:
            self._answers.append((number, str(error)))
            return
        for each in given if isinstance(given, list) else [given]:
            try:
                self._call("POST", f"{self._url}/{message.topic}", each)
            except StepError as error:
                status = error.details.get("status_code")
                if isinstance(status, int) and 400 <= status < 500 and status not in RETRY_STATUSES:
                    # The other observations of the message may be accepted.
                    refused.append(str(error))
                    continue
                # The whole message is sent again, so that observations may be duplicated, but none is lost.
                self.is_up, self.problem = False, str(error)
                self._log(f"{error}; trying again")
                self._generation += 1
                self.losses += 1
                return
        self._answers.append((number, "; ".join(dict.fromkeys(refused))))

    def _probe(self) -> str:
        try:
            self._call("GET", self._url, None)
        except StepError as error:
            return str(error)
        return ""

    def _call(self, method: str, uri: str, value: object) -> None:
        from scflows.connectors.http.request import HttpRequest

        ends = time.monotonic() + CALL_SECONDS
        request = HttpRequest(
            method,
            uri,
            {},
            self._authorization,
            None if value is None else json.dumps(value, allow_nan=False).encode(),
            True,
            MAX_BYTES,
            lambda: ends - time.monotonic(),
            self._mask,
        )
        request.fetch(uri, [])

    def _wake(self) -> None:
        try:
            self._wake_send.send(b".")
        except BlockingIOError:
            pass  # A wake-up is pending already.


def authorization_of(secret: Secret) -> tuple[str, str]:
    """Return the header that authenticates with a secret. Raises StepError for one of another kind."""
    from scflows.secrets.http_auth import header
    from scflows.secrets.secret import VAULT, kind_of

    kind = kind_of(secret)
    if kind == VAULT:
        kind = "token" if "token" in secret else "credential"
    return header({"type": "basic" if kind == "credential" else kind, "secret": "login"}, secret)


def _id(value: object) -> object:
    """Return an id as a number if possible, because most services use numbers and some use text."""
    text = str(value)
    return int(text) if text.isdigit() else text
