"""The kinds of tasks that a device can have."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import UsageError

HOUR = 3600


@dataclass(frozen=True)
class Kind:
    """A kind of task: its flow and its default interval."""

    name: str
    flow: str  #: its path in the flows folder
    hours: int
    prefix: str = ""  #: of the task's name; processing has none, so that the log of 13486 is 13486/13486.log

    @property
    def seconds(self) -> int:
        return self.hours * HOUR

    def task(self, device: int | str) -> str:
        """The name of the task that does this to a device."""
        return f"{self.prefix}{device}"


KINDS = {
    kind.name: kind
    for kind in (
        Kind("process", "smartcitizen/process.yml", 3),
        Kind("backup", "smartcitizen/backup.yml", 6, "backup-"),
        Kind("check", "smartcitizen/check.yml", 3, "check-"),
    )
}
#: Those that devices are searched for.
SEARCHED = ("process", "backup")


def find_kind(name: str, known: tuple[str, ...] = tuple(KINDS)) -> Kind:
    """Return a kind. Raises UsageError for an unknown one."""
    if name not in known:
        raise UsageError(f"unknown kind {name!r}", f"use one of {', '.join(known)}")
    return KINDS[name]
