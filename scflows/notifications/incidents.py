"""Incidents: problems of tasks that no run can report, stored until they are over so that each is reported once.

Each task has one file in the folder `incidents` of the state. A lock that is held briefly guards changes. Delivering
alerts may take long, so it has a lock for each task, for which no process waits.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, replace

from scflows.history.run import GOOD, Run, latest_start
from scflows.locks import locked
from scflows.storage import BROKEN, checked_number, checked_seconds, checked_text, json_names
from scflows.storage import replace as replace_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import Any

    from scflows.settings import Settings

LATE = "late"  #: the run of a due slot has not started in time
MISSED = "missed"  #: slots have no run and will not get one
TOO_LONG = "too_long"  #: a run takes longer than expected
NO_SOURCE = "no_source"  #: a job of a working folder had no new source for longer than expected
KINDS = (LATE, MISSED, TOO_LONG, NO_SOURCE)
#: How many slots are stored, the newest.
MAX_SLOTS = 24
#: Seconds for which a closed incident is stored, so that late findings do not report it again.
RETENTION_SECONDS = 2 * 86400.0


@dataclass(frozen=True)
class Incident:
    """An incident of a task. Times are seconds since the epoch."""

    task: str
    kind: str  #: one of KINDS
    since: float  #: the first slot that has no run, or the start of the run that takes too long
    until: float  #: the newest slot that it concerns; a problem that is not newer is already known
    found: float
    message: str = ""
    slots: tuple[float, ...] = ()  #: the slots without a run, in order
    run: str = ""  #: the run that takes too long
    delivered: bool = False  #: whether the alert was delivered
    attempts: int = 0  #: how often a delivery was started
    recovery: str = ""  #: the run that resolved it, once there is one
    is_open: bool = True  #: until its recovery was reported

    def is_resolved_by(self, run: Run) -> bool:
        """Return whether a run shows that the task works again."""
        if run.status not in GOOD or self.kind == NO_SOURCE:
            return False  # The run of a folder sees itself whether there are new sources.
        if self.kind == TOO_LONG:
            return run.started >= self.since
        # A manual run does not show that the scheduler works.
        return run.slot is not None and run.slot >= self.until

    def resolve(self, run: Run) -> Incident:
        """Return the incident, resolved by a run."""
        return replace(self, recovery=run.id, until=max(self.until, run.slot or 0.0))

    def values(self) -> dict[str, Any]:
        """Return the incident as JSON values."""
        return {**self.__dict__, "slots": list(self.slots)}


def incident_of(settings: Settings, task: str, now: float | None = None) -> Incident | None:
    """Return the open or latest incident of a task; None if there is none or its file is damaged.

    What a clock that was ahead has recorded counts as unknown.
    """
    try:
        with open(_path(settings, task), "rb") as file:
            values = json.loads(file.read())
        found = _checked(Incident(**{**values, "slots": tuple(values["slots"])}))
    except BROKEN:
        return None
    return _until(found, time.time() if now is None else now) if found.task == task else None


def _until(found: Incident, now: float) -> Incident | None:
    """Return the incident as it was known now; None if it was found, or begins, in the future."""
    last = latest_start(now)
    if found.found > last or found.since > last:
        return None
    if found.until <= last:
        return found
    slots = tuple(slot for slot in found.slots if slot <= last)
    return replace(found, until=max(found.since, *slots) if slots else found.since, slots=slots)


def _checked(found: Incident) -> Incident:
    """Return the incident. Raises ValueError if its values are invalid."""
    for text in (found.task, found.message, found.run, found.recovery):
        checked_text(text)
    for moment in (found.since, found.until, found.found, *found.slots):
        checked_seconds(moment)
    checked_number(found.attempts)
    if found.kind not in KINDS or type(found.delivered) is not bool or type(found.is_open) is not bool:
        raise ValueError(f"kind {found.kind!r}, delivered {found.delivered!r}, is_open {found.is_open!r}")
    return found


def incidents(settings: Settings, now: float | None = None) -> list[Incident]:
    """Return all open incidents and those closed recently."""
    found = (incident_of(settings, name, now) for name in json_names(_folder(settings)))
    return [each for each in found if each is not None]


def change_incident(
    settings: Settings, task: str, change: Callable[[Incident | None], Incident | None], now: float | None = None
) -> Incident | None:
    """Change a task's incident under the lock and return the result; None removes it. Raises OSError."""
    with _locked(settings, ".lock", wait=True):
        before = incident_of(settings, task, now)
        after = change(before)
        if after is None:
            try:
                os.unlink(_path(settings, task))
            except FileNotFoundError:
                pass
        elif after != before:
            content = json.dumps(after.values(), ensure_ascii=False).encode() + b"\n"
            replace_file(_path(settings, task), content, mode=0o600, durable=False)
        return after


def delivery_lock(settings: Settings, task: str) -> AbstractContextManager[int]:
    """Hold the lock for delivering a task's alerts. Raises BlockingIOError if another process holds it, or OSError."""
    return _locked(settings, f".delivering-{task}", wait=False)


def _locked(settings: Settings, name: str, wait: bool) -> AbstractContextManager[int]:
    os.makedirs(_folder(settings), mode=0o700, exist_ok=True)
    return locked(os.path.join(_folder(settings), name), wait)


def _path(settings: Settings, task: str) -> str:
    return os.path.join(_folder(settings), f"{task}.json")


def _folder(settings: Settings) -> str:
    return os.path.join(settings.state_path, "incidents")
