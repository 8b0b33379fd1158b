"""Messages on disk while the other end is away, in the order in which they came; and those it refused."""

from __future__ import annotations

import json
import os
import sqlite3
import time

from scflows.forward import Outgoing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: What a row costs beside its topic and payload, in bytes.
ROW = 32
#: How many refused messages are kept; the oldest go first.
MOST_REFUSED = 10_000
TABLES = """
CREATE TABLE IF NOT EXISTS waiting (
  id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, payload BLOB NOT NULL, retain INTEGER NOT NULL,
  properties TEXT);
CREATE TABLE IF NOT EXISTS refused (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL,
  reason TEXT NOT NULL);
"""


class Spool:
    """A file of messages. What `add` returned from is on the disk. Every call may raise sqlite3.Error."""

    def __init__(self, path: str, most_bytes: int) -> None:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self.path = path
        self.most_bytes = most_bytes
        self._file = sqlite3.connect(path, timeout=30, isolation_level=None)
        self._file.execute("PRAGMA journal_mode=WAL")
        # What was acknowledged to its sender must outlive the power, too.
        self._file.execute("PRAGMA synchronous=FULL")
        self._file.executescript(TABLES)
        told = "SELECT count(*), coalesce(sum(length(payload) + length(topic)), 0) FROM waiting"
        row = self._file.execute(told).fetchone()
        self.count: int = row[0]
        size: int = row[1]
        self.bytes = size + ROW * self.count  #: of what waits
        self.refused = self._file.execute("SELECT count(*) FROM refused").fetchone()[0]

    @property
    def is_full(self) -> bool:
        return bool(self.bytes >= self.most_bytes)

    def add(self, messages: Sequence[Outgoing]) -> None:
        """Keep messages behind those that wait."""
        rows = [
            (each.topic, each.payload, each.retain, json.dumps(each.properties) if each.properties else None)
            for each in messages
        ]
        self._all("INSERT INTO waiting (topic, payload, retain, properties) VALUES (?, ?, ?, ?)", rows)
        self.count += len(rows)
        self.bytes += sum(len(topic) + len(payload) + ROW for topic, payload, _, _ in rows)

    def after(self, id: int, most: int) -> list[tuple[int, Outgoing]]:
        """The messages that wait behind one, at most so many."""
        asked = "SELECT id, topic, payload, retain, properties FROM waiting WHERE id > ? ORDER BY id LIMIT ?"
        rows = self._file.execute(asked, (id, most)).fetchall()
        return [
            (number, Outgoing(topic, payload, bool(retain), json.loads(properties) if properties else None))
            for number, topic, payload, retain, properties in rows
        ]

    def remove(self, upto: int) -> None:
        """Forget the messages up to one."""
        asked = "SELECT count(*), coalesce(sum(length(payload) + length(topic)), 0) FROM waiting WHERE id <= ?"
        count, size = self._file.execute(asked, (upto,)).fetchone()
        self._file.execute("DELETE FROM waiting WHERE id <= ?", (upto,))
        self.count -= count
        self.bytes -= size + ROW * count
        if not self.count:
            # The room goes back to the disk; the next outage may be far away.
            self._file.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def refuse(self, messages: Iterable[tuple[Outgoing, str]]) -> None:
        """Keep messages that nobody takes, each with the reason, for a person to look at."""
        now = time.time()
        rows = [(now, message.topic, message.payload, reason) for message, reason in messages]
        self._all("INSERT INTO refused (at, topic, payload, reason) VALUES (?, ?, ?, ?)", rows)
        self.refused += len(rows)
        if self.refused > MOST_REFUSED:
            oldest = "DELETE FROM refused WHERE id <= (SELECT max(id) FROM refused) - ?"
            self._file.execute(oldest, (MOST_REFUSED,))
            self.refused = self._file.execute("SELECT count(*) FROM refused").fetchone()[0]

    def close(self) -> None:
        self._file.close()

    def _all(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        self._file.execute("BEGIN IMMEDIATE")
        try:
            self._file.executemany(statement, rows)
            self._file.execute("COMMIT")
        except BaseException:
            if self._file.in_transaction:
                self._file.execute("ROLLBACK")
            raise
