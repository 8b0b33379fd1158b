"""Checks of the installation: what keeps tasks from running, and what to do about it.

A check is a function that looks at an `Installation` and yields findings; it changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import ScflowsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scflows.health.installation import Installation

OK = "ok"
WARN = "warn"
FAIL = "FAIL"
SKIP = "skip"
#: How many findings of one kind are told one by one.
MOST = 8


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    level: str  #: `ok`, `warn`, `FAIL` or `skip`; of what is mended `fixed` or `would`
    topic: str  #: one word
    text: str
    help: str = ""  #: what to do
    lines: tuple[str, ...] = ()  #: what belongs to the text, such as a diff


def checks() -> list[Callable[[Installation], Iterator[Finding]]]:
    """All checks, in the order in which they are told."""
    from scflows.health import clock, daemon, entries, flows, folders, ownership, queue

    return [
        folders.env_file,
        folders.values,
        folders.config,
        folders.folders,
        ownership.files,
        folders.logs,
        folders.disk,
        folders.history,
        folders.pending,
        daemon.program,
        entries.block,
        entries.task_files,
        entries.lines,
        entries.interpreters,
        daemon.schedulers,
        daemon.slots,
        queue.turns,
        flows.flows,
        flows.programs,
        clock.changes,
    ]


def examine(installation: Installation) -> list[Finding]:
    """What all checks find. One that cannot do its work is a finding itself."""
    from scflows.history.store import FAULTS

    found: list[Finding] = []
    for check in checks():
        try:
            found.extend(check(installation))
        except FAULTS as error:
            help = error.help if isinstance(error, ScflowsError) else None
            found.append(Finding(FAIL, check.__name__.replace("_", "-"), str(error), help or ""))
    return found


def some(findings: list[Finding], help: str = "") -> Iterator[Finding]:
    """The first findings of many of a kind, and how many more there are; `help` is for all of these."""
    yield from findings[:MOST]
    if len(findings) > MOST:
        last = findings[-1]
        yield Finding(last.level, last.topic, f"{len(findings) - MOST} more like these", help)


def counted(number: int, what: str) -> str:
    """`1 task`, `3 tasks`."""
    return f"{number} {what}" + ("" if number == 1 else "s")
