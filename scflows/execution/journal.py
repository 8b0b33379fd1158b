"""The journal of a run, from which another run can resume it.

`<state>/runs/<run id>/journal.jsonl`, mode 0600, one JSON value per line: first the run's input, then a note for each
step when it ends, at last the result of the flow. A line cut short by a kill or a full disk is ignored.
"""

from __future__ import annotations

import json
import os
from _thread import allocate_lock

from scflows.errors import NotFound
from scflows.history.run import EXIT, SUCCESS
from scflows.secrets.masking import Mask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from scflows.settings import Settings

NAME = "journal.jsonl"
#: The keys that stay in the note of a step whose result contained a secret.
SAFE_KEYS = ("at", "step", "done", "next", "to", "final")


class Journal:
    """One run's journal, open for appending. An error never fails the run: `problem` says why nothing more is noted."""

    def __init__(self, descriptor: int) -> None:
        self.problem = ""
        #: Masks secrets. A result that contains one is withheld, and resuming the run repeats the step.
        self.mask = Mask()
        self.is_resumed = False  #: whether it begins with the notes of an earlier run
        self._descriptor = descriptor
        # One step may fetch a secret while a parallel one ends.
        self._lock = allocate_lock()

    def note_step(
        self,
        at: int,
        name: str,
        is_done: bool,
        following: tuple[int | None, str | None],
        errors: list[dict[str, Any]],
        stored: tuple[str, Any] | None,
        is_final: bool = False,
    ) -> None:
        """Note the end of a step. `at` is its index in the flow, `following` index and name of the next step."""
        note: dict[str, Any] = {"at": at, "step": name, "done": is_done}
        note["next"], note["to"] = following
        if is_final:
            note["final"] = True
        if errors:
            note["errors"] = errors
        if stored is not None:
            note["key"], note["value"] = stored
        self.add(note)

    def note_end(self, status: str, message: str) -> None:
        """Note the end of the flow."""
        self.add({"ended": status, "message": message})

    def note_successor(self, run: str) -> None:
        """Note that another run has resumed this one."""
        self.add({"successor": run})

    def add(self, note: dict[str, Any]) -> None:
        with self._lock:
            if self.problem or self._descriptor < 0:
                return
            try:
                if self.mask:
                    note = _masked(note, self.mask)
                content = json.dumps(note).encode() + b"\n"
                while content:
                    content = content[os.write(self._descriptor, content) :]
            except (OSError, ValueError, RecursionError) as error:
                reason = error.strerror if isinstance(error, OSError) else str(error)
                self.problem = f"later steps of the run cannot be resumed: {reason}"

    def mask_notes(self) -> None:
        """Remove newly known secrets from everything that was written already, including the run's input."""
        if self._descriptor < 0:
            return
        with self._lock:
            try:
                # A second descriptor, because one opened with O_APPEND always writes at the end.
                with open(f"/proc/self/fd/{self._descriptor}", "r+b", buffering=0) as file:
                    _mask_lines(file, self.mask)
            except OSError as error:
                os.ftruncate(self._descriptor, 0)
                self.problem = f"the run cannot be resumed: {error.strerror}"

    def copy_from(self, path: str) -> None:
        """Copy the completed steps of another journal; all its notes if the flow succeeded."""
        self.is_resumed = True
        with open(path, "rb") as file:
            has_ended = any(note.get("ended") in (SUCCESS, EXIT) for note in _whole_lines(file))
            file.seek(0)
            file.readline()
            for note in _whole_lines(file):
                if note.get("done") or (has_ended and "successor" not in note):
                    self.add(note)

    def notes(self) -> list[dict[str, Any]]:
        """Return all notes so far, without the first line."""
        try:
            # A second descriptor, with its own position in the file.
            with open(f"/proc/self/fd/{self._descriptor}", "rb") as file:
                file.readline()
                return list(_whole_lines(file))
        except OSError:
            return []

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def open_journal(settings: Settings, run: str, run_input: dict[str, Any], is_kept: bool) -> Journal:
    """Return a new journal; in memory, for this run only, if `is_kept` is false or the file cannot be created."""
    descriptor = -1
    if is_kept:
        path = journal_path(settings, run)
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o600)
        except OSError:
            pass
    if descriptor < 0:
        descriptor = os.memfd_create("journal", os.MFD_CLOEXEC)
    journal = Journal(descriptor)
    journal.add(run_input)
    return journal


