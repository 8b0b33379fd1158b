"""The bridge from a source to a sink: in order, without loss, with a spool on disk while the sink is unavailable."""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from select import select

from scflows.integrations.forward.contract import Dropped, Message, Outgoing, Refused, seconds_left

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scflows.integrations.forward.contract import Sink, Source
    from scflows.integrations.forward.route import Route
    from scflows.integrations.forward.spool import Spool

#: Seconds to wait for the sink after the start before messages go to the disk.
START_WAIT = 5.0
#: Seconds between two attempts after a disk error.
DISK_RETRY = 5.0
#: Seconds until the same disk error is logged again.
LOG_AGAIN = 600.0
#: The maximum number of messages per batch.
BATCH = 500
#: The maximum size of the messages in flight or in a batch, in bytes; a larger message is sent alone.
MAX_BYTES = 16 * 2**20
#: The maximum size of a write to the disk, in bytes.
WRITE_BYTES = 256 * 2**10
#: The reason for dropping a message that has expired.
EXPIRED = "expired"
#: Seconds between two checks while an end is disconnected.
RECONNECT_POLL = 0.05
#: Seconds between two writes that remove delivered messages from the disk.
REMOVE_INTERVAL = 1.0


@dataclass
class Counters:
    """Statistics since the start."""

    received: int = 0
    forwarded: int = 0  #: accepted by the sink
    spooled: int = 0  #: written to the disk
    refused: int = 0  #: set aside: refused by the sink, or impossible to convert
    dropped: dict[str, int] = field(default_factory=dict)  #: dropped on purpose, by reason
    last: float = 0.0  #: when the sink accepted the last message, in seconds since the epoch
    last_unknown: float = 0.0  #: when the last message with an unknown name was dropped, in seconds since the epoch


@dataclass(slots=True)
class _Sent:
    outgoing: Outgoing | None
    message: Message | None = None  #: None for a message from the disk
    spooled: int = 0  #: its id on the disk
    is_done: bool = False


