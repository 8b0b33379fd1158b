"""The child process of a run: it does the work in its own process group, and reports to the supervisor by a pipe."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from scflows.execution.step_limits import KilledStep
    from scflows.history.run import Run
    from scflows.history.task_log import TaskLog

    EventCallback = Callable[[str, dict[str, Any]], None]

    class Workload(Protocol):
        """The work of a child process."""

        limit: float  #: seconds, for messages
        ends: float  #: when the limit passes, by the monotonic clock
        has_watchdog: bool  #: whether the child enforces the limit itself, with the parent as a safety net

        def run(self, log: TaskLog, send: EventCallback, dry_run: bool) -> int:
            """In the child: do the work, report to the parent with `send`, return the exit status."""

        def next_workload(self, run: Run, killed: KilledStep | None) -> Workload | None:
            """In the parent: return the work for a new child after a child has died; `killed` is the cause, if any."""


#: The signals that ask a run to stop.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: The values in the child's messages that may contain a secret.
MASKED_VALUES = ("data", "message", "line")
#: `fcntl` command that chooses the signal of O_ASYNC (Linux, see fcntl(2)).
F_SETSIG = 10


def work_in_child(
    workload: Workload,
    log: TaskLog,
    messages: int,
    output: int,
    lifeline: int,
    dry_run: bool,
    wants_data: bool,
    has_listener: bool,
) -> int:
    """Do the work and return the exit status.

    - messages, output: the ends of pipes to the parent, for events and for what libraries print once there are secrets
    - lifeline: the end of a pipe that the kernel closes when the parent dies
    - wants_data, has_listener: whether the parent needs the run's data, and the lines of the log
    """
    limit_memory()
    os.setpgid(0, 0)
    signal.set_wakeup_fd(-1)
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    # When the parent dies, its end of this pipe closes and the kernel kills the whole process group.
    os.set_inheritable(lifeline, True)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgid(0))
    fcntl.fcntl(lifeline, F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    null_device = os.open(os.devnull, os.O_RDWR)
    os.dup2(null_device, 0)
    # Output of libraries goes to the task's log; under cron it would be sent by mail.
    target = log.descriptor if log.descriptor >= 0 else null_device
    os.dup2(target, 1)
    os.dup2(target, 2)

    sending = allocate_lock()
    mask = log.mask

    def send(event: str, values: dict[str, Any]) -> None:
        if event == "end" and not wants_data:
            values = {**values, "data": {}}
        if mask and event != "secret":
            # Mask here, because only the child knows the secrets.
            values = {key: mask.value(value) if key in MASKED_VALUES else value for key, value in values.items()}
        content = json.dumps([event, values]).encode() + b"\n"
        # Parallel steps send at the same time, and a long message takes several writes.
        with sending:
            while content:
                content = content[os.write(messages, content) :]

    def learn(texts: list[str]) -> None:
        # The parent masks the output of libraries and the interpreter, because it outlives this process.
        send("secret", {"texts": texts})
        if target != null_device:
            os.dup2(output, 1)
            os.dup2(output, 2)

    mask.listeners.append(learn)
    if mask:
        learn(mask.texts())
    log.echo = (lambda line: send("log", {"line": line})) if has_listener else None
    return workload.run(log, send, dry_run)


def limit_memory() -> None:
    """Limit the memory of this process to three quarters of the machine's, but at least 1 GiB."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if soft != resource.RLIM_INFINITY:
        return  # A limit is set already.
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (max(2**30, total * 3 // 4), hard))
    except (OSError, ValueError):
        pass


def flush_output() -> None:
    """Flush the output that Python has buffered."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
