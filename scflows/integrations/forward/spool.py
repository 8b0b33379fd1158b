"""Messages on disk while the other end is away, in the order in which they came; and those it refused."""

from __future__ import annotations

import json
import os
import sqlite3
import time

from scflows.integrations.forward.base import Outgoing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: What a row costs beside its topic and payload, in bytes.
ROW = 32
#: How many refused messages are kept, and which part of the share they may have; the oldest go first.
MOST_REFUSED, REFUSED_SHARE = 10_000, 4
#: What is left free of the disk, in bytes, but at most the second part of it: forgetting a message takes room, too.
RESERVE, RESERVE_PART = 16 * 2**20, 8
#: How many messages are forgotten at once.
AT_ONCE = 500
PAGE = 4096
TABLES = """
CREATE TABLE IF NOT EXISTS waiting (
  id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, payload BLOB NOT NULL, retain INTEGER NOT NULL,
  properties TEXT);
CREATE TABLE IF NOT EXISTS refused (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL,
  reason TEXT NOT NULL);
"""
SOME = "SELECT id, length(payload) + length(topic) AS size FROM waiting WHERE id <= ? ORDER BY id LIMIT ?"
SIZE = "coalesce(sum(length(payload) + length(topic)), 0)"


class Spool:
    """A file of messages. What `add` returned from is on the disk. Every call may raise sqlite3.Error."""

    def __init__(self, path: str, most_bytes: int) -> None:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self.path = path
        self.most_bytes = most_bytes
        self._folder = os.path.dirname(path)
        self._file = sqlite3.connect(path, timeout=30, isolation_level=None)
        self._file.execute(f"PRAGMA page_size={PAGE}")
        self._file.execute("PRAGMA auto_vacuum=INCREMENTAL")
        self._file.execute("PRAGMA journal_mode=WAL")
        # To overwrite what is forgotten would take as much room in the journal as it had.
        self._file.execute("PRAGMA secure_delete=OFF")
        # What was acknowledged to its sender must outlive the power, too.
        self._file.execute("PRAGMA synchronous=FULL")
        # What the journal holds must find room in the file itself, in any case.
        self._pages = max(16, self._disk()[1] // (4 * PAGE))  #: how many may be in the journal
        self._file.execute(f"PRAGMA wal_autocheckpoint={min(256, self._pages)}")
        self._file.executescript(TABLES)
        self.count, size, self.last = self._row(f"SELECT count(*), {SIZE}, coalesce(max(id), 0) FROM waiting")
        self.bytes = size + ROW * self.count  #: of what waits
        self.can_shrink = not self.count and self._row("PRAGMA freelist_count")[0] > 0
        self.refused, self.refused_bytes = self._row(f"SELECT count(*), {SIZE} + {ROW} * count(*) FROM refused")

    @property
    def full(self) -> str:
        """Why nothing more can be added; empty while something can."""
        if self.bytes + self.refused_bytes >= self.most_bytes:
            return "the disk's share is full"
        free, reserve = self._disk()
        if free >= reserve:
            return ""
        # The pages of what was forgotten are used again; the journal still needs room.
        if free >= reserve // 2 and free + PAGE * self._row("PRAGMA freelist_count")[0] >= reserve:
            return ""
        return f"the disk is full but for {free / 2**20:.1f} MiB"

    def add(self, messages: Sequence[Outgoing]) -> None:
        """Keep messages behind those that wait."""
        rows = [
            (each.topic, each.payload, each.retain, json.dumps(each.properties) if each.properties else None)
            for each in messages
        ]
        self._all("INSERT INTO waiting (topic, payload, retain, properties) VALUES (?, ?, ?, ?)", rows)
        self.last = self._row("SELECT max(id) FROM waiting")[0]
        self.count += len(rows)
        self.bytes += sum(len(topic) + len(payload) + ROW for topic, payload, _, _ in rows)

    def after(self, id: int, most: int, most_bytes: int) -> list[tuple[int, Outgoing]]:
        """The messages that wait behind one, at most so many, and no more once they have so many bytes."""
        asked = "SELECT id, topic, payload, retain, properties FROM waiting WHERE id > ? ORDER BY id LIMIT ?"
        found, size = [], 0
        for number, topic, payload, retain, properties in self._file.execute(asked, (id, most)):
            found.append(
                (number, Outgoing(topic, payload, bool(retain), json.loads(properties) if properties else None))
            )
            size += len(payload)
            if size >= most_bytes:
                break
        return found

    def remove(self, upto: int) -> None:
        """Forget the messages up to one."""
        # A few at a time: on a disk that is nearly full there may be no room to note them all.
        most = self._disk()[1] // RESERVE_PART
        while rows := self._file.execute(SOME, (upto, AT_ONCE)).fetchall():
            count, size = 0, 0
            while count < len(rows) and size < most:
                size += rows[count][1]
                count += 1
            self._file.execute("DELETE FROM waiting WHERE id <= ?", (rows[count - 1][0],))
            self.count -= count
            self.bytes -= size + ROW * count
        self.can_shrink = not self.count

    def shrink(self) -> None:
        """Give a piece of the room that is free in the file back to the disk: the next outage may be far away."""
        self._file.executescript(f"PRAGMA incremental_vacuum({self._pages})")  # `execute` would do one page of it.
        if not self._row("PRAGMA freelist_count")[0]:
            self.relieve()
            self.can_shrink = False

    def relieve(self) -> None:
        """Give back the room of the journal: when the disk is full, that may be what the next attempt needs."""
        self._file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def refuse(self, messages: Iterable[tuple[Outgoing, str]]) -> None:
        """Keep messages that nobody takes, each with the reason, for a person to look at."""
        now, most = time.time(), self.most_bytes // REFUSED_SHARE
        rows = []
        for message, reason in messages:
            payload = message.payload
            if len(payload) > most:
                payload, reason = b"", f"{reason} (its {len(payload)} bytes are not kept)"
            rows.append((now, message.topic, payload, reason))
        self._all("INSERT INTO refused (at, topic, payload, reason) VALUES (?, ?, ?, ?)", rows)
        self.refused += len(rows)
        self.refused_bytes += sum(len(topic) + len(payload) + ROW for _, topic, payload, _ in rows)
        while self.refused > MOST_REFUSED or (self.refused_bytes > most and self.refused > 1):
            asked = "SELECT id, length(payload) + length(topic) FROM refused ORDER BY id LIMIT 1"
            oldest, size = self._row(asked)
            self._file.execute("DELETE FROM refused WHERE id = ?", (oldest,))
            self.refused -= 1
            self.refused_bytes -= size + ROW

    def close(self) -> None:
        self._file.close()

    def _disk(self) -> tuple[float, int]:
        """How many bytes of the disk are free for us, and how many of them must stay free."""
        try:
            told = os.statvfs(self._folder)
        except OSError:
            return float("inf"), RESERVE
        if not told.f_blocks:
            return float("inf"), RESERVE  # It does not say.
        return told.f_bavail * told.f_frsize, min(RESERVE, told.f_blocks * told.f_frsize // RESERVE_PART)

    def _row(self, asked: str, values: tuple[object, ...] = ()) -> tuple[int, ...]:
        found: tuple[int, ...] = self._file.execute(asked, values).fetchone()
        return found

    def _all(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        self._file.execute("BEGIN IMMEDIATE")
        try:
            self._file.executemany(statement, rows)
            self._file.execute("COMMIT")
        except BaseException:
            if self._file.in_transaction:
                self._file.execute("ROLLBACK")
            raise