class Bridge:
    """The transport of messages; `step` must be called in a loop."""

    def __init__(self, source: Source, sink: Sink, route: Route, spool: Spool, log: Callable[[str], None]) -> None:
        self.source = source
        self.sink = sink
        self.counters = Counters()
        self._route = route
        self._spool = spool
        self._log = log
        self._sent: deque[_Sent] = deque()
        self._sent_bytes = 0
        self._sent_directly = 0  #: how many of these are not on the disk
        self._by_number: dict[int, _Sent] = {}
        self._number = 0
        self._losses = sink.losses
        self._began = time.monotonic()
        self._was_up = False
        #: Whether messages go to the disk first, because the sink is unavailable or older messages are there.
        self._uses_disk = spool.count > 0
        self._unsaved: deque[tuple[Message, Outgoing | None]] = deque()  #: not written to the disk yet
        self._read = 0  #: the last id from the disk that was sent
        self._done = 0  #: the last id that was delivered
        self._removed = 0  #: the last id that was removed from the disk
        self._removed_at = self._disk_retry_at = 0.0
        self._disk_problem = ""
        self._logged_problem = ("", 0.0)

    @property
    def in_flight(self) -> int:
        """Return the number of messages in flight to the sink."""
        return len(self._sent)

    @property
    def disk_problem(self) -> str:
        """Return why the disk cannot be used; an empty text if it can."""
        return self._disk_problem or self._spool.full

    def step(self, timeout: float) -> None:
        """Wait for events, at most `timeout` seconds, and handle them."""
        self.source.pause(not self._has_room())
        self._serve(timeout)
        self._handle_answers()
        if self.sink.losses != self._losses:
            self._losses = self.sink.losses
            self._recall()
        self._was_up = self._was_up or self.sink.is_up
        self._save()
        if self._has_room():
            self._take()
        if self._uses_disk:
            self._drain()
        self._remove_delivered(immediately=not self._sent)

    def finish(self, grace: float) -> None:
        """Stop receiving, wait at most `grace` seconds for messages in flight, and save the rest."""
        ends = time.monotonic() + grace
        while self._sent and self.sink.is_up and time.monotonic() < ends:
            self.source.pause(True)
            self._serve(0.1)
            self._handle_answers()
            if self.sink.losses != self._losses:
                break
        # Messages that were not delivered were not acknowledged, so the source or the disk still has them.
        self._remove_delivered(immediately=True)
        self._serve(0)

    def _serve(self, timeout: float) -> None:
        source_read, source_write = self.source.sockets()
        sink_read, sink_write = self.sink.sockets()
        read, write = source_read + sink_read, source_write + sink_write
        timeout = min(timeout, self.source.longest_wait, self.sink.longest_wait)
        if not self.source.is_up or not self.sink.is_up:
            timeout = min(timeout, RECONNECT_POLL)
        try:
            can_read, can_write, _ = select(read, write, [], timeout)
        except (OSError, ValueError):
            can_read, can_write = read, []  # One of them was closed, which its end notices when it reads.
        self.source.serve(set(can_read), set(can_write))
        self.sink.serve(set(can_read), set(can_write))

    def _has_room(self) -> bool:
        now = time.monotonic()
        if self._unsaved:
            return False
        if self._uses_disk or not self.sink.is_up:
            if not self._was_up and not self._spool.count and now - self._began < START_WAIT:
                return False
            return not self._spool.full
        return self._room() > 0

    def _room(self) -> int:
        """Return how many more messages may be in flight."""
        return self.sink.window - len(self._sent) if self._sent_bytes < MAX_BYTES else 0

    def _take(self) -> None:
        self._uses_disk = self._uses_disk or not self.sink.is_up
        limits = (BATCH, MAX_BYTES) if self._uses_disk else (self._room(), MAX_BYTES - self._sent_bytes)
        for message in self.source.take(*limits):
            self.counters.received += 1
            result = self._route.outgoing(message)
            if isinstance(result, Dropped):
                self._drop(result.reason)
                if result.is_unexpected:
                    self.counters.last_unknown = time.time()
            elif isinstance(result, Refused):
                self._refuse(Outgoing(message.topic, message.payload), result.reason)
            outgoing = result if isinstance(result, Outgoing) else None
            if self._uses_disk:
                self._unsaved.append((message, outgoing))
            else:
                self._send(_Sent(outgoing, message))
        self._save()
        self._handle_answers()

    def _drop(self, reason: str) -> None:
        self.counters.dropped[reason] = self.counters.dropped.get(reason, 0) + 1

    def _refuse(self, outgoing: Outgoing, reason: str) -> None:
        # Without tokens, because people read it and may pass it on.
        outgoing = Outgoing(self._route.shown(outgoing.topic), outgoing.payload)
        self.counters.refused += 1
        if self.counters.refused == 1 or self.counters.refused % 1000 == 0:
            self._log(f"{outgoing.topic}: {reason}; set aside ({self.counters.refused} so far)")
        try:
            self._spool.refuse([(outgoing, reason)])
        except sqlite3.Error as error:
            self._log(f"{self._spool.path}: {error}; a refused message is lost")

    def _send(self, sent: _Sent) -> None:
        self._sent.append(sent)
        self._sent_directly += sent.message is not None
        if sent.outgoing is not None and seconds_left(sent.outgoing.properties) == 0:
            self._drop(EXPIRED)
            sent.outgoing = None
        if sent.outgoing is None:
            sent.is_done = True  # It is acknowledged in order.
            return
        self._number += 1
        self._by_number[self._number] = sent
        self._sent_bytes += len(sent.outgoing.payload)
        self.sink.send(self._number, sent.outgoing)

    def _handle_answers(self) -> None:
        for number, reason in self.sink.answers():
            sent = self._by_number.pop(number, None)
            if sent is None:
                continue
            sent.is_done = True
            if reason and sent.outgoing is not None:
                self._refuse(sent.outgoing, reason)
            else:
                self.counters.forwarded += 1
                self.counters.last = time.time()
        while self._sent and self._sent[0].is_done:
            sent = self._sent.popleft()
            self._sent_bytes -= len(sent.outgoing.payload) if sent.outgoing is not None else 0
            if sent.message is not None:
                self._sent_directly -= 1
                self.source.acknowledge(sent.message)
            else:
                self._done = sent.spooled

    def _recall(self) -> None:
        """Move the messages in flight to the disk after the sink has disconnected."""
        sent, self._sent = self._sent, deque()
        self._sent_bytes = self._sent_directly = 0
        self._by_number.clear()
        self._read = self._done
        recalled = [
            (each.message, None if each.is_done else each.outgoing) for each in sent if each.message is not None
        ]
        if recalled:
            self._uses_disk = True
            self._unsaved = deque((*recalled, *self._unsaved))
        self._save()

    def _save(self) -> None:
        """Write unsaved messages to the disk, then acknowledge them."""
        # Messages that were sent directly are older and may still have to be written to the disk first.
        while self._unsaved and not self._sent_directly and self._disk_is_due() and not self._spool.full:
            batch, size = list[Outgoing](), 0
            count = 0
            for _, outgoing in self._unsaved:
                count += 1
                if outgoing is not None:
                    batch.append(outgoing)
                    size += len(outgoing.payload)
                if size >= WRITE_BYTES:
                    break
            try:
                if batch:
                    self._spool.add(batch)
            except sqlite3.Error as error:
                self._disk_failed(error)
                return
            self._disk_problem = ""
            self.counters.spooled += len(batch)
            for _ in range(count):
                self.source.acknowledge(self._unsaved.popleft()[0])

    def _drain(self) -> None:
        """Send the messages on the disk, then the unsaved ones."""
        if not self.sink.is_up:
            return
        if self._room() > 0 and self._read < self._spool.last and self._disk_is_due():
            try:
                waiting = self._spool.after(self._read, min(self._room(), BATCH), MAX_BYTES - self._sent_bytes)
            except sqlite3.Error as error:
                self._disk_failed(error)
                return
            for id, outgoing in waiting:
                self._read = id
                self._send(_Sent(outgoing, spooled=id))
        if self._read < self._spool.last:
            return
        while self._unsaved and self._room() > 0:
            message, outgoing_or_none = self._unsaved.popleft()
            self._send(_Sent(outgoing_or_none, message))
        if not self._sent and not self._unsaved:
            self._uses_disk = False

    def _remove_delivered(self, immediately: bool) -> None:
        """Remove delivered messages from the disk, in batches because each write waits for the disk."""
        now = time.monotonic()
        is_done = self._done == self._removed or (not immediately and now - self._removed_at < REMOVE_INTERVAL)
        if (is_done and (self._uses_disk or not self._spool.can_shrink)) or not self._disk_is_due():
            return
        try:
            if is_done:
                self._spool.shrink()
                return
            self._removed_at = now
            self._spool.remove(self._done)
            self._removed = self._done
            self._disk_problem = ""
        except sqlite3.Error as error:
            self._disk_failed(error)

    def _disk_is_due(self) -> bool:
        return time.monotonic() >= self._disk_retry_at

    def _disk_failed(self, error: sqlite3.Error) -> None:
        problem = f"{self._spool.path}: {error}"
        now = time.monotonic()
        if problem != self._logged_problem[0] or now - self._logged_problem[1] > LOG_AGAIN:
            self._log(f"{problem}; trying again every {DISK_RETRY:g} s")
            self._logged_problem = (problem, now)
        self._disk_problem = problem
        self._disk_retry_at = now + DISK_RETRY
        with suppress(sqlite3.Error):
            self._spool.truncate_journal()
