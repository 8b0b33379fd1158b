"""The tabfile: our block of the crontab as a file, which is there also where no crontab is."""

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

#: Lines that begin so are the file's own heading and no part of the block.
HEADING = "#:"
HEADER = (
    "#: The tasks of scflows, one line each: what the crontab's block holds.\n#: Change them with the command flows.\n"
)
README = """\
What is in this folder
======================

tabfile.tab      the scheduled tasks of scflows: the lines between its two marks in your crontab
scheduler.log    what was put on the crontab, and when
TASK/TASK.log    the log of each task

Look at them with `flows list-tasks`, `flows logs TASK`; change tasks with `flows edit`, `flows remove-task`.
Logs may be deleted at any time. The history of runs and the tasks' settings are kept elsewhere:
`flows config` names all places.
"""
#: How long another command may hold the tabfile and the crontab, in seconds.
PATIENCE = 60.0


@dataclass
class Tabfile:
    """The lines of our block in their order. What is not ours in it stays where it is."""

    found: bool = True  #: False when there is no such file yet
    _lines: dict[str, str] = field(default_factory=dict)  #: by name; a line that is no entry by its number
    _parsed: dict[str, CrontabEntry] = field(
        default_factory=dict, compare=False, repr=False
    )  #: what is known of the lines

    @classmethod
    def parse(cls, text: str) -> Tabfile:
        """The tabfile that a text holds; of lines with the same name the last counts."""
        tabfile = cls()
        # Not splitlines(), for which more than a newline ends a line.
        for number, line in enumerate(text.removesuffix("\n").split("\n") if text else ()):
            if line.startswith(HEADING):
                continue
            entry = parse_line(line)
            tabfile._lines[entry.name if entry else f" {number}"] = line
            if entry:
                tabfile._parsed[entry.name] = entry
        return tabfile

    def copy(self) -> Tabfile:
        """Another one with the same lines."""
        return Tabfile(self.found, dict(self._lines), dict(self._parsed))

    @classmethod
    def read(cls, path: str) -> Tabfile:
        """The tabfile at `path`, empty where there is none. Raises Refused for one that cannot be read."""
        try:
            with open(open_regular(path), encoding="utf-8", errors="surrogateescape", newline="\n") as file:
                return cls.parse(file.read())
        except (FileNotFoundError, NotADirectoryError):
            return cls(found=False)
        except OSError as error:
            raise Refused(f"{path}: cannot be read: {error.strerror}", "see who owns it: ls -l") from error

    def write(self, path: str) -> None:
        """Put the tabfile at `path` in one move. Raises Refused when that cannot be."""
        folder = os.path.dirname(path)
        readme = os.path.join(folder, "README.md")
        try:
            if not os.path.exists(path) and not os.path.exists(readme):
                replace(readme, README.encode(), durable=False)
            replace(path, self.render().encode("utf-8", "surrogateescape"))
        except OSError as error:
            raise Refused(f"{path}: cannot be written: {error.strerror}", f"see who owns {folder}: ls -ld") from error

    def render(self) -> str:
        return HEADER + "".join(f"{line}\n" for line in self._lines.values())

    @property
    def lines(self) -> list[str]:
        """The block's lines without their newlines."""
        return list(self._lines.values())

    @property
    def entries(self) -> list[CrontabEntry]:
        """What the lines of tasks say."""
        found = []
        for name, line in self._lines.items():
            entry = self._parsed.get(name)
            if entry is None or entry.text != line:
                entry = parse_line(line)
            if entry is not None:
                self._parsed[name] = entry
                if entry.is_task:
                    found.append(entry)
        return found

    @property
    def tick(self) -> CrontabEntry | None:
        """The one line for all tasks that have none of their own; None where each has its own."""
        return parse_line(self._lines.get(TICK, ""))

    @property
    def boot(self) -> CrontabEntry | None:
        """The line that is started with the machine; None where no task catches up, or one line stands for all."""
        return parse_line(self._lines.get(BOOT, ""))

    def line(self, name: str) -> str | None:
        """The line of a task."""
        return self._lines.get(name)

    def put(self, name: str, line: str) -> None:
        """Set the line of a task: in the place of its old one, else at the end."""
        self._lines[name] = line

    def remove(self, name: str) -> bool:
        """Take a task out; False when it is not there."""
        return self._lines.pop(name, None) is not None


@contextmanager
def file_lock(settings: Settings, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the tabfile and the crontab from reading to writing.

    Raises Busy when another command holds them for longer than `patience` seconds, and Refused where the lock
    cannot be made.
    """
    from filelock import FileLock, Timeout

    # In the state, since all tabfiles of a user share one crontab.
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
        raise Refused(f"{path}: cannot be locked: {error.strerror}", "see who owns the folder: ls -ld") from error
    try:
        yield
    finally:
        lock.release()
