"""A file for messages while the sink is unavailable, in order, and for messages that it has refused."""

from __future__ import annotations

import json
import os
import sqlite3
import time

from scflows.integrations.forward.contract import Outgoing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: The size of a row besides topic and payload, in bytes.
ROW = 32
#: The maximum number of refused messages, and the fraction (1/N) of the size they may use; the oldest are removed.
MAX_REFUSED, REFUSED_SHARE = 10_000, 4
#: The free space to leave on the disk, in bytes, but at most 1/N of the disk; removing messages needs space as well.
RESERVE, RESERVE_PART = 16 * 2**20, 8
#: The maximum number of messages per removal.
BATCH = 500
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
    """A file of messages. When `add` returns, they are on the disk. Every call may raise sqlite3.Error."""

    def __init__(self, path: str, max_bytes: int) -> None:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self.path = path
        self.max_bytes = max_bytes
        self._folder = os.path.dirname(path)
        self._file = sqlite3.connect(path, timeout=30, isolation_level=None)
        self._file.execute(f"PRAGMA page_size={PAGE}")
        self._file.execute("PRAGMA auto_vacuum=INCREMENTAL")
        self._file.execute("PRAGMA journal_mode=WAL")
        # Overwriting removed messages would need as much space in the journal.
        self._file.execute("PRAGMA secure_delete=OFF")
        # Acknowledged messages must survive a power failure.
        self._file.execute("PRAGMA synchronous=FULL")
        # The content of the journal must always fit into the file.
        self._pages = max(16, self._disk()[1] // (4 * PAGE))  #: the maximum in the journal
        self._file.execute(f"PRAGMA wal_autocheckpoint={min(256, self._pages)}")
        self._file.executescript(TABLES)
        self.count, size, self.last = self._row(f"SELECT count(*), {SIZE}, coalesce(max(id), 0) FROM waiting")
        self.bytes = size + ROW * self.count  #: of waiting messages
        self.can_shrink = not self.count and self._row("PRAGMA freelist_count")[0] > 0
        self.refused, self.refused_bytes = self._row(f"SELECT count(*), {SIZE} + {ROW} * count(*) FROM refused")

    @property
    def full(self) -> str:
        """Return why nothing can be added; an empty text if it can."""
        if self.bytes + self.refused_bytes >= self.max_bytes:
            return "the spool has reached its maximum size"
        free, reserve = self._disk()
        if free >= reserve:
            return ""
        # Free pages in the file are reused, but the journal needs space on the disk.
        if free >= reserve // 2 and free + PAGE * self._row("PRAGMA freelist_count")[0] >= reserve:
            return ""
        return f"the disk has only {free / 2**20:.1f} MiB left"

    def add(self, messages: Sequence[Outgoing]) -> None:
        """Append messages."""
        rows = [
            (each.topic, each.payload, each.retain, json.dumps(each.properties) if each.properties else None)
            for each in messages
        ]
        self._insert("INSERT INTO waiting (topic, payload, retain, properties) VALUES (?, ?, ?, ?)", rows)
        self.last = self._row("SELECT max(id) FROM waiting")[0]
        self.count += len(rows)
        self.bytes += sum(len(topic) + len(payload) + ROW for topic, payload, _, _ in rows)

    def after(self, id: int, count: int, max_bytes: int) -> list[tuple[int, Outgoing]]:
        """Return the messages after an id, up to `count`, and no more once they exceed `max_bytes`."""
        query = "SELECT id, topic, payload, retain, properties FROM waiting WHERE id > ? ORDER BY id LIMIT ?"
        found, size = [], 0
        for number, topic, payload, retain, properties in self._file.execute(query, (id, count)):
            found.append(
                (number, Outgoing(topic, payload, bool(retain), json.loads(properties) if properties else None))
            )
            size += len(payload)
            if size >= max_bytes:
                break
        return found

    def remove(self, upto: int) -> None:
        """Remove the messages up to an id."""
        # A few at a time, because a nearly full disk may have no space for a larger transaction.
        limit = self._disk()[1] // RESERVE_PART
        while rows := self._file.execute(SOME, (upto, BATCH)).fetchall():
            count, size = 0, 0
            while count < len(rows) and size < limit:
                size += rows[count][1]
                count += 1
            self._file.execute("DELETE FROM waiting WHERE id <= ?", (rows[count - 1][0],))
            self.count -= count
            self.bytes -= size + ROW * count
        self.can_shrink = not self.count

    def shrink(self) -> None:
        """Return a part of the free pages to the disk."""
        self._file.executescript(f"PRAGMA incremental_vacuum({self._pages})")  # `execute` would free only one page.
        if not self._row("PRAGMA freelist_count")[0]:
            self.truncate_journal()
            self.can_shrink = False

    def truncate_journal(self) -> None:
        """Free the space of the journal, which a retry on a full disk may need."""
        self._file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def refuse(self, messages: Iterable[tuple[Outgoing, str]]) -> None:
        """Store refused messages, each with the reason, for users to inspect."""
        now, limit = time.time(), self.max_bytes // REFUSED_SHARE
        rows = []
        for message, reason in messages:
            payload = message.payload
            if len(payload) > limit:
                payload, reason = b"", f"{reason} (its {len(payload)} bytes are not stored)"
            rows.append((now, message.topic, payload, reason))
        self._insert("INSERT INTO refused (at, topic, payload, reason) VALUES (?, ?, ?, ?)", rows)
        self.refused += len(rows)
        self.refused_bytes += sum(len(topic) + len(payload) + ROW for _, topic, payload, _ in rows)
        while self.refused > MAX_REFUSED or (self.refused_bytes > limit and self.refused > 1):
            query = "SELECT id, length(payload) + length(topic) FROM refused ORDER BY id LIMIT 1"
            oldest, size = self._row(query)
            self._file.execute("DELETE FROM refused WHERE id = ?", (oldest,))
            self.refused -= 1
            self.refused_bytes -= size + ROW

    def close(self) -> None:
        self._file.close()

    def _disk(self) -> tuple[float, int]:
        """Return the free bytes of the disk, and how many of them must stay free."""
        try:
            usage = os.statvfs(self._folder)
        except OSError:
            return float("inf"), RESERVE
        if not usage.f_blocks:
            return float("inf"), RESERVE  # The file system does not report its size.
        return usage.f_bavail * usage.f_frsize, min(RESERVE, usage.f_blocks * usage.f_frsize // RESERVE_PART)

    def _row(self, query: str, values: tuple[object, ...] = ()) -> tuple[int, ...]:
        found: tuple[int, ...] = self._file.execute(query, values).fetchone()
        return found

    def _insert(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        self._file.execute("BEGIN IMMEDIATE")
        try:
            self._file.executemany(statement, rows)
            self._file.execute("COMMIT")
        except BaseException:
            if self._file.in_transaction:
                self._file.execute("ROLLBACK")
            raise
