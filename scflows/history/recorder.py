"""Records a run whatever happens: in the history; where that cannot be written, in files that it takes in later."""

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
    from typing import Any, TypeVar

    from scflows.history.contract import RunStore
    from scflows.settings import Settings

    Answer = TypeVar("Answer")

#: Seconds between two writes of the steps of a run that goes on.
PROGRESS_EVERY = 2.0


class Recorder:
    """One run's way into the history. It never raises: `problem` says what went wrong, once."""

    def __init__(self, settings: Settings) -> None:
        self.problem = ""
        self._settings = settings
        self._store: RunStore | None = None
        self._written = 0.0

    def claim(self, run: Run, again: bool = False) -> str | None:
        """Record a run as it starts; the id of the run that has its slot already, if one has.

        When the history cannot be written, an exclusive file claims the slot; when that cannot be made either,
        the run goes on, marked `unclaimed`. Such a file counts also when the history can be written again.
        """
        claims = run.slot is not None and run.status != SKIPPED and not again
        if claims and run.slot is not None:
            if next(_pending(self._settings), None) is not None:
                self._try(lambda store: take_in_pending(self._settings, store, run.task))
            holder = claimed_by_file(self._settings, run.task, run.slot)
            if holder not in ("", run.id):
                return holder
        answer: list[Run | None] = []
        if self._try(lambda store: answer.append(store.claim(run, again))):
            taken = answer[0]
            return taken.id if taken is not None else None
        if not claims or run.slot is None:
            return None
        return self._claim_by_file(run, run.slot)

    def begin(self, run: Run) -> str | None:
        """Record that a queued run starts; why it may not: it was ended meanwhile, or another has its slot."""
        answer: list[bool | None] = []
        if not self._try(lambda store: answer.append(store.begin(run))) or answer[0]:
            # Its slot is claimed, be it by a file: who queued it saw to that.
            return None
        if answer[0] is None:
            taken = self.claim(run)
            return None if taken in (None, run.id) else f"run {taken} has answered for this slot"
        return "it was ended while it waited"

    def skip(self, run: Run) -> None:
        """Record a run that did not take place."""
        if not self._try(lambda store: store.claim(run)):
            self._put_aside(run)

    def progress(self, run: Run) -> None:
        """Record the steps so far, when some time has passed since the last time."""
        now = time.monotonic()
        if now - self._written >= PROGRESS_EVERY:
            self._written = now
            self._try(lambda store: store.progress(run))

    def finish(self, run: Run) -> None:
        """Record how a run ended."""
        if not self._try(lambda store: store.finish(run)):
            self._put_aside(run)
            if run.status != SKIPPED:
                return
        # The history has the slot now, or it is free for another.
        _give_up_claim(self._settings, run)

    def close(self) -> None:
        """Close the connection, so that a child process does not inherit it."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def _put_aside(self, run: Run) -> None:
        try:
            path = os.path.join(pending_folder(self._settings), f"{run.id}.json")
            replace(path, json.dumps(run_to_dict(run)).encode(), mode=0o600)
        except OSError:
            pass  # Nothing can be written any more; the log and stderr have said so.

    def _claim_by_file(self, run: Run, slot: float) -> str | None:
        path = _claim_path(self._settings, run.task, slot)
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            holder = claimed_by_file(self._settings, run.task, slot) or "another run"
            return None if holder == run.id else holder
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
    """Where records wait that could not be written into the history."""
    return os.path.join(settings.state_path, "pending")


def take_in_pending(settings: Settings, store: RunStore, task: str | None = None) -> int:
    """Write the records that wait into the history; how many. Raises what the store raises.

    With `task` only those of a task whose history this is; the slots that they claimed by files are claimed there then.
    """
    taken = 0
    for path in _pending(settings):
        try:
            with open(path, encoding="utf-8") as file:
                run = run_from_dict(json.load(file))
        except FileNotFoundError:
            continue  # Somebody else took it in meanwhile.
        except BROKEN:
            # Half of a record, from a disk that was full: kept aside for whoever wants to look.
            with suppress(FileNotFoundError):
                os.replace(path, path + ".broken")
            continue
        if task not in (None, run.task):
            continue
        store.finish(run)
        with suppress(FileNotFoundError):
            os.unlink(path)
        if task is not None:
            _give_up_claim(settings, run)
        taken += 1
    return taken


def claimed_by_file(settings: Settings, task: str, slot: float) -> str:
    """The run that claimed a slot by a file, as the history could not be written; empty when none did."""
    try:
        with open(_claim_path(settings, task, slot), encoding="ascii") as file:
            return file.read() or "another run"
    except FileNotFoundError:
        return ""
    except (OSError, ValueError):
        return "another run"


def _claim_path(settings: Settings, task: str, slot: float) -> str:
    return os.path.join(settings.state_path, "claims", task, f"{slot:.0f}")


def _give_up_claim(settings: Settings, run: Run) -> None:
    """Remove the file by which a run claimed its slot, if it did."""
    if run.slot is not None and claimed_by_file(settings, run.task, run.slot) == run.id:
        with suppress(OSError):
            os.unlink(_claim_path(settings, run.task, run.slot))


def run_to_dict(run: Run) -> dict[str, Any]:
    """A run as JSON values."""
    return {**run.__dict__, "steps": [step.__dict__ for step in run.steps]}


def run_from_dict(values: dict[str, Any]) -> Run:
    """The run that `run_to_dict` made values of. Raises one of `BROKEN` for others, which no store would take."""
    run = Run(**{**values, "steps": [StepRecord(**step) for step in values["steps"]]})
    for name in ("id", "flow", "task", "trigger", "reason", "message", "holder", "log", "waited_for"):
        checked_text(getattr(run, name)).encode()  # With half of a character no database takes it.
    for step in run.steps:
        checked_number(step.position)
        for text in (step.name, step.type, step.status, step.message):
            checked_text(text).encode()
    times = [run.slot, run.ended, *(step.ended for step in run.steps)]
    for seconds in (run.started, run.waited, *(step.started for step in run.steps), *filter(None, times)):
        checked_seconds(seconds)
    if run.status not in (QUEUED, RUNNING, *FINAL) or not isinstance(run.params, dict):
        raise ValueError("no record of a run")
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
