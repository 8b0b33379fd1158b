"""The variables that a user sets in a crontab: which of them apply to our lines, and which do not."""

from __future__ import annotations

import re
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

#: As cron reads it: name and value may be in quotes, with blanks around them.
SETTING = re.compile(
    rb"""[ \t]*(?:"(?P<double>[^"]+)"|'(?P<single>[^']+)'|(?P<plain>[^\s=#"'][^\s=]*))"""
    rb"""[ \t]*=[ \t]*(?P<value>.*?)[ \t\r]*"""
)
MAILTO = "MAILTO"
#: Variables that a program does not need, because cron or we set them.
OURS = frozenset({MAILTO, "MAILFROM", "SHELL", "HOME", "LOGNAME", "USER", "CRON_TZ", "CRONTAB_TZ", "RANDOM_DELAY"})


@dataclass(frozen=True)
class Variable:
    """A line of a crontab that sets a variable for the lines below it."""

    name: str
    value: str
    number: int  #: of the line, from 1
    text: bytes  #: the line itself, without its newline

    @property
    def written(self) -> str:
        """The variable as in the crontab, for example `PATH=/opt/bin`."""
        return f"{self.name}={self.value}"


def variables(content: bytes, first: int = 1) -> list[Variable]:
    """Return the variables of a part of a crontab whose first line has the number `first`."""
    return [each for each in _lines(content, first) if isinstance(each, Variable)]


def leading_mailto(content: bytes) -> bytes:
    """Return the line that says where the mail of all jobs goes; empty if none does, or jobs come before it."""
    for each in _lines(content, 1):
        if each is None:
            return b""
        if each.name == MAILTO:
            return each.text
    return b""


def is_mailto(line: bytes) -> bool:
    """Return whether a line sets MAILTO."""
    return any(each.name == MAILTO for each in variables(line))


def variables_of_jobs(content: bytes, known: Collection[str]) -> list[Variable]:
    """Return the variables that jobs in the crontab have, but programs of tasks do not.

    `known` are the names that tasks get from elsewhere.
    """
    last = {each.name: each for each in variables(content)}
    return [each for each in last.values() if each.name not in OURS and each.name not in known]


def lacking_text(lacking: list[Variable]) -> str:
    """Say which variables of the crontab tasks do not get."""
    names = ", ".join(each.name for each in lacking)
    return f"tasks do not get {names}, which your own crontab lines set"


def lacking_help(config_file: str) -> str:
    """Return how tasks get variables of the crontab."""
    return f"add what they need to env in {config_file}; null: not needed"


def _lines(content: bytes, first: int) -> Iterator[Variable | None]:
    """Yield the variables in order, and None for each job."""
    for number, line in enumerate(content.split(b"\n"), first):
        if not line.strip() or line.lstrip(b" \t").startswith(b"#"):
            continue
        found = SETTING.fullmatch(line)
        if found is None:
            yield None
            continue
        name = found["double"] or found["single"] or found["plain"]
        value = found["value"]
        if len(value) > 1 and value[:1] == value[-1:] and value[:1] in (b'"', b"'"):
            value = value[1:-1]
        yield Variable(name.decode("utf-8", "replace"), value.decode("utf-8", "replace"), number, line)
