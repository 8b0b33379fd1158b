"""Slots that a run claimed by a file, and that no record will tell of: nothing could be written at its end, either.

They are recorded as skipped, and their files removed, once no such run can be at work any more.
"""

from __future__ import annotations

import os
from contextlib import suppress

from scflows.errors import ScflowsError
from scflows.history.recorder import pending_folder
from scflows.history.run import QUEUED, RUNNING, SKIPPED, Run, new_run_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.cron.task import Task
    from scflows.history.contract import RunStore
    from scflows.settings import Settings

UNRECORDED = "unrecorded"
WHY = "a run had claimed it while nothing could be written: nobody knows what became of it"
#: Seconds that are left to each run, however short its time: its flow may give it more than its task does.
LEAST = 86400.0


def claimed_tasks(settings: Settings) -> frozenset[str]:
    """The tasks that have such files; none while records wait to be taken in, which may be theirs."""
    try:
        if any(name.endswith(".json") for name in os.listdir(pending_folder(settings))):
            return frozenset()
    except FileNotFoundError:
        pass
    except OSError:
        return frozenset()
    try:
        return frozenset(os.listdir(os.path.join(settings.state_path, "claims")))
    except OSError:
        return frozenset()


def record_unrecorded(task: Task, store: RunStore, settings: Settings, now: float, trigger: str) -> list[Run]:
    """Record the slots of a task that nobody will tell of; what was recorded. Raises what the store raises."""
    folder = os.path.join(settings.state_path, "claims", task.name)
    found: list[Run] = []
    try:
        oldest = now - max(LEAST, task.timeout or 0.0, settings.timeout_seconds) - settings.max_wait_seconds
        names = sorted(name for name in os.listdir(folder) if name.isascii() and name.isdigit())
    except (OSError, ScflowsError):
        return []
    for name in names:
        path = os.path.join(folder, name)
        try:
            if os.stat(path).st_mtime > oldest:
                continue
            with open(path, encoding="ascii") as file:
                claimer = file.read(100)
        except (OSError, ValueError):
            continue
        known = store.run(claimer) if claimer else None
        if known is not None and known.status in (QUEUED, RUNNING):
            continue
        slot = float(name)
        if known is None and slot not in store.slots(task.name, slot - 1, slot):
            run = _unrecorded(task, slot, now, trigger)
            store.claim(run)
            found.append(run)
        with suppress(OSError):
            os.unlink(path)
    return found


def _unrecorded(task: Task, slot: float, now: float, trigger: str) -> Run:
    return Run(
        id=new_run_id(now),
        flow=task.flow or " ".join(task.command),
        task=task.name,
        trigger=trigger,
        slot=slot,
        status=SKIPPED,
        reason=UNRECORDED,
        message=WHY,
        started=now,
        ended=now,
        dry_run=task.dry,
    )
