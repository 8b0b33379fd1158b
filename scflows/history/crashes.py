"""Runs whose process died: they are recorded as crashed, and their hooks wait in a folder until called."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from scflows.history.run import CRASHED, FAILED, QUEUED, Run, StepRecord
from scflows.locks import EXISTING, holders, is_alive, locked
from scflows.storage import names_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.history.contract import RunStore
    from scflows.settings import Settings


def record_crashes(store: RunStore, settings: Settings) -> list[Run]:
    """Record unfinished runs whose process died as crashed and return them; their hooks are then pending."""
    locks = None
    crashed = []
    for run in store.unfinished():
        if run.status == QUEUED and not _is_lost(run, store, settings):
            continue
        alive = run.status != QUEUED and is_alive(run.holder)
        if alive is None:
            # The process is in another container or on another host, so only its lock shows whether it is alive.
            locks = holders(settings.lock_path) if locks is None else locks
            alive = not any(lock.run == run.id and not lock.alive for lock in locks)
        if alive:
            continue
        run.status, run.ended = CRASHED, time.time()
        run.steps = _steps_until_death(run, store, settings)
        at = next((f" in step {step.name!r}" for step in run.steps if step.ended is None), "")
        run.reason, run.message = "died", f"its process died{at} before the run ended"
        for step in run.steps:
            if step.ended is None:
                step.status, step.message = FAILED, run.message
        if store.finish(run):
            _add_pending_hooks(run, settings)
            crashed.append(run)
    return crashed


def _steps_until_death(run: Run, store: RunStore, settings: Settings) -> list[StepRecord]:
    """Return the steps of a run whose process died. The time at which a step was killed is unknown, so it has no end.

    The journal has all of them, the history those of a few seconds before.
    """
    from scflows.history.journal_file import step_records

    recorded = store.run(run.id)
    steps = {step.position: step for step in recorded.steps} if recorded is not None else {}
    for step in step_records(settings, run.id):
        known = steps.get(step.position)
        if known is None or known.ended is None:
            steps[step.position] = step
    return [steps[position] for position in sorted(steps)]


def _is_lost(run: Run, store: RunStore, settings: Settings) -> bool:
    """Return whether a run is recorded as queued but has neither a process nor a queue entry."""
    from scflows.queue.entries import entry_of_run

    # Only a process that waits itself is named; it may be one of another container.
    if (run.holder and is_alive(run.holder) is not False) or entry_of_run(settings.state_path, run.id) is not None:
        return False
    # A run that started meanwhile lost its queue entry only after it was recorded as running.
    now = store.run(run.id)
    return now is not None and now.status == QUEUED


def runs_with_pending_hooks(settings: Settings) -> Iterator[str]:
    """Yield the ids of crashed runs whose hooks have not been called yet, the oldest first.

    Each id is locked while the caller handles it and removed when the caller asks for the next one. If the caller
    is killed in between, another process gets the id.
    """
    folder = _folder(settings)
    for name in names_in(folder):
        path = os.path.join(folder, name)
        with suppress(OSError), locked(path, wait=False, how=EXISTING):
            yield name
            os.unlink(path)


def has_pending_hooks(settings: Settings) -> bool:
    """Return whether there are crashed runs whose hooks have not been called yet."""
    return bool(names_in(_folder(settings)))


def _add_pending_hooks(run: Run, settings: Settings) -> None:
    folder = _folder(settings)
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        with open(os.path.join(folder, run.id), "wb"):
            pass
    except OSError:
        pass  # The crash is recorded; only its hooks are lost.


def _folder(settings: Settings) -> str:
    return os.path.join(settings.state_path, "pending-hooks")
