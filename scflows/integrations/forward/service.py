"""Run a forwarding until it is stopped."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from contextlib import closing, contextmanager
from select import select

from scflows.errors import Busy, Refused, UsageError
from scflows.history.task_log import TaskLog, log_path
from scflows.integrations.forward import status
from scflows.integrations.forward.bridge import MAX_BYTES, Bridge
from scflows.integrations.forward.factory import Opener
from scflows.integrations.forward.spool import Spool
from scflows.locks import Lock, current_process, holder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scflows.integrations.forward.contract import Message
    from scflows.integrations.forward.lookup_table import NameTable
    from scflows.integrations.forward.schema import Schema
    from scflows.settings import Settings

#: Seconds to wait for messages in flight when stopping.
GRACE = 10.0
#: The longest wait for events, in seconds.
IDLE = 0.5


def serve(schema: Schema, settings: Settings, log_line: Callable[[str], None]) -> None:
    """Forward messages until SIGTERM or SIGINT. Raises Busy if it is already running, UsageError, Refused."""
    path = log_path(settings.tasks_path, f"forward-{schema.name}")
    log = TaskLog(path, settings.log_level, log_line, zone=settings.timezone)
    lock = Lock(status.folder(settings), schema.name)
    try:
        if not lock.acquire(schema.name):
            other = holder(status.folder(settings), schema.name)
            raise Busy(f"forwarding {schema.name!r} is already running" + (f" as process {other.pid}" if other else ""))
    except OSError as error:
        raise Refused(f"{status.folder(settings)}: cannot be written: {error.strerror}") from error
    try:
        _Service(schema, settings, log).run()
    finally:
        lock.release()
        log.close()


class _Service:
    def __init__(self, schema: Schema, settings: Settings, log: TaskLog) -> None:
        self._schema = schema
        self._settings = settings
        self._log = log
        opener = Opener(schema, settings, log.mask, log.info)
        try:
            path = os.path.join(status.folder(settings), f"{schema.name}.spool")
            self._spool = Spool(path, schema.spool_bytes)
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or error
            raise Refused(f"{path}: cannot be used: {reason}", "move it away, with the messages in it") from error
        self._table: NameTable | None = opener.table()
        self._bridge = Bridge(
            opener.source(),
            opener.sink(status.message("lost", schema.name)),
            opener.route(self._table),
            self._spool,
            log.info,
        )

    def run(self) -> None:
        started, process, reported, previous = time.time(), current_process(), 0.0, None
        self._log.info(f"forwarding {self._schema.name}: {self._bridge.source.name} to {self._bridge.sink.name}")
        with _stop_signals() as stopped:
            while not stopped:
                if self._table is not None:
                    self._table.keep_fresh()
                    if not self._table.is_ready:
                        time.sleep(0.1)
                if self._table is None or self._table.is_ready:
                    self._bridge.step(IDLE)
                now, state = time.monotonic(), (self._bridge.source.is_up, self._bridge.sink.is_up)
                if now - reported >= status.INTERVAL or state != previous:
                    reported, previous = now, state
                    self._report(process, started)
        self._bridge.finish(GRACE)
        shown = self._report(process, started, ended=True)
        self._bridge.sink.publish_status(status.message("offline", self._schema.name, shown))
        self._bridge.source.close()
        self._bridge.sink.close()
        counters = self._bridge.counters
        self._log.info(
            f"stopped: {counters.received} received, {counters.forwarded} forwarded, {self._spool.count} on the disk"
        )
        self._spool.close()

    def _report(self, process: str, started: float, ended: bool = False) -> dict[str, object]:
        values = status.snapshot(self._schema.name, process, started, self._bridge, self._spool, self._table)
        if ended:
            values["ended"] = round(time.time(), 3)
        status.write(self._settings, values)
        if not ended:
            self._bridge.sink.publish_status(status.message("online", self._schema.name, values))
        return values


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect the signals that ask the process to stop, SIGTERM and SIGINT, until the end of the block."""
    stopped: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {each: signal.signal(each, lambda number, _: stopped.append(number)) for each in numbers}
    try:
        yield stopped
    finally:
        for each, action in before.items():
            signal.signal(each, action)


def preview(
    schema: Schema,
    settings: Settings,
    show: Callable[[Message, object], None],
    count: int,
    log_line: Callable[[str], None],
) -> None:
    """Show up to `count` messages that would be forwarded, without consuming them; 0 means no limit."""
    from scflows.secrets.masking import Mask

    opener = Opener(schema, settings, Mask(), log_line)
    table = opener.table()
    if table is not None:
        table.read()
        if not table.is_ready:
            raise UsageError(f"names: {table.problem}")
    source, route = opener.source(persistent=False), opener.route(table)
    opener.sink(b"")  # To report its mistakes.
    shown = 0
    with closing(source), _stop_signals() as stopped:
        while not stopped and (not count or shown < count):
            readable, writable = source.sockets()
            can_read, can_write, _ = select(readable, writable, [], 0.1)
            source.serve(set(can_read), set(can_write))
            for message in source.take(count - shown if count else 100, MAX_BYTES):
                show(message, route.outgoing(message))
                shown += 1