def journal_path(settings: Settings, run: str) -> str:
    """Return the path of the journal of a run."""
    return os.path.join(settings.state_path, "runs", run, NAME)


def read_header(settings: Settings, run: str) -> dict[str, Any]:
    """Return the input of a run. Raises NotFound if it has no journal."""
    try:
        with open(journal_path(settings, run), "rb") as file:
            values: dict[str, Any] = json.loads(file.readline())
    except (OSError, ValueError) as error:
        raise NotFound(f"run {run} has no journal to resume from", "see: flows history") from error
    return values


def latest_successor(settings: Settings, run: str) -> str:
    """Return the last run in the chain of runs that resumed this one; the run itself if there is none."""
    while True:
        try:
            with open(journal_path(settings, run), "rb") as file:
                successors = [each["successor"] for each in _successors(file)]
        except OSError:
            return run
        successors = [each for each in successors if each > run and os.path.exists(journal_path(settings, each))]
        if not successors:
            return run
        run = successors[-1]


def note_successor(settings: Settings, run: str, successor: str) -> None:
    """Note in the journal of a run that another one has resumed it."""
    try:
        descriptor = os.open(journal_path(settings, run), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except OSError:
        return
    journal = Journal(descriptor)
    # The last line may have been cut short.
    os.write(descriptor, b"\n")
    journal.note_successor(successor)
    journal.close()


def restore_data(notes: Iterable[dict[str, Any]], data: dict[str, Any]) -> dict[str, Any]:
    """Return the data after the noted steps, with the errors of failed steps."""
    data = {**data, "__errors__": list(data["__errors__"])}
    for note in notes:
        data["__errors__"].extend(note.get("errors", ()))
        if "key" in note:
            data[note["key"]] = note["value"]
    return data


def _whole_lines(file: Any) -> Iterator[dict[str, Any]]:
    for line in file:
        if line.endswith(b"\n") and line != b"\n":
            try:
                note = json.loads(line)
            except ValueError:
                continue
            if isinstance(note, dict):
                yield note


def _successors(file: Any) -> Iterator[dict[str, Any]]:
    for line in file:
        if line.startswith(b'{"successor"') and line.endswith(b"\n"):
            yield json.loads(line)


def _mask_lines(file: Any, mask: Mask) -> None:
    """Overwrite the lines that contain a secret. Their length stays the same, so the other lines do not move."""
    position = 0
    for line in file.read().splitlines(keepends=True):
        next_position = position + len(line)
        try:
            note = json.loads(line)
        except ValueError:
            note = None
        if isinstance(note, dict):
            masked = _masked(note, mask)
            if masked is not note:
                content = json.dumps(masked).encode()
                if len(content) >= len(line):
                    content = b""  # A blank line is ignored.
                file.seek(position)
                file.write(content.ljust(len(line) - 1) + b"\n")
        position = next_position


def _masked(note: dict[str, Any], mask: Mask) -> dict[str, Any]:
    """Return a note without secrets; the same object if it contains none."""
    masked: dict[str, Any] = mask.value(note)
    if masked == note:
        return note
    if "content" in note and "flow" in note:
        return {name: note[name] for name in ("flow", "task", "home", "slot", "content")} | {"withheld": True}
    if "step" not in note or "value" not in note or masked["value"] == note["value"]:
        return masked
    return {name: note[name] for name in SAFE_KEYS if name in note} | {"withheld": True}
