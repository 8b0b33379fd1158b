"""The crontab line of a task: writing and parsing it.

A line only has names: absolute paths and the task's name, without characters that are special to a shell or a cron.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from scflows.cron.task import LETTERS, Task, check_name
from scflows.errors import Refused, UsageError

#: Characters that are not special to any cron or shell; quotes, backslashes, `%` and `#` are.
SAFE = LETTERS | frozenset("_./:=@+,~-")
#: The most bytes of a command, including its tag, that Debian's cron accepts.
MAX_COMMAND_BYTES = 998
RUN = ("-m", "scflows", "run")
#: The tags of the lines for all tasks: one starts them, the other catches up on slots that were missed while the
#: machine was off. No task can have such a name.
TICK, BOOT = "scflows:tick", "scflows:boot"
ALL = {TICK: ("-m", "scflows", "tick"), BOOT: ("-m", "scflows", "cron", "boot")}

_agreed_fields: set[str] = set()


@dataclass(frozen=True)
class CrontabEntry:
    """The content of one of our lines."""

    name: str
    fields: str  #: the five fields, or a name such as `@daily` if a user wrote it
    flow: str  #: empty if the line only names the task
    python: str
    state: str | None
    text: str  #: the line itself
    second: int = 0  #: for how many seconds it sleeps before

    @property
    def is_task(self) -> bool:
        """Whether it is the line of a single task."""
        return self.name not in ALL


def line(task: Task, python: str, state_path: str | None = None) -> str:
    """Return the line of a task, without its newline.

    `python` is the absolute path of the interpreter. `state_path` is needed if cron's environment leads to another
    state folder. Raises Refused if a path cannot be used in a crontab.
    """
    name = check_name(task.name)
    _check_paths(python, state_path)
    fields = task.schedule.line
    _check_agreement(fields)
    ending = f"--task {name}" + (f" --state {state_path}" if state_path else "") + f" # {name}"
    second = task.schedule.second
    # Readers of the crontab see when it starts; the process exists only from then on.
    beginning = f"sleep {second}; exec {python} -P -m scflows run " if second else f"{python} -P -m scflows run "
    is_plain = not task.command and os.path.isabs(task.flow) and SAFE.issuperset(task.flow)
    flow = f"{task.flow} " if is_plain else ""
    if len(beginning + flow + ending) > MAX_COMMAND_BYTES:
        flow = ""
    return f"{fields} {_checked(beginning + flow + ending, name)}"


def tick_line(python: str, state_path: str | None = None) -> str:
    """Return the single line for all tasks, which starts the due ones every minute. Raises Refused like `line`."""
    _check_paths(python, state_path)
    state = f" --state {state_path}" if state_path else ""
    return f"* * * * * {_checked(f'{python} -P -m scflows tick{state} # {TICK}', TICK)}"


def boot_line(python: str, state_path: str | None = None) -> str:
    """Return the line that cron starts at boot. Raises Refused like `line`."""
    _check_paths(python, state_path)
    state = f" --state {state_path}" if state_path else ""
    return f"@reboot {_checked(f'{python} -P -m scflows cron boot{state} # {BOOT}', BOOT)}"


def needs_boot(task: Task) -> bool:
    """Return whether a task needs the line that cron starts at boot, if each task has its own line."""
    return task.schedule.is_boot or task.catch_up != "none"


def _check_paths(python: str, state_path: str | None) -> None:
    for title, path in (("the Python interpreter", python), ("the state folder", state_path or "/")):
        if not os.path.isabs(path) or not SAFE.issuperset(path):
            raise Refused(
                f"{title} {path!r} has characters that cannot be used in a crontab",
                "use a path of letters, digits and _ . / : = @ + , ~ - only",
            )


def _checked(command: str, name: str) -> str:
    if len(command) > MAX_COMMAND_BYTES:
        raise Refused(
            f"the crontab line of {name!r} would be longer than {MAX_COMMAND_BYTES} bytes",
            "use shorter paths for the installation and the state folder of scflows",
        )
    return command


def parse_line(text: str) -> CrontabEntry | None:
    """Return the entry of one of our active lines; None for any other line.

    Our lines run `-m scflows run --task NAME`, perhaps after `sleep N; exec`, and end with ` # NAME`, or they are those
    of `tick_line` and `boot_line`, whose entries have the names TICK and BOOT.
    """
    words = text.split()
    if len(words) < 8 or "scflows" not in text or text.lstrip()[0] not in "0123456789*@":
        return None
    first = 1 if words[0].startswith("@") else 5
    fields, command = " ".join(words[:first]), words[first:]
    name = command[-1]
    if command[-2] != "#" or not text.rstrip().endswith(f" # {name}"):
        return None
    command, second = _slept(command[:-2])
    if not command:
        return None
    runs = ALL.get(name, RUN)
    position = next((at for at in range(len(command)) if tuple(command[at : at + len(runs)]) == runs), None)
    if position is None:
        return None
    if name in ALL:
        return CrontabEntry(name, fields, "", command[0], _option(command, "--state"), text)
    rest = command[position + 3 :]
    if _option(rest, "--task") != name:
        return None
    try:
        check_name(name)
    except UsageError:
        return None
    flow = rest[0] if not rest[0].startswith("-") else ""
    return CrontabEntry(name, fields, flow, command[0], _option(rest, "--state"), text, second)


def _slept(command: list[str]) -> tuple[list[str], int]:
    """Return the command after `sleep N; exec`, and N; as it is, and 0, where it does not begin so."""
    if command[:1] != ["sleep"] or len(command) < 4 or command[2] != "exec":
        return command, 0
    seconds = command[1].removesuffix(";")
    return (command[3:], int(seconds)) if seconds.isascii() and seconds.isdigit() else (command, 0)


def _option(words: list[str], name: str) -> str | None:
    at = words.index(name) + 1 if name in words else len(words)
    return words[at] if at < len(words) else None


def _check_agreement(fields: str) -> None:
    """Check that python-crontab reads the fields the same way.

    It only gets the fields, never the user's crontab, in which it would change foreign lines. Our own check comes
    first, because python-crontab accepts much that no cron does.
    """
    if fields in _agreed_fields:
        return
    from crontab import CronSlices

    try:
        # Not render(), which writes names such as @hourly that some crons do not know.
        written = CronSlices(fields).clean_render()
    except (ValueError, KeyError) as error:
        raise UsageError(f"cron {fields!r}: {error}", "use numbers and lists only") from error
    if written != fields:
        raise UsageError(f"cron {fields!r} can be read as {written!r}", "use numbers and lists only")
    _agreed_fields.add(fields)
