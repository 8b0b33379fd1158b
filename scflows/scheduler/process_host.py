"""The clock, the signals and the child processes of a program that runs in the foreground, also as PID 1."""

from __future__ import annotations

import os
import select
import signal
import sys
import time

from scflows import command_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, Protocol, Self

    class Host(Protocol):
        """The clock, the signals and the processes; see `ProcessHost`."""

        def now(self) -> float: ...
        def wait(self, seconds: float) -> None: ...
        def signals(self) -> list[int]: ...
        def start(self, arguments: list[str]) -> int: ...
        def ended(self) -> list[tuple[int, int]]: ...
        def stop(self, pid: int, number: int = signal.SIGTERM) -> None: ...


HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class ProcessHost:
    """Starts, waits and hears signals; a context manager, since it takes over this process's signals."""

    def __enter__(self) -> Self:
        self._heard: list[int] = []
        self.is_stop_requested = False  #: whether a signal asked for it
        self._wake, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)
        self._before: dict[int, Any] = {number: signal.signal(number, self._hear) for number in HEARD}
        # An ignored SIGCHLD, which may be inherited, would have the kernel reap what we must see.
        self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._wakeup = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        return self

    def __exit__(self, *ended: object) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._wake)
        os.close(self._wake_write)

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def wait(self, seconds: float) -> None:
        """Return after this many seconds, or as soon as a signal arrives or a child ends."""
        if self._poll.poll(max(0, int(seconds * 1000) + 1)):
            try:
                while os.read(self._wake, 4096):
                    pass
            except BlockingIOError:
                pass

    def signals(self) -> list[int]:
        """Return the signals that arrived since the last call."""
        heard, self._heard = self._heard, []
        return heard

    def start(self, arguments: list[str]) -> int:
        """Start `python -P -m scflows` with arguments, in a session of its own; return its number. Raises OSError."""
        return os.posix_spawn(
            sys.executable,
            command_line(*arguments),
            os.environ,
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
            # So that Ctrl-C reaches only this process.
            setsid=True,
            setsigdef=[*HEARD, signal.SIGPIPE],
        )

    def ended(self) -> list[tuple[int, int]]:
        """Return the children that ended, each with its exit status, or minus the signal that killed it.

        Also those that are ours only because we are PID 1.
        """
        found: list[tuple[int, int]] = []
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return found
            if not pid:
                return found
            found.append((pid, os.waitstatus_to_exitcode(status)))

    def stop(self, pid: int, number: int = signal.SIGTERM) -> None:
        """Ask a process to stop, by a signal."""
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._heard.append(number)
        self.is_stop_requested |= number in (signal.SIGTERM, signal.SIGINT)
