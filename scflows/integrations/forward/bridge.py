"""The way from a source to a sink: in order, nothing lost, on disk while the sink is away."""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from select import select

from scflows.integrations.forward.base import Dropped, Outgoing, Refused
from scflows.integrations.forward.expiry import left

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scflows.integrations.forward.base import Message, Sink, Source
    from scflows.integrations.forward.route import Route
    from scflows.integrations.forward.spool import Spool

#: Seconds that a start waits for the sink before messages go to the disk.
PATIENCE = 5.0
#: Seconds between two looks at a disk that would not take more.
DISK_WAIT = 5.0
#: Seconds until the same trouble with the disk is told of again.
TOLD_AGAIN = 600.0
#: How many messages are taken or read from the disk at once.
AT_ONCE = 500
#: How many bytes of messages may be on their way, or are taken at once; one that is larger goes alone.
MOST_BYTES = 16 * 2**20
#: How many bytes are written to the disk at once.
PIECE = 256 * 2**10
#: Why a message is left out whose time is over, as counted.
EXPIRED = "expired"
#: Seconds between two looks while an end is away.
AWAY = 0.05
#: Seconds between two writes that forget what was sent from the disk and has arrived.
FORGET_AFTER = 1.0


@dataclass
class Counters:
    """What became of the messages since the start."""

    received: int = 0
    forwarded: int = 0  #: taken by the sink
    spooled: int = 0  #: that went over the disk
    refused: int = 0  #: kept beside: the sink does not take them, or nothing could be made of them
    dropped: dict[str, int] = field(default_factory=dict)  #: left out on purpose, by reason
    last: float = 0.0  #: when the sink took the last one, in seconds since the epoch
    last_unknown: float = 0.0  #: when the last one was left out whose name nobody knew, in seconds since the epoch


@dataclass(slots=True)
class _Sent:
    outgoing: Outgoing | None
    message: Message | None = None  #: None for one from the disk
    spooled: int = 0  #: its place there
    is_done: bool = False


