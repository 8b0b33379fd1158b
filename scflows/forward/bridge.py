"""The way from a source to a sink: in order, nothing lost, on disk while the sink is away."""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from dataclasses import dataclass, field
from select import select

from scflows.forward import Dropped, Outgoing, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scflows.forward import Message, Sink, Source
    from scflows.forward.route import Route
    from scflows.forward.spool import Spool

#: Seconds that a start waits for the sink before messages go to the disk.
PATIENCE = 5.0
#: Seconds between two looks at a disk that would not take more.
DISK_WAIT = 5.0
#: How many messages are taken or read from the disk at once.
AT_ONCE = 500
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
        self._by_number: dict[int, _Sent] = {}
        self._number = 0
        self._losses = sink.losses
        self._began = time.monotonic()
        self._was_up = False
        #: Whether messages go over the disk: since the sink is away, or since others wait there.
        self._by_disk = spool.count > 0
        self._unsaved: list[tuple[Message, Outgoing | None]] = []  #: what the disk would not take yet
        self._read = 0  #: the last place of the disk that was sent
        self._done = 0  #: the last one that has arrived
        self._forgotten = 0  #: the last one that was taken off the disk
        self._forgot = self._disk_wait = 0.0

    @property
    def in_flight(self) -> int:
        """How many messages are on their way to the sink."""
        return len(self._sent)

    @property
    def is_idle(self) -> bool:
        """Whether all that came has arrived or lies on the disk."""
        return not self._sent

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
            return not self._spool.is_full
        return len(self._sent) < self.sink.window

    def _take(self) -> None:
        self._by_disk = self._by_disk or not self.sink.is_up
        for message in self.source.take(AT_ONCE if self._by_disk else self.sink.window - len(self._sent)):
            self.counters.received += 1
            made = self._route.outgoing(message)
            if isinstance(made, Dropped):
                self.counters.dropped[made.why] = self.counters.dropped.get(made.why, 0) + 1
            elif isinstance(made, Refused):
                self._refuse(Outgoing(message.topic, message.payload), made.why)
            outgoing = made if isinstance(made, Outgoing) else None
            if self._by_disk:
                self._unsaved.append((message, outgoing))
            elif outgoing is not None:
                self._send(_Sent(outgoing, message))
            else:
                # It waits for its turn to be acknowledged.
                self._sent.append(_Sent(None, message, is_done=True))
        self._save()
        self._settle()

    def _refuse(self, outgoing: Outgoing, reason: str) -> None:
        self.counters.refused += 1
        if self.counters.refused == 1 or self.counters.refused % 1000 == 0:
            self._tell(f"{outgoing.topic}: {reason}; kept beside ({self.counters.refused} so far)")
        try:
            self._spool.refuse([(outgoing, reason)])
        except sqlite3.Error as error:
            self._tell(f"{self._spool.path}: {error}: a refused message is lost")

    def _send(self, sent: _Sent) -> None:
        assert sent.outgoing is not None
        self._number += 1
        self._by_number[self._number] = sent
        self._sent.append(sent)
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
            if sent.message is not None:
                self.source.acknowledge(sent.message)
            else:
                self._done = sent.spooled

    def _recall(self) -> None:
        """The sink is gone: what was on its way goes to the disk, or is there already."""
        sent, self._sent = self._sent, deque()
        self._by_number.clear()
        self._read = self._done
        for each in sent:
            if each.message is not None:
                self._by_disk = True
                self._unsaved.append((each.message, None if each.is_done else each.outgoing))
        self._save()

    def _save(self) -> None:
        """Put what waits for it on the disk; only then its sender is told that it is safe."""
        if not self._unsaved or time.monotonic() < self._disk_wait:
            return
        outgoing = [each for _, each in self._unsaved if each is not None]
        try:
            if outgoing:
                self._spool.add(outgoing)
        except sqlite3.Error as error:
            self._tell(f"{self._spool.path}: {error}; trying again in {DISK_WAIT:g} s")
            self._disk_wait = time.monotonic() + DISK_WAIT
            return
        self.counters.spooled += len(outgoing)
        saved, self._unsaved = self._unsaved, []
        for message, _ in saved:
            self.source.acknowledge(message)

    def _drain(self) -> None:
        if not self.sink.is_up:
            return
        room = self.sink.window - len(self._sent)
        if room > 0:
            try:
                for place, outgoing in self._spool.after(self._read, min(room, AT_ONCE)):
                    self._read = place
                    self._send(_Sent(outgoing, spooled=place))
            except sqlite3.Error as error:
                self._tell(f"{self._spool.path}: {error}")
        self._forget(at_once=not self._sent)
        if not self._sent and not self._unsaved and not self._spool.count:
            self._by_disk = False

    def _forget(self, at_once: bool) -> None:
        """What came from the disk and has arrived is forgotten there: many at once, since each write waits for it."""
        now = time.monotonic()
        if self._done == self._forgotten or (not at_once and now - self._forgot < FORGET_AFTER):
            return
        self._forgot = now
        try:
            self._spool.remove(self._done)
            self._forgotten = self._done
        except sqlite3.Error as error:
            self._tell(f"{self._spool.path}: {error}")
