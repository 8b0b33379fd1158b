"""Run a program to its end: bounded output, and nothing it started outlives it."""

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
STDERR_BYTES = 16 * 1024
#: Seconds between asking a program to end and killing what is left of it. The clock of a run interrupts again
#: every second; this is over before.
GRACE = 0.5
CHUNK = 64 * 1024
#: `fcntl` command that chooses the signal of O_ASYNC (Linux, see fcntl(2)).
F_SETSIG = 10


@dataclass(frozen=True)
class ProcessResult:
    """How a program ended."""

    output: bytes
    errors: bytes  #: the end of what it said on stderr
    code: int  #: exit status; negative: the number of the signal that killed it


def run_program(
    words: list[str],
    folder: str,
    variables: dict[str, str],
    given: bytes | None,
    max_bytes: int,
    hear: Callable[[bytes], None] | None = None,
) -> ProcessResult:
    """Run a program in `folder` with these variables alone, `given` on its stdin.

    `hear` is given what it says on stderr, as it says it.

    Raises StepError when it puts out more than `max_bytes`, OSError or ValueError when it cannot be started.
    However this is left, the program and all it started that stayed in its process group are killed, and so
    they are when this process dies; but for the moment between its start and the words with the kernel about that.
    """
    lifeline, lifeline_in = os.pipe2(os.O_CLOEXEC)
    try:
        with complete_input(given) as source:
            # A group of its own can be ended as a whole without ending anything else, not even a step that
            # runs at the same time.
            process = subprocess.Popen(
                words,
                cwd=folder,
                env=variables,
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,
                pass_fds=[lifeline],
            )
        try:
            _tie(lifeline, process.pid)
            output, errors = _outputs(process, max_bytes, hear)
            # Its status is left with the kernel, which so keeps its number, the group's, from being used again.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        finally:
            _end(process)
        return ProcessResult(output, errors, process.returncode)
    finally:
        os.close(lifeline)
        os.close(lifeline_in)


def complete_input(content: bytes | None) -> BinaryIO:
    """Return a file that holds all of `content` (None: nothing), to be the stdin of a program.

    A program reads the end of a pipe when its writer is killed, and takes the beginning for the whole: `crontab -`
    would install it. A file in memory is complete before the program starts, and needs no room on a disk.
    """
    if content is None:
        return open(os.devnull, "rb")
    file = os.fdopen(os.memfd_create("stdin", os.MFD_CLOEXEC), "w+b")
    file.write(content)
    file.seek(0)
    return file


def _tie(lifeline: int, group: int) -> None:
    """Have the kernel kill the group when this process dies, however: then the pipe's other end closes."""
    import fcntl

    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -group)
    fcntl.fcntl(lifeline, F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)


def _outputs(
    process: subprocess.Popen[bytes], max_bytes: int, hear: Callable[[bytes], None] | None
) -> tuple[bytes, bytes]:
    import selectors

    output, errors = bytearray(), bytearray()
    with selectors.DefaultSelector() as waiting:
        for stream, content in ((process.stdout, output), (process.stderr, errors)):
            assert stream is not None
            waiting.register(stream, selectors.EVENT_READ, content)
        while waiting.get_map():
            # Looked at first: what it wrote is in the pipes once it has ended.
            has_ended = _has_ended(process.pid)
            ready = waiting.select(0 if has_ended else 0.25)
            if not ready and has_ended:
                # What it left behind in the background holds the pipes open.
                break
            for key, _ in ready:
                chunk = os.read(key.fd, CHUNK)
                if not chunk:
                    waiting.unregister(key.fileobj)
                key.data.extend(chunk)
                if hear is not None and key.data is errors:
                    hear(chunk)
            if len(output) > max_bytes:
                raise StepError(f"more than {max_bytes} bytes of output")
            if len(errors) > 2 * STDERR_BYTES:
                del errors[:-STDERR_BYTES]
    return bytes(output), bytes(errors[-STDERR_BYTES:])


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


def run_detached(action: Callable[[], object]) -> int:
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
