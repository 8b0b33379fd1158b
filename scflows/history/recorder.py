"""Recording a run even if the history cannot be written: in files, which are imported into the history later."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress

from scflows.errors import ScflowsError
from scflows.history.run import FINAL, QUEUED, RUNNING, SKIPPED, Run, StepRecord, new_run_id
from scflows.history.short_record import read_short_record, write_short_record
from scflows.history.store import FAULTS, history_location, open_store, problem_of
from scflows.locks import FOLDER, locked
from scflows.storage import BROKEN, checked_number, checked_seconds, checked_text, json_names, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from scflows.history.contract import RunStore
    from scflows.settings import Settings

#: Seconds after which a claim that cannot be read counts as lost, and the holder of its run: not a process.
LOST_AFTER = 86400.0
NO_PROCESS = "none:0:0:0"
#: Seconds that a run waits in all while another program has locked the history; after that, files have its record.
PATIENCE = 30.0
#: The least of it for the end of a run, and the wait for a record of its steps, during which it cannot be stopped.
PATIENCE_AT_END = 1.0
PATIENCE_FOR_STEPS = 0.05
#: Seconds of waiting after which signals that ask the run to stop are looked for.
LOOK_EVERY = 0.25
#: Seconds between two records of the steps of a running run.
PROGRESS_EVERY = 2.0


class Recorder:
    """The writer of one run's record. It never raises; `problem` is the first error."""

    def __init__(self, settings: Settings) -> None:
        self.problem = ""
        self._settings = settings
        self._store: RunStore | None = None
        self._written = 0.0
        self._patience = PATIENCE

    def claim(self, run: Run, again: bool = False) -> str | None:
        """Record a run as it starts. Return the id of the run that already has its slot, or None.

        If the history cannot be written, an exclusive file claims the slot, and becomes the run's record. If that file
        cannot be created either, the run continues, marked `unclaimed`.
        """
        self._import()
        claims = run.slot is not None and run.status != SKIPPED and not again
        owner = _owner(claim_path(self._settings, run.task, run.slot)) if claims else ""
        if owner not in ("", run.id):
            return owner
        result: list[Run | None] = []
        if self._try(lambda store: result.append(store.claim(run, again))):
            return None if result[0] is None else result[0].id
        return self._claim_by_file(run) if claims else None

    def begin(self, run: Run) -> str | None:
        """Record that a queued run starts. Return why it may not start, or None.

        It may not if it was ended meanwhile or if another run has its slot.
        """
        self._import()
        result: list[bool | None] = []
        if not self._try(lambda store: result.append(store.begin(run))):
            # The slot was claimed when the run was enqueued, in the history or by a file.
            self._write_file(run)
        elif result[0] is None:
            owner = self.claim(run)
            return None if owner in (None, run.id) else f"this slot was already run ({owner})"
        elif not result[0]:
            return "it was ended while it was queued"
        return None

    def skip(self, run: Run) -> None:
        """Record a run that was skipped."""
        if not self._try(lambda store: store.claim(run)):
            self._write_file(run)

    def progress(self, run: Run) -> bool:
        """Record the steps so far, at most every `PROGRESS_EVERY` seconds; return whether that was done."""
        now = time.monotonic()
        if now - self._written < PROGRESS_EVERY:
            return False
        self._written = now
        # Limits and signals are handled after it; a later record has these steps too.
        return self._attempt(lambda store: store.progress(run), PATIENCE_FOR_STEPS) is None

    def finish(self, run: Run) -> None:
        """Record how a run ended."""
        self._patience = max(self._patience, PATIENCE_AT_END)
        if not self._try(lambda store: store.finish(run)):
            self._write_file(run)
            if run.status != SKIPPED:
                return
        # Now the history has the slot, or a skipped run frees it.
        path = claim_path(self._settings, run.task, run.slot)
        if _owner(path) == run.id:
            with suppress(OSError):
                os.unlink(path)

    def close(self) -> None:
        """Close the connection, so that child processes do not inherit it."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def _import(self) -> None:
        if next(_files(self._settings), None) is not None:
            self._try(lambda store: import_claims(self._settings, store))

    def _claim_by_file(self, run: Run) -> str | None:
        path = claim_path(self._settings, run.task, run.slot)
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            owner = _owner(path)
            return None if owner == run.id else owner or "another run"
        except OSError:
            run.unclaimed = True
            return None
        try:
            content = self._content(run)
            is_complete = os.write(descriptor, content) == len(content)
        except OSError:
            is_complete = False
        os.close(descriptor)
        if not is_complete:
            with suppress(OSError):
                write_short_record(path, run)
        return None

    def _write_file(self, run: Run) -> None:
        """Write the record to a file: that of its claim, if it has one."""
        folder = claims_folder(self._settings)
        path = claim_path(self._settings, run.task, run.slot)
        if run.status == SKIPPED or _owner(path) != run.id:
            path = os.path.join(folder, f"{run.id}.json")
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            with locked(folder, how=FOLDER):
                try:
                    replace(path, self._content(run), mode=0o600)
                except OSError:
                    write_short_record(path, run)
        except OSError:
            pass  # Nothing can be written; the log and stderr have reported it.

    def _content(self, run: Run) -> bytes:
        origin = {"home": self._settings.home, "history": history_location(self._settings)}
        return json.dumps({**origin, **run_to_dict(run)}).encode()

    def _try(self, action: Callable[[RunStore], Any]) -> bool:
        began = time.monotonic()
        while True:
            left = self._patience - (time.monotonic() - began)
            error = self._attempt(action, min(LOOK_EVERY, left))
            if error is None or left <= LOOK_EVERY or not _is_busy(error):
                break
            if _has_stop_signal():
                self._patience = 0.0  # Nor does its end wait.
                break
        self._patience -= time.monotonic() - began
        if error is not None and not self.problem:
            self.problem = problem_of(self._settings, error)
        return error is None

    def _attempt(self, action: Callable[[RunStore], Any], seconds: float) -> Exception | None:
        """Use the history, waiting some seconds for other writers; return what went wrong."""
        try:
            if self._store is None:
                self._store = open_store(self._settings)
            self._store.wait_at_most(seconds)
            action(self._store)
        except FAULTS as error:
            return error
        return None


def _is_busy(error: Exception) -> bool:
    from scflows.history.sqlite import BUSY

    return getattr(error, "sqlite_errorcode", 0) & 0xFF in BUSY


def _has_stop_signal() -> bool:
    """Return whether a blocked signal asks the run to stop; it takes effect when the wait is over."""
    import signal

    return not signal.sigpending().isdisjoint((signal.SIGTERM, signal.SIGINT, signal.SIGHUP))


def claims_folder(settings: Settings) -> str:
    """Return the folder of claims and records that could not be written to the history yet."""
    return os.path.join(settings.state_path, "claims")


def claim_path(settings: Settings, task: str, slot: float | None) -> str:
    """Return the file that claims a slot of a task while the history cannot be written."""
    return os.path.join(claims_folder(settings), f"{task}@{slot or 0:.0f}.json")


def import_claims(settings: Settings, store: RunStore) -> int:
    """Write the records of the files to the history and return how many. Raises errors of the store.

    A run that has not ended is recorded as it is: if its process is dead, it is found to have crashed like any other.
    """
    imported = 0
    for path in _files(settings):
        origin = {"home": settings.home, "history": history_location(settings)}
        inode = None
        try:
            inode = os.lstat(path).st_ino
            short = read_short_record(path)
            if short is not None:
                if not _is_of(settings, short.task):
                    continue
                if short.status == RUNNING:
                    if not _is_old(path):
                        continue
                    short.holder = NO_PROCESS
                run = short
            else:
                with open(path, encoding="utf-8") as file:
                    inode = os.fstat(file.fileno()).st_ino
                    values = {**origin, **json.load(file)}
                if values.pop("home") != origin["home"] and values["history"] != origin["history"]:
                    continue  # Of another workspace, whose next run imports it.
                del values["history"]
                run = run_from_dict(values)
        except FileNotFoundError:
            continue  # Another process has imported it.
        except BROKEN:
            found = _lost(path)
            if found is None:
                continue
            run = found
        is_known = store.begin(run) is not None if run.status == RUNNING else bool(store.known([run.id]))
        if run.status in FINAL or not is_known:
            store.finish(run)
        with suppress(FileNotFoundError), locked(os.path.dirname(path), how=FOLDER):
            # Another file at this path: its run has ended, and written its record, meanwhile.
            if inode is None or os.lstat(path).st_ino == inode:
                os.unlink(path)
        imported += 1
    return imported


def _lost(path: str) -> Run | None:
    """Return the run of a claim that cannot be read, as a full disk leaves it, once it is certainly over.

    A record that claims nothing is renamed and kept for inspection.
    """
    task, at, slot = os.path.basename(path).removesuffix(".json").rpartition("@")
    with suppress(OSError):
        changed = os.lstat(path).st_mtime
        if not at or not (slot.isascii() and slot.isdigit()):
            os.replace(path, path + ".broken")
        elif _is_old(path):
            return Run(new_run_id(changed), task, task, slot=float(slot), started=changed, holder=NO_PROCESS)
    return None


def _is_old(path: str) -> bool:
    """Return whether the run of a claim is certainly over."""
    return time.time() - os.lstat(path).st_mtime > LOST_AFTER


def _is_of(settings: Settings, task: str) -> bool:
    """Return whether the runs of a task belong into the history of these settings."""
    from scflows.cron.task import TaskStore, task_settings

    try:
        return history_location(task_settings(TaskStore(settings).read(task))) == history_location(settings)
    except ScflowsError:
        return True  # It is not a task, or it is gone.


def _owner(path: str) -> str:
    """Return the id of the run that a file belongs to; empty if there is no file."""
    try:
        short = read_short_record(path)
        if short is not None:
            return short.id
        with open(path, encoding="utf-8") as file:
            return checked_text(json.load(file)["id"])
    except FileNotFoundError:
        return ""
    except BROKEN:
        return "another run"


def run_to_dict(run: Run) -> dict[str, Any]:
    """Return a run as JSON values."""
    return {**run.__dict__, "steps": [step.__dict__ for step in run.steps]}


def run_from_dict(values: dict[str, Any]) -> Run:
    """Return the run of such values. Raises one of `BROKEN` if they are invalid."""
    run = Run(**{**values, "steps": [StepRecord(**step) for step in values["steps"]]})
    texts = (
        "id",
        "flow",
        "task",
        "trigger",
        "reason",
        "message",
        "holder",
        "log",
        "waited_for",
        "workspace",
        "asked_by",
    )
    for name in texts:
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


def _files(settings: Settings) -> Iterator[str]:
    folder = claims_folder(settings)
    return (os.path.join(folder, f"{name}.json") for name in json_names(folder))
