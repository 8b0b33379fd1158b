"""What is told of a run once it has ended: which hooks are called, and what they are given."""

from __future__ import annotations

import os
from dataclasses import dataclass

from scflows.run import BAD, FAILED, GOOD, Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from scflows.incident import Incident
    from scflows.settings import Settings

#: How much of the log goes along.
TAIL_LINES = 50
TAIL_BYTES = 8_000
#: How far back in a log its run is looked for, in bytes.
LOOK_BACK = 1 << 18


@dataclass(frozen=True)
class Call:
    """One hook that is to be called."""

    hook: str  #: `on_failure`, `on_success` or `on_recovery`
    path: str  #: of the flow, as written
    shared: bool  #: whether it is the settings' or the flow's own


def calls(
    run: Run, previous: Run | None, own: Mapping[str, str], shared: Mapping[str, str], is_known: bool = False
) -> list[Call]:
    """The hooks to call for a run, after the one before it.

    A flow's own `on_failure` hears of each failure, that of the settings of the first in a row. `is_known`: that
    something is wrong with the task was told before the run ended, and its recovery is told apart.
    """
    was_bad = previous is not None and previous.status in BAD
    wanted: list[tuple[str, bool]] = []
    if run.status in BAD:
        wanted = [("on_failure", False)] + ([] if was_bad or is_known else [("on_failure", True)])
    elif run.status in GOOD:
        recovered = [("on_recovery", False), ("on_recovery", True)] if was_bad and not is_known else []
        wanted = [*recovered, ("on_success", False), ("on_success", True)]
    return named(wanted, own, shared)


def named(wanted: Iterable[tuple[str, bool]], own: Mapping[str, str], shared: Mapping[str, str]) -> list[Call]:
    """The hooks that are wanted, as (its name, whether it is the settings'), as far as there are such."""
    found: list[Call] = []
    for hook, is_shared in wanted:
        path = (shared if is_shared else own).get(hook)
        if path is not None and not any(call.hook == hook and call.path == path for call in found):
            found.append(Call(hook, path, is_shared))
    return found


def previous_run(run: Run, settings: Settings) -> Run | None:
    """The run of the same task before this one that ended well or badly; None where that cannot be known."""
    from scflows.history import Query, open_store
    from scflows.history.recorder import FAULTS

    until = run.started
    try:
        store = open_store(settings)
        try:
            while True:
                found = store.find(Query(task=run.task, statuses=(*GOOD, *BAD), until=until, limit=100))
                for each in found:
                    if each.is_told and each.id != run.id:
                        return each
                if len(found) < 100:
                    return None
                # Runs that told nothing new may stand in a long row.
                until = found[-1].started
        finally:
            store.close()
    except FAULTS:
        return None


def told_of(run: Run, previous: Run | None, hook: str, settings: Settings) -> dict[str, Any]:
    """A run as the input of a hook: JSON values, times as ISO 8601 text."""
    import socket

    return {
        "hook": hook,
        **run_values(run, settings.timezone),
        "log_tail": "\n".join(log_tail(run.log, run.id)),
        "previous_status": None if previous is None else previous.status,
        "previous_id": None if previous is None else previous.id,
        "params": run.params,
        "host": socket.gethostname(),
    }


def run_values(run: Run, zone: str) -> dict[str, Any]:
    """A run as JSON values, times as ISO 8601 text in a zone."""
    moment = _moments(zone)
    return {
        "id": run.id,
        "task": run.task,
        "flow": run.flow,
        "trigger": run.trigger,
        "slot": moment(run.slot),
        "status": run.status,
        "reason": run.reason,
        "message": run.message,
        "started": moment(run.started),
        "ended": moment(run.ended),
        "took": None if run.took is None else round(run.took, 3),
        "failed_step": failed_step(run),
        "log": run.log,
    }


def incident_values(incident: Incident, zone: str) -> dict[str, Any]:
    """What is wrong with a task as JSON values, times as ISO 8601 text in a zone."""
    moment = _moments(zone)
    return {
        "kind": incident.kind,
        "message": incident.message,
        "since": moment(incident.since),
        "slots": [moment(slot) for slot in incident.slots],
    }


def failed_step(run: Run) -> str | None:
    """The name of the step that failed, or was at work when the run's process died."""
    for step in run.steps:
        if step.status == FAILED or (step.ended is None and run.status in BAD):
            return step.name
    return None


def log_tail(path: str, run: str, lines: int = TAIL_LINES) -> list[str]:
    """The last lines that a run left in its log, as far as they can be found."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOOK_BACK))
            content = file.read(LOOK_BACK)
    except OSError:
        return []
    found = content.decode("utf-8", "replace").splitlines()
    if size > LOOK_BACK:
        del found[0]
    own = f" run {run} "
    starts = [number for number, line in enumerate(found) if " run " in line and " started: " in line]
    begin = next((number for number in starts if own in found[number]), 0)
    end = next((number for number in starts if number > begin), len(found))
    kept: list[str] = []
    left = TAIL_BYTES
    for line in reversed(found[begin:end][-lines:]):
        left -= len(line.encode()) + 1
        if left < 0:
            break
        kept.append(line)
    return kept[::-1]


def _moments(zone: str) -> Any:
    from datetime import UTC, datetime
    from zoneinfo import ZoneInfo

    try:
        found: Any = ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        found = UTC  # The run itself has said that there is no such zone.

    def moment(epoch: float | None) -> str | None:
        return None if epoch is None else datetime.fromtimestamp(epoch, found).isoformat(timespec="seconds")

    return moment
