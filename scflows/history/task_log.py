"""A task's log: one line an event, with its time, level and step; no failure of it fails a run."""

from __future__ import annotations

import errno
import os
import stat
import time

from scflows.secrets.masking import Mask
from scflows.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


#: A FIFO that nobody reads would be waited for.
OPENING = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40}
#: How many bytes are written before the size is looked at again.
LOOK_EVERY = 1 << 16


class TaskLog:
    """Where a run writes what it does.

    A log that cannot be opened or written never fails the run: `problem` says why, lines go only to `echo`.
    """

    def __init__(
        self, path: str, level: str = "INFO", echo: Callable[[str], None] | None = None, limit: int = 0
    ) -> None:
        """`limit`: how many bytes the run may write; 0 for any number."""
        self.path = path
        self.echo = echo  #: is given every line, without its end
        self.problem = ""
        self.mask = Mask()  #: what no line may show
        self._least = LEVELS[level]
        self._prefix = self._around = ""
        self._descriptor = -1
        self._limit = limit
        self._start = 0  #: where the run's own part begins
        self._unseen = 0  #: bytes written since the size was looked at
        if path:
            try:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                self._descriptor = os.open(path, OPENING, 0o640)
                kind = os.fstat(self._descriptor).st_mode
                if not stat.S_ISREG(kind):
                    if not stat.S_ISCHR(kind):
                        raise OSError(errno.EINVAL, "not a regular file", path)
                    os.set_blocking(self._descriptor, True)
                self._start = os.lseek(self._descriptor, 0, os.SEEK_END) if stat.S_ISREG(kind) else 0
            except OSError as error:
                self._fail(error)

    @property
    def descriptor(self) -> int:
        """The file descriptor that lines are appended to; -1 when there is none."""
        return self._descriptor

    def debug(self, message: str) -> None:
        self._write("DEBUG", message)

    def info(self, message: str, echo: bool = True) -> None:
        """`echo`: whether who follows the run is told, too."""
        self._write("INFO", message, echo)

    def warning(self, message: str) -> None:
        self._write("WARNING", message)

    def error(self, message: str) -> None:
        self._write("ERROR", message)

    def at_step(self, name: str) -> None:
        """Put a step's name before the lines that follow; empty for none."""
        self._prefix = f"{self._around}{name}: " if name else self._around

    def branch(self) -> TaskLog:
        """The same log for another thread, which is at another step."""
        log = TaskLog.__new__(type(self))
        log.__dict__.update(self.__dict__)
        return log

    def within(self, name: str) -> None:
        """Put a name before the steps' names from here on, as for the flow of a loop's item."""
        self._around += f"{name}: "
        self._prefix = self._around

    def keep_within(self) -> None:
        """Leave out the middle of what the run wrote, if that is too much; also what others wrote there for it."""
        self._unseen = 0
        if not self._limit or self._descriptor < 0:
            return
        try:
            if os.fstat(self._descriptor).st_size - self._start > self._limit:
                from scflows.history.log_trim import cut_share

                # What is written last is in the file at any time, also when this process dies.
                cut_share(self.path, self._start, self._limit)
        except OSError:
            pass  # A log that is too long is still a log.

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, level: str, message: str, echo: bool = True) -> None:
        if LEVELS[level] < self._least:
            return
        if self.mask:
            message = self.mask.text(message)
        stamp = timestamp(time.time())
        lines = [f"{stamp} {level:<7} {self._prefix}{line}" for line in message.splitlines() or [""]]
        if self._descriptor >= 0:
            content = ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")
            try:
                # One write with O_APPEND: lines of several processes never mix.
                os.write(self._descriptor, content)
            except OSError as error:
                self._fail(error)
            self._unseen += len(content)
            if self._unseen >= LOOK_EVERY:
                self.keep_within()
        if echo and self.echo is not None:
            for line in lines:
                self.echo(line)

    def _fail(self, error: OSError) -> None:
        self.problem = f"log {self.path}: {error.strerror}"
        self.close()


def timestamp(moment: float) -> str:
    """Seconds since the epoch as ISO 8601 local time with its offset: `2026-11-20T13:42:07+01:00`."""
    text = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(moment))
    return f"{text[:-2]}:{text[-2:]}"


def log_path(tasks_path: str, task: str) -> str:
    """The log of a task: `<tasks_path>/<task>/<task>.log`."""
    return os.path.join(tasks_path, task, f"{task}.log")


def log_files(tasks_path: str) -> Iterator[str]:
    """The log of every task that has one, by name."""
    try:
        names = sorted(os.listdir(tasks_path))
    except OSError:
        return
    for name in names:
        path = log_path(tasks_path, name)
        if os.path.isfile(path):
            yield path


def scheduler_log(tasks_path: str) -> str:
    """The log of what was scheduled, and of the searches that are scheduled themselves."""
    return os.path.join(tasks_path, "scheduler.log")


def warn_in_scheduler_log(settings: Settings, text: str) -> None:
    """Write a warning into the scheduler's log: what is printed under cron is mailed, if it is not lost."""
    from scflows.history.task_log import TaskLog, scheduler_log

    log = TaskLog(scheduler_log(settings.tasks_path))
    log.warning(text)
    log.close()
