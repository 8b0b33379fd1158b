"""A task as a line of the crontab, and such a line as what it says.

A line names things, it holds no data: absolute paths, the task's name, nothing that a shell or a cron would
read as more than a letter.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from scflows.cron.task import LETTERS, check_name
from scflows.errors import Refused, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.cron.task import Task

#: What every cron and shell leaves as it is; so no quote, backslash, `%` or `#`, whose rules differ.
SAFE = LETTERS | frozenset("_./:=@+,~-")
#: Bytes of a command, its tag included, that Debian's cron takes.
LONGEST_COMMAND = 998
RUN = ("-m", "scflows", "run")
#: The tags of the lines that stand for all tasks: the one that starts them, and the one that sees to what was missed
#: while the machine was off. No task can have such a name.
TICK, BOOT = "scflows:tick", "scflows:boot"
ALL = {TICK: ("-m", "scflows", "tick"), BOOT: ("-m", "scflows", "cron", "boot")}

_agreed: set[str] = set()


@dataclass(frozen=True)
class CrontabEntry:
    """What a line of ours says."""

    name: str
    fields: str  #: the five, or a name such as `@daily` that somebody put there
    flow: str  #: empty when the line names the task alone
    python: str
    state: str | None
    text: str  #: the line itself

    @property
    def is_task(self) -> bool:
        """Whether it is the line of one task, and not of all."""
        return self.name not in ALL


def line(task: Task, python: str, state_path: str | None = None) -> str:
    """The line for a task, without its newline.

    `python` is the interpreter's absolute path. `state_path` is written where cron's environment would lead
    to another one. Raises Refused for paths that cannot stand in a crontab.
    """
    name = check_name(task.name)
    _check_paths(python, state_path)
    fields = task.schedule.line
    _agree(fields)
    ending = f"--task {name}" + (f" --state {state_path}" if state_path else "") + f" # {name}"
    beginning = f"{python} -P -m scflows run "
    plain = not task.command and os.path.isabs(task.flow) and SAFE.issuperset(task.flow)
    flow = f"{task.flow} " if plain else ""
    if len(beginning + flow + ending) > LONGEST_COMMAND:
        flow = ""
    return f"{fields} {_checked(beginning + flow + ending, name)}"


def tick_line(python: str, state_path: str | None = None) -> str:
    """The one line for all tasks: it looks each minute which of them are due. Raises Refused as `line`."""
    _check_paths(python, state_path)
    state = f" --state {state_path}" if state_path else ""
    return f"* * * * * {_checked(f'{python} -P -m scflows tick{state} # {TICK}', TICK)}"


def boot_line(python: str, state_path: str | None = None) -> str:
    """The line that is started with the machine. Raises Refused as `line`."""
    _check_paths(python, state_path)
    state = f" --state {state_path}" if state_path else ""
    return f"@reboot {_checked(f'{python} -P -m scflows cron boot{state} # {BOOT}', BOOT)}"


def _check_paths(python: str, state_path: str | None) -> None:
    for what, path in (("the Python interpreter", python), ("the state folder", state_path or "/")):
        if not os.path.isabs(path) or not SAFE.issuperset(path):
            raise Refused(
                f"{what} {path!r} has characters that cannot stand in a crontab",
                "use a path of letters, digits and _ . / : = @ + , ~ - only",
            )


def _checked(command: str, name: str) -> str:
    if len(command) > LONGEST_COMMAND:
        raise Refused(
            f"the crontab line of {name!r} would be longer than {LONGEST_COMMAND} bytes",
            "install scflows, and keep its state, under shorter paths",
        )
    return command


def parse_line(text: str) -> CrontabEntry | None:
    """What a line says if it is a live entry of ours; None for every other line.

    Ours runs `-m scflows run --task NAME` and ends in exactly ` # NAME`; or it is the line of `tick_line` or of
    `boot_line`, whose entries have the names TICK and BOOT.
    """
    words = text.split()
    if len(words) < 8 or "scflows" not in text or text.lstrip()[0] not in "0123456789*@":
        return None
    first = 1 if words[0].startswith("@") else 5
    fields, command = " ".join(words[:first]), words[first:]
    name = command[-1]
    if command[-2] != "#" or not text.rstrip().endswith(f" # {name}"):
        return None
    command = command[:-2]
    runs = ALL.get(name, RUN)
    place = next((at for at in range(len(command)) if tuple(command[at : at + len(runs)]) == runs), None)
    if place is None:
        return None
    if name in ALL:
        return CrontabEntry(name, fields, "", command[0], _option(command, "--state"), text)
    rest = command[place + 3 :]
    if _option(rest, "--task") != name:
        return None
    try:
        check_name(name)
    except UsageError:
        return None
    flow = rest[0] if not rest[0].startswith("-") else ""
    return CrontabEntry(name, fields, flow, command[0], _option(rest, "--state"), text)


def _option(words: list[str], name: str) -> str | None:
    at = words.index(name) + 1 if name in words else len(words)
    return words[at] if at < len(words) else None


def _agree(fields: str) -> None:
    """Have python-crontab, too, read the fields and write them as they are; once for each that differ.

    It sees the fields alone and never the user's crontab, where it changes lines that are not ours. And it
    comes after our own check, since it takes much that no cron does.
    """
    if fields in _agreed:
        return
    from crontab import CronSlices

    try:
        # Not render(), which writes names such as @hourly that not every cron knows.
        written = CronSlices(fields).clean_render()
    except (ValueError, KeyError) as error:
        raise UsageError(f"cron {fields!r}: {error}", "write it with numbers and lists only") from error
    if written != fields:
        raise UsageError(f"cron {fields!r} can be read as {written!r}", "write it with numbers and lists only")
    _agreed.add(fields)
