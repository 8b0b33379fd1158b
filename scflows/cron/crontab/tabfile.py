"""The tabfile: our block of the crontab as a file, which also exists on systems without a crontab."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field

from scflows.cron.crontab.line import BOOT, TICK, CrontabEntry, parse_line
from scflows.errors import Busy, Refused
from scflows.storage import open_regular, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.settings import Settings

#: The prefix of the file's heading, which is not part of the block.
HEADING = "#:"
HEADER = "#: The tasks of scflows, one per line, as in the crontab's block.\n#: Change them with the command flows.\n"
README = """\
What is in this folder
======================

tabfile.tab      the scheduled tasks of scflows: the lines between its two marks in your crontab
scheduler.log    changes of the schedule
TASK/TASK.log    the log of each task

Show them with `flows list-tasks` and `flows logs TASK`; change tasks with `flows edit` and `flows remove-task`.
Logs may be deleted at any time. The history of runs and the tasks' settings are stored elsewhere: see `flows config`.
"""
#: How long another command may hold the tabfile and the crontab, in seconds.
PATIENCE = 60.0


@dataclass
class Tabfile:
    """The lines of our block in their order. Foreign lines in it keep their position."""

    found: bool = True  #: False if the file does not exist yet
    _lines: dict[str, str] = field(default_factory=dict)  #: by name; lines that are not entries by their number
    _parsed: dict[str, CrontabEntry] = field(default_factory=dict, compare=False, repr=False)  #: the parsed lines

    @classmethod
    def parse(cls, text: str) -> Tabfile:
        """Parse a tabfile; of several lines with the same name, the last one counts."""
        tabfile = cls()
        # Not splitlines(), which splits at more than newlines.
        for number, line in enumerate(text.removesuffix("\n").split("\n") if text else ()):
            if line.startswith(HEADING):
                continue
            entry = parse_line(line)
            tabfile._lines[entry.name if entry else f" {number}"] = line
            if entry:
                tabfile._parsed[entry.name] = entry
        return tabfile

    def copy(self) -> Tabfile:
        """Return a copy."""
        return Tabfile(self.found, dict(self._lines), dict(self._parsed))

    @classmethod
    def read(cls, path: str) -> Tabfile:
        """Read a tabfile; an empty one if there is no file. Raises Refused if it cannot be read."""
        try:
            with open(open_regular(path), encoding="utf-8", errors="surrogateescape", newline="\n") as file:
                return cls.parse(file.read())
        except (FileNotFoundError, NotADirectoryError):
            return cls(found=False)
        except OSError as error:
            raise Refused(f"{path}: cannot be read: {error.strerror}", f"check its owner: ls -l {path}") from error

    def write(self, path: str) -> None:
        """Write the tabfile atomically. Raises Refused if it cannot be written."""
        folder = os.path.dirname(path)
        readme = os.path.join(folder, "README.md")
        try:
            if not os.path.exists(path) and not os.path.exists(readme):
                replace(readme, README.encode(), durable=False)
            replace(path, self.render().encode("utf-8", "surrogateescape"))
        except OSError as error:
            raise Refused(
                f"{path}: cannot be written: {error.strerror}", f"check the owner: ls -ld {folder}"
            ) from error

    def render(self) -> str:
        return HEADER + "".join(f"{line}\n" for line in self._lines.values())

    @property
    def lines(self) -> list[str]:
        """The block's lines without their newlines."""
        return list(self._lines.values())

    @property
    def entries(self) -> list[CrontabEntry]:
        """The entries of the lines of tasks."""
        entries = []
        for name, line in self._lines.items():
            entry = self._parsed.get(name)
            if entry is None or entry.text != line:
                entry = parse_line(line)
            if entry is not None:
                self._parsed[name] = entry
                if entry.is_task:
                    entries.append(entry)
        return entries

    @property
    def tick(self) -> CrontabEntry | None:
        """The single line for all tasks; None if each task has its own line."""
        return parse_line(self._lines.get(TICK, ""))

    @property
    def boot(self) -> CrontabEntry | None:
        """The line that cron starts at boot; None if no task catches up, or a single line stands for all tasks."""
        return parse_line(self._lines.get(BOOT, ""))

    def line(self, name: str) -> str | None:
        """Return the line of a task."""
        return self._lines.get(name)

    def put(self, name: str, line: str) -> None:
        """Set the line of a task: in place of its old line, otherwise at the end."""
        self._lines[name] = line

    def remove(self, name: str) -> bool:
        """Remove the line of a task; return False if there is none."""
        return self._lines.pop(name, None) is not None


@contextmanager
def file_lock(settings: Settings, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the lock of the tabfile and the crontab, from reading to writing them.

    Raises Busy if another command holds it for more than `patience` seconds, or Refused if locking fails.
    """
    from filelock import FileLock, Timeout

    # In the state folder, because all tabfiles of a user share one crontab.
    path = os.path.join(settings.state_path, "crontab.lock")
    try:
        os.makedirs(settings.state_path, exist_ok=True)
        lock = FileLock(path, timeout=patience, mode=0o600)
        lock.acquire()
    except Timeout as error:
        raise Busy(
            f"another command has been changing the crontab for {patience:.0f} s ({path})",
            "try again in a moment",
        ) from error
    except OSError as error:
        raise Refused(
            f"{path}: cannot be locked: {error.strerror}", f"check the owner: ls -ld {settings.state_path}"
        ) from error
    try:
        yield
    finally:
        lock.release()