class Bridge:
    """Carries messages as long as `turn` is called."""

    def __init__(self, source: Source, sink: Sink, route: Route, spool: Spool, tell: Callable[[str], None]) -> None:
        self.source = source
        self.sink = sink
        self.counters = Counters()
        self._route = route
        self._spool = spool
        self._tell = tell
        self._sent: deque[_Sent] = deque()
        self._sent_bytes = 0
        self._sent_directly = 0  #: how many of them are not on the disk
        self._by_number: dict[int, _Sent] = {}
        self._number = 0
        self._losses = sink.losses
        self._began = time.monotonic()
        self._was_up = False
        #: Whether messages go over the disk: since the sink is away, or since others wait there.
        self._by_disk = spool.count > 0
        self._unsaved: deque[tuple[Message, Outgoing | None]] = deque()  #: what the disk would not take yet
        self._read = 0  #: the last place of the disk that was sent
        self._done = 0  #: the last one that has arrived
        self._forgotten = 0  #: the last one that was taken off the disk
        self._forgot = self._disk_wait = 0.0
        self._disk_problem = ""
        self._disk_told = ("", 0.0)

    @property
    def in_flight(self) -> int:
        """How many messages are on their way to the sink."""
        return len(self._sent)

    @property
    def disk_problem(self) -> str:
        """Why nothing can be put on the disk, or taken off it; empty while all is well."""
        return self._disk_problem or self._spool.full

    def turn(self, longest: float) -> None:
        """Wait for something to happen, `longest` seconds at most, and do what there is to do."""
        self.source.pause(not self._has_room())
        self._serve(longest)
        self._settle()
        if self.sink.losses != self._losses:
            self._losses = self.sink.losses
            self._recall()
        self._was_up = self._was_up or self.sink.is_up
        self._save()
        if self._has_room():
            self._take()
        if self._by_disk:
            self._drain()
        self._forget(at_once=not self._sent)

    def finish(self, patience: float) -> None:
        """Take nothing more; give what is on its way some seconds to arrive, and save the rest."""
        ends = time.monotonic() + patience
        while self._sent and self.sink.is_up and time.monotonic() < ends:
            self.source.pause(True)
            self._serve(0.1)
            self._settle()
            if self.sink.losses != self._losses:
                break
        # What has not arrived was not acknowledged: its sender has it still, or the disk has.
        self._forget(at_once=True)
        self._serve(0)

    def _serve(self, longest: float) -> None:
        readable, writable = self.source.sockets()
        more_readable, more_writable = self.sink.sockets()
        read, write = readable + more_readable, writable + more_writable
        longest = min(longest, self.source.longest_wait, self.sink.longest_wait)
        if not self.source.is_up or not self.sink.is_up:
            longest = min(longest, AWAY)
        try:
            can_read, can_write, _ = select(read, write, [], longest)
        except (OSError, ValueError):
            can_read, can_write = read, []  # One of them was closed: whoever reads it finds out.
        self.source.serve(set(can_read), set(can_write))
        self.sink.serve(set(can_read), set(can_write))

    def _has_room(self) -> bool:
        now = time.monotonic()
        if self._unsaved:
            return False
        if self._by_disk or not self.sink.is_up:
            if not self._was_up and not self._spool.count and now - self._began < PATIENCE:
                return False
            return not self._spool.full
        return self._room() > 0

    def _room(self) -> int:
        """How many more may be on their way."""
        return self.sink.window - len(self._sent) if self._sent_bytes < MOST_BYTES else 0

    def _take(self) -> None:
        self._by_disk = self._by_disk or not self.sink.is_up
        most = (AT_ONCE, MOST_BYTES) if self._by_disk else (self._room(), MOST_BYTES - self._sent_bytes)
        for message in self.source.take(*most):
            self.counters.received += 1
            made = self._route.outgoing(message)
            if isinstance(made, Dropped):
                self._drop(made.why)
                if made.is_odd:
                    self.counters.last_unknown = time.time()
            elif isinstance(made, Refused):
                self._refuse(Outgoing(message.topic, message.payload), made.why)
            outgoing = made if isinstance(made, Outgoing) else None
            if self._by_disk:
                self._unsaved.append((message, outgoing))
            else:
                self._send(_Sent(outgoing, message))
        self._save()
        self._settle()

    def _drop(self, why: str) -> None:
        self.counters.dropped[why] = self.counters.dropped.get(why, 0) + 1

    def _refuse(self, outgoing: Outgoing, reason: str) -> None:
        # What a person looks at, and may pass on.
        outgoing = Outgoing(self._route.shown(outgoing.topic), outgoing.payload)
        self.counters.refused += 1
        if self.counters.refused == 1 or self.counters.refused % 1000 == 0:
            self._tell(f"{outgoing.topic}: {reason}; kept beside ({self.counters.refused} so far)")
        try:
            self._spool.refuse([(outgoing, reason)])
        except sqlite3.Error as error:
            self._tell(f"{self._spool.path}: {error}: a refused message is lost")

    def _send(self, sent: _Sent) -> None:
        self._sent.append(sent)
        self._sent_directly += sent.message is not None
        if sent.outgoing is not None and left(sent.outgoing.properties) == 0:
            self._drop(EXPIRED)
            sent.outgoing = None
        if sent.outgoing is None:
            sent.is_done = True  # It waits for its turn to be acknowledged.
            return
        self._number += 1
        self._by_number[self._number] = sent
        self._sent_bytes += len(sent.outgoing.payload)
        self.sink.send(self._number, sent.outgoing)

    def _settle(self) -> None:
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
        """The sink is gone: what was on its way goes to the disk, or is there already."""
        sent, self._sent = self._sent, deque()
        self._sent_bytes = self._sent_directly = 0
        self._by_number.clear()
        self._read = self._done
        recalled = [
            (each.message, None if each.is_done else each.outgoing) for each in sent if each.message is not None
        ]
        if recalled:
            self._by_disk = True
            self._unsaved = deque((*recalled, *self._unsaved))
        self._save()

    def _save(self) -> None:
        """Put what waits for it on the disk; only then its sender is told that it is safe."""
        # What was sent directly came before it, and may have to go to the disk yet.
        while self._unsaved and not self._sent_directly and self._disk_is_due() and not self._spool.full:
            piece, size = list[Outgoing](), 0
            count = 0
            for _, outgoing in self._unsaved:
                count += 1
                if outgoing is not None:
                    piece.append(outgoing)
                    size += len(outgoing.payload)
                if size >= PIECE:
                    break
            try:
                if piece:
                    self._spool.add(piece)
            except sqlite3.Error as error:
                self._disk_failed(error)
                return
            self._disk_problem = ""
            self.counters.spooled += len(piece)
            for _ in range(count):
                self.source.acknowledge(self._unsaved.popleft()[0])

    def _drain(self) -> None:
        """Send what waits on the disk; behind that what the disk would not take."""
        if not self.sink.is_up:
            return
        if self._room() > 0 and self._read < self._spool.last and self._disk_is_due():
            try:
                waiting = self._spool.after(self._read, min(self._room(), AT_ONCE), MOST_BYTES - self._sent_bytes)
            except sqlite3.Error as error:
                self._disk_failed(error)
                return
            for place, outgoing in waiting:
                self._read = place
                self._send(_Sent(outgoing, spooled=place))
        if self._read < self._spool.last:
            return
        while self._unsaved and self._room() > 0:
            message, made = self._unsaved.popleft()
            self._send(_Sent(made, message))
        if not self._sent and not self._unsaved:
            self._by_disk = False

    def _forget(self, at_once: bool) -> None:
        """What came from the disk and has arrived is forgotten there: many at once, since each write waits for it."""
        now = time.monotonic()
        is_done = self._done == self._forgotten or (not at_once and now - self._forgot < FORGET_AFTER)
        if (is_done and (self._by_disk or not self._spool.can_shrink)) or not self._disk_is_due():
            return
        try:
            if is_done:
                self._spool.shrink()
                return
            self._forgot = now
            self._spool.remove(self._done)
            self._forgotten = self._done
            self._disk_problem = ""
        except sqlite3.Error as error:
            self._disk_failed(error)

    def _disk_is_due(self) -> bool:
        return time.monotonic() >= self._disk_wait

    def _disk_failed(self, error: sqlite3.Error) -> None:
        told = f"{self._spool.path}: {error}"
        now = time.monotonic()
        if told != self._disk_told[0] or now - self._disk_told[1] > TOLD_AGAIN:
            self._tell(f"{told}; trying again every {DISK_WAIT:g} s")
            self._disk_told = (told, now)
        self._disk_problem = told
        self._disk_wait = now + DISK_WAIT
        with suppress(sqlite3.Error):
            self._spool.relieve()
