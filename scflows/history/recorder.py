"""Recording a run even if the history cannot be written: in files, which are imported into the history later."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress

from scflows.history.run import FINAL, QUEUED, RUNNING, SKIPPED, Run, StepRecord
from scflows.history.store import FAULTS, open_store, problem_of
from scflows.storage import BROKEN, checked_number, checked_seconds, checked_text, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from scflows.history.contract import RunStore
    from scflows.settings import Settings

#: Seconds between two records of the steps of a running run.
PROGRESS_EVERY = 2.0


class Recorder:
    """The writer of one run's record. It never raises; `problem` is the first error."""

    def __init__(self, settings: Settings) -> None:
        self.problem = ""
        self._settings = settings
        self._store: RunStore | None = None
        self._written = 0.0

    def claim(self, run: Run, again: bool = False) -> str | None:
        """Record a run as it starts. Return the id of the run that already has its slot, or None.

        If the history cannot be written, an exclusive file claims the slot; it stays valid when the history can be
        written again. If that file cannot be created either, the run continues, marked `unclaimed`.
        """
        claims = run.slot is not None and run.status != SKIPPED and not again
        if claims and run.slot is not None:
            if next(_pending(self._settings), None) is not None:
                self._try(lambda store: import_pending(self._settings, store, run.task))
            owner = claimed_by_file(self._settings, run.task, run.slot)
            if owner not in ("", run.id):
                return owner
        result: list[Run | None] = []
        if self._try(lambda store: result.append(store.claim(run, again))):
            return None if result[0] is None else result[0].id
        if not claims or run.slot is None:
            return None
        return self._claim_by_file(run, run.slot)

    def begin(self, run: Run) -> str | None:
        """Record that a queued run starts. Return why it may not start, or None.

        It may not if it was ended meanwhile or if another run has its slot.
        """
        result: list[bool | None] = []
        if not self._try(lambda store: result.append(store.begin(run))) or result[0]:
            # The slot was claimed when the run was enqueued, in the history or by a file.
            return None
        if result[0] is None:
            owner = self.claim(run)
            return None if owner in (None, run.id) else f"this slot was already run ({owner})"
        return "it was ended while it was queued"

    def skip(self, run: Run) -> None:
        """Record a run that was skipped."""
        if not self._try(lambda store: store.claim(run)):
            self._write_pending(run)

    def progress(self, run: Run) -> None:
        """Record the steps so far, at most every `PROGRESS_EVERY` seconds."""
        now = time.monotonic()
        if now - self._written >= PROGRESS_EVERY:
            self._written = now
            self._try(lambda store: store.progress(run))

    def finish(self, run: Run) -> None:
        """Record how a run ended."""
        if not self._try(lambda store: store.finish(run)):
            self._write_pending(run)
            if run.status != SKIPPED:
                return
        # Now the history has the slot, or a skipped run frees it.
        _remove_claim(self._settings, run)

    def close(self) -> None:
        """Close the connection, so that child processes do not inherit it."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def _write_pending(self, run: Run) -> None:
        try:
            path = os.path.join(pending_folder(self._settings), f"{run.id}.json")
            replace(path, json.dumps(run_to_dict(run)).encode(), mode=0o600)
        except OSError:
            pass  # Nothing can be written; the log and stderr have reported it.

    def _claim_by_file(self, run: Run, slot: float) -> str | None:
        path = _claim_path(self._settings, run.task, slot)
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            owner = claimed_by_file(self._settings, run.task, slot) or "another run"
            return None if owner == run.id else owner
        except OSError:
            run.unclaimed = True
            return None
        try:
            os.write(descriptor, run.id.encode())
        except OSError:
            pass
        os.close(descriptor)
        return None

    def _try(self, action: Callable[[RunStore], Any]) -> bool:
        try:
            if self._store is None:
                self._store = open_store(self._settings)
            action(self._store)
        except FAULTS as error:
            if not self.problem:
                self.problem = problem_of(self._settings, error)
            return False
        return True


def pending_folder(settings: Settings) -> str:
    """Return the folder of records that could not be written to the history yet."""
    return os.path.join(settings.state_path, "pending")


def import_pending(settings: Settings, store: RunStore, task: str | None = None) -> int:
    """Write pending records to the history and return how many. Raises errors of the store.

    With `task`, import only the records of that task and move its file claims to the history as well.
    """
    imported = 0
    for path in _pending(settings):
        try:
            with open(path, encoding="utf-8") as file:
                run = run_from_dict(json.load(file))
        except FileNotFoundError:
            continue  # Another process has imported it.
        except BROKEN:
            # A truncated record, for example of a full disk, is renamed and kept for inspection.
            with suppress(FileNotFoundError):
                os.replace(path, path + ".broken")
            continue
        if task not in (None, run.task):
            continue
        store.finish(run)
        with suppress(FileNotFoundError):
            os.unlink(path)
        if task is not None:
            _remove_claim(settings, run)
        imported += 1
    return imported


def claimed_by_file(settings: Settings, task: str, slot: float) -> str:
    """Return the id of the run that claimed a slot by a file, empty if there is no such file."""
    try:
        with open(_claim_path(settings, task, slot), encoding="ascii") as file:
            return file.read() or "another run"
    except FileNotFoundError:
        return ""
    except (OSError, ValueError):
        return "another run"


def _claim_path(settings: Settings, task: str, slot: float) -> str:
    return os.path.join(settings.state_path, "claims", task, f"{slot:.0f}")


def _remove_claim(settings: Settings, run: Run) -> None:
    """Remove the file by which a run claimed its slot, if there is one."""
    if run.slot is not None and claimed_by_file(settings, run.task, run.slot) == run.id:
        with suppress(OSError):
            os.unlink(_claim_path(settings, run.task, run.slot))


def run_to_dict(run: Run) -> dict[str, Any]:
    """Return a run as JSON values."""
    return {**run.__dict__, "steps": [step.__dict__ for step in run.steps]}


def run_from_dict(values: dict[str, Any]) -> Run:
    """Return the run of such values. Raises one of `BROKEN` if they are invalid."""
    run = Run(**{**values, "steps": [StepRecord(**step) for step in values["steps"]]})
    for name in ("id", "flow", "task", "trigger", "reason", "message", "holder", "log", "waited_for"):
        checked_text(getattr(run, name)).encode()  # No database accepts a lone surrogate.
    for step in run.steps:
        checked_number(step.position)
        for text in (step.name, step.type, step.status, step.message):
            checked_text(text).encode()
    times = [run.slot, run.ended, *(step.ended for step in run.steps)]
    for seconds in (run.started, run.waited, *(step.started for step in run.steps), *filter(None, times)):
        checked_seconds(seconds)
    if run.status not in (QUEUED, RUNNING, *FINAL) or not isinstance(run.params, dict):
        raise ValueError("not the record of a run")
    json.dumps(run.params).encode()
    run.dry_run = bool(run.dry_run)
    return run


def _pending(settings: Settings) -> Iterator[str]:
    folder = pending_folder(settings)
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        if name.endswith(".json") and not name.startswith("."):
            yield os.path.join(folder, name)
