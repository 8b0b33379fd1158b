"""Do something in a process of its own, so that nobody waits for it."""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def start_aside(action: Callable[[], object]) -> int:
    """Fork a process that does it, says nothing and ends; its number. Raises OSError.

    It is in a session of its own, without a terminal, and holds no file of this process, so no lock either.
    """
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing, descriptor)
        os.closerange(3, 1024)
        action()
    finally:
        os._exit(0)
