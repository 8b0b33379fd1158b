"""Checks that diagnose what keeps tasks from running, and say what to do.

A check is a function that examines an `Installation` and yields findings; it changes nothing.
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
#: How many findings of one kind to list; the others are counted.
MAX_LISTED = 8


@dataclass(frozen=True)
class Finding:
    """A result of a check or a repair."""

    level: str  #: `ok`, `warn`, `FAIL` or `skip`; of a repair `fixed` or `would`
    topic: str  #: one word
    text: str
    help: str = ""  #: what to do
    lines: tuple[str, ...] = ()  #: more text, for example a diff


def checks() -> list[Callable[[Installation], Iterator[Finding]]]:
    """Return all checks in the order of their output."""
    from scflows.health import clock, daemon, entries, flows, folders, ownership, queue, variables

    return [
        folders.env_file,
        folders.values,
        folders.names,
        folders.folders,
        ownership.files,
        folders.logs,
        folders.disk,
        folders.history,
        folders.pending,
        daemon.program,
        entries.block,
        variables.crontab_variables,
        entries.task_files,
        entries.lines,
        entries.interpreters,
        daemon.schedulers,
        daemon.slots,
        queue.queue,
        flows.flows,
        flows.programs,
        clock.zone,
        clock.changes,
    ]


def examine(installation: Installation) -> list[Finding]:
    """Run all checks and return their findings. A check that fails to run is itself a finding."""
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
    """Return the first findings of one kind and the number of others; `help` applies to all."""
    yield from findings[:MAX_LISTED]
    if len(findings) > MAX_LISTED:
        last = findings[-1]
        yield Finding(last.level, last.topic, f"{len(findings) - MAX_LISTED} more like these", help)


def counted(number: int, noun: str) -> str:
    """Return for example `1 task` or `3 tasks`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")
