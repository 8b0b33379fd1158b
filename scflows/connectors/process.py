"""Run a program with limited output, and kill everything it has started when it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass

from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO


#: How much of the end of stderr is kept, in bytes.
END_BYTES = 16 * 1024
#: Seconds between asking a program to end and killing its process group. Less than the second after which the
#: watchdog of a run interrupts again.
GRACE = 0.5
CHUNK = 64 * 1024
#: `fcntl` command that chooses the signal of O_ASYNC (Linux, see fcntl(2)).
F_SETSIG = 10


@dataclass(frozen=True)
class ProcessResult:
    """The result of a program."""

    output: bytes
    errors: bytes  #: the end of its stderr
    code: int  #: exit status; negative: the number of the signal that killed it


def run_program(
    command: list[str],
    folder: str,
    environment: dict[str, str],
    stdin: bytes | None,
    max_bytes: int = 0,
    on_output: Callable[[str, bytes], None] | None = None,
    keeps_stdout: bool = True,
    inherited: tuple[int, ...] = (),
) -> ProcessResult:
    """Run a program in `folder` with only these environment variables and `stdin` as its input.

    `on_output` is called with each part of its output as it is written, and `stdout` or `stderr`. Of stdout only the
    end is kept if not `keeps_stdout`. The descriptors `inherited` stay open in the program.

    Raises StepError if stdout exceeds `max_bytes` and is kept, OSError or ValueError if the program cannot be started.
    When this returns, raises or this process dies, the whole process group of the program is killed; only in the moment
    between its start and the setup of the lifeline it would survive this process.
    """
    lifeline, lifeline_in = os.pipe2(os.O_CLOEXEC)
    try:
        with complete_input(stdin) as source:
            # A process group of its own, so that it can be killed without affecting parallel steps.
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,
                pass_fds=[lifeline, *inherited],
            )
        try:
            _tie_lifeline(lifeline, process.pid)
            output, errors = _read_outputs(process, max_bytes if keeps_stdout else None, on_output)
            # Do not reap the process yet, so that the kernel does not reuse its id, which is also the group's.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        finally:
            _end(process)
        return ProcessResult(output, errors, process.returncode)
    finally:
        os.close(lifeline)
        os.close(lifeline_in)


def complete_input(content: bytes | None) -> BinaryIO:
    """Return a file that holds all of `content` (None: nothing), to be the stdin of a program.

    If the writer of a pipe is killed, the program takes the beginning for the whole: `crontab -` would install it. A
    file in memory is complete before the program starts, and needs no space on a disk.
    """
    if content is None:
        return open(os.devnull, "rb")
    file = os.fdopen(os.memfd_create("stdin", os.MFD_CLOEXEC), "w+b")
    file.write(content)
    file.seek(0)
    return file


def _tie_lifeline(lifeline: int, group: int) -> None:
    """Let the kernel kill the group when this process dies, which closes the other end of the pipe."""
    import fcntl

    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -group)
    fcntl.fcntl(lifeline, F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)


def _read_outputs(
    process: subprocess.Popen[bytes], max_bytes: int | None, on_output: Callable[[str, bytes], None] | None
) -> tuple[bytes, bytes]:
    import selectors

    output, errors = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        for stream, name in ((process.stdout, "stdout"), (process.stderr, "stderr")):
            assert stream is not None
            selector.register(stream, selectors.EVENT_READ, name)
        while selector.get_map():
            # Check before reading: after its end, all its output is in the pipes.
            has_ended = _has_ended(process.pid)
            ready = selector.select(0 if has_ended else 0.25)
            if not ready and has_ended:
                # Background processes that it has left keep the pipes open.
                break
            for key, _ in ready:
                chunk = os.read(key.fd, CHUNK)
                if not chunk:
                    selector.unregister(key.fileobj)
                (output if key.data == "stdout" else errors).extend(chunk)
                if on_output is not None:
                    on_output(key.data, chunk)
            if max_bytes is not None and len(output) > max_bytes:
                raise StepError(f"more than {max_bytes} bytes of output")
            for buffer in (errors,) if max_bytes is not None else (errors, output):
                if len(buffer) > 2 * END_BYTES:
                    del buffer[:-END_BYTES]
    return bytes(output), bytes(errors[-END_BYTES:])


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        if not _has_ended(process.pid):
            os.killpg(process.pid, signal.SIGTERM)
            ends = time.monotonic() + GRACE
            while time.monotonic() < ends and not _has_ended(process.pid):
                time.sleep(0.01)
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # The group ended with its leader.
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def run_detached(action: Callable[[], object], stdout: int = -1) -> int:
    """Run an action in a forked process; return the process id. Raises OSError.

    The process has its own session without a terminal, and none of this process's open files or locks. Its output is
    dropped, unless the descriptor `stdout` is given.
    """
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        null_device = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(stdout if descriptor == 1 and stdout >= 0 else null_device, descriptor)
        os.closerange(3, 1024)
        action()
    finally:
        os._exit(0)
