"""A task's log: one line per event, with time, level and step. A log that fails never fails a run."""

from __future__ import annotations

import errno
import os
import stat
import time

from scflows.history.run import is_run_id
from scflows.secrets.masking import Mask
from scflows.settings import Settings
from scflows.storage import names_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


#: Without O_NONBLOCK, opening a FIFO blocks until it has a reader.
OPEN_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
LOG = ".log"
LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40}
#: How many bytes are written before the size is checked again.
CHECK_EVERY = 1 << 16


class TaskLog:
    """The log of a run.

    A log that cannot be opened or written never fails the run: `problem` says why, and lines only go to `echo`.
    """

    def __init__(
        self,
        path: str,
        level: str = "INFO",
        echo: Callable[[str], None] | None = None,
        limit: int = 0,
        zone: str = "UTC",
    ) -> None:
        """`echo` gets every line, without its end. `limit`: how many bytes the run may write; 0: no limit.

        `zone`: the time zone of the lines.
        """
        self.path = path
        self.echo = echo
        self.problem = ""
        self.mask = Mask()  #: replaces secrets in every line
        self._level = LEVELS[level]
        self._zone = zone
        self._prefix = self._outer_prefix = ""
        self._descriptor = -1
        self._limit = limit
        self._start = 0  #: where the run's own part of the file begins
        self._unchecked = 0  #: bytes written since the size was last checked
        if path:
            try:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                self._descriptor = os.open(path, OPEN_FLAGS, 0o640)
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
        """The file descriptor that lines are appended to; -1 if there is none."""
        return self._descriptor

    def debug(self, message: str) -> None:
        self._write("DEBUG", message)

    def info(self, message: str, echo: bool = True) -> None:
        """`echo`: whether the line also goes to the user who follows the run."""
        self._write("INFO", message, echo)

    def warning(self, message: str) -> None:
        self._write("WARNING", message)

    def error(self, message: str) -> None:
        self._write("ERROR", message)

    def set_step(self, name: str) -> None:
        """Put a step's name before each following line; an empty name for none."""
        self._prefix = f"{self._outer_prefix}{name}: " if name else self._outer_prefix

    def branch(self) -> TaskLog:
        """Return the same log for another thread, which executes another step."""
        log = TaskLog.__new__(type(self))
        log.__dict__.update(self.__dict__)
        return log

    def add_prefix(self, name: str) -> None:
        """Put a name before the step names in all following lines, for example that of a child flow."""
        self._outer_prefix += f"{name}: "
        self._prefix = self._outer_prefix

    def enforce_limit(self) -> None:
        """Remove the middle of what the run and its programs wrote to the file, if that exceeds the limit."""
        self._unchecked = 0
        if not self._limit or self._descriptor < 0:
            return
        try:
            if os.fstat(self._descriptor).st_size - self._start > self._limit:
                from scflows.history.log_trim import trim_run

                # The file has the last lines at any time, even if this process dies.
                trim_run(self.path, self._start, self._limit, timestamp(time.time(), self._zone))
        except OSError:
            pass  # A log that is too long is still usable.

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, level: str, message: str, echo: bool = True) -> None:
        if LEVELS[level] < self._level:
            return
        if self.mask:
            message = self.mask.text(message)
        stamp = timestamp(time.time(), self._zone)
        lines = [f"{stamp} {level:<7} {self._prefix}{line}" for line in message.splitlines() or [""]]
        if self._descriptor >= 0:
            content = ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")
            try:
                # A single write with O_APPEND, so that lines of several processes never mix.
                os.write(self._descriptor, content)
            except OSError as error:
                self._fail(error)
            self._unchecked += len(content)
            if self._unchecked >= CHECK_EVERY:
                self.enforce_limit()
        if echo and self.echo is not None:
            for line in lines:
                self.echo(line)

    def _fail(self, error: OSError) -> None:
        self.problem = f"log {self.path}: {error.strerror}"
        self.close()


def timestamp(moment: float, zone: str) -> str:
    """Format seconds since the epoch as ISO 8601 with the offset of a zone: `2026-11-20T13:42:07+01:00`.

    An invalid zone counts as UTC, so that what goes wrong can be reported at all.
    """
    if zone == os.environ.get("TZ"):
        # That of the C library: without the cost of loading another one.
        text = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(moment))
        return f"{text[:-2]}:{text[-2:]}"
    if zone != "UTC":
        from datetime import datetime
        from zoneinfo import ZoneInfo

        try:
            return datetime.fromtimestamp(moment, ZoneInfo(zone)).isoformat(timespec="seconds")
        except (KeyError, ValueError, OSError):
            pass
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(moment))


def log_path(tasks_path: str, task: str, run: str = "") -> str:
    """Return the path of a task's log, `TASK/TASK.log` in `tasks_path`, or of one run, `TASK/RUN.log`.

    A run has its own log if several runs of its task may be active at the same time.
    """
    return os.path.join(tasks_path, task, f"{run or task}.log")


def logged_tasks(tasks_path: str) -> Iterator[str]:
    """Yield the names of all tasks that have a log, in order."""
    for name in names_in(tasks_path):
        if os.path.isfile(log_path(tasks_path, name)) or run_logs(tasks_path, name):
            yield name


def run_logs(tasks_path: str, task: str) -> list[str]:
    """Return the paths of the logs of single runs of a task, the oldest run first."""
    folder = os.path.join(tasks_path, task)
    names = (name for name in names_in(folder) if name.endswith(LOG) and name != task + LOG)
    return [os.path.join(folder, name) for name in names if is_run_id(name.removesuffix(LOG))]


def scheduler_log(tasks_path: str) -> str:
    """Return the path of the log of changes to the schedule and of scheduled searches."""
    return os.path.join(tasks_path, "scheduler.log")


def warn_in_scheduler_log(settings: Settings, text: str) -> None:
    """Write a warning to the scheduler's log. Under cron, output is mailed or lost."""
    log = TaskLog(scheduler_log(settings.tasks_path), zone=settings.timezone)
    log.warning(text)
    log.close()
