"""The journal of a run, from which another run can resume it.

`<state>/runs/<run id>/journal.jsonl`, mode 0600, one JSON value per line: first the run's input, then a note for each
step when it ends (and when it starts, if it changes something outside the run), at last the result of the flow. Notes
of child flows have `in`: the steps and loop items that lead to the child. Notes with `record` are the records of the
run's steps, from which a crashed run is shown. A line cut short by a kill or a full disk is ignored.
"""

from __future__ import annotations

import json
import os
from _thread import allocate_lock

from scflows.errors import NotFound, StepError
from scflows.history.journal_file import journal_path, whole_lines
from scflows.history.run import EXIT, SUCCESS
from scflows.secrets.masking import Mask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from scflows.history.run import StepRecord
    from scflows.settings import Settings

    #: Where a child flow runs: position and name of the step, loop index or None, number of the call.
    Place = tuple[int, str, int | None, int]

#: The keys that stay in the note of a step whose result contained a secret.
SAFE_KEYS = ("at", "step", "done", "next", "to", "final", "in")


class Notes:
    """The notes of one flow of a run."""

    def __init__(self) -> None:
        self.past: Past | None = None  #: the earlier notes of this flow, from which it continues
        self.is_resumed = False  #: whether there are notes of an earlier run

    def add(self, note: dict[str, Any]) -> bool:
        """Store a note; return False if the result in it is not kept: it contains a secret, or storing failed."""
        raise NotImplementedError

    def child(self, place: Place, path: str, payload: Any, content: int, is_forced: bool) -> Notes | None:
        """Return the notes of a child flow, with its earlier notes if it had the same input; None if none are kept.

        `content` is a checksum of its file. Raises StepError if it has changed since the earlier notes, unless the run
        `is_forced`.
        """
        raise NotImplementedError

    def note_start(self, at: int, name: str) -> None:
        """Note that a step starts to change something outside the run."""
        self.add({"at": at, "start": name})

    def note_attempt(self, at: int) -> None:
        """Note that a step is tried again, so that its child flows run again from their first step."""
        self.add({"at": at, "again": True})

    def note_step(
        self,
        at: int,
        name: str,
        is_done: bool,
        following: tuple[int | None, str | None],
        errors: list[dict[str, Any]],
        stored: tuple[str, Any] | None,
        is_final: bool = False,
    ) -> bool:
        """Note the end of a step; return False if its result is not kept.

        `at` is its index in the flow, `following` index and name of the next step.
        """
        note: dict[str, Any] = {"at": at, "step": name, "done": is_done}
        note["next"], note["to"] = following
        if is_final:
            note["final"] = True
        if errors:
            note["errors"] = errors
        if stored is not None:
            note["key"], note["value"] = stored
        return self.add(note)

    def note_record(self, record: StepRecord) -> None:
        """Note the record of a step that starts or ends, for `flows runs show` if the run crashes."""
        self.add({"record": record.__dict__})

    def note_end(self, status: str, message: str) -> None:
        """Note the end of the flow."""
        self.add({"ended": status, "message": message})


class Journal(Notes):
    """One run's journal, open for appending. An error never fails the run: `problem` says why nothing more is noted."""

    def __init__(self, descriptor: int, is_durable: bool = True) -> None:
        super().__init__()
        self.problem = ""
        #: Masks secrets. A result that contains one is withheld, and resuming the run repeats the step.
        self.mask = Mask()
        self.is_durable = is_durable
        self._descriptor = descriptor
        # One step may fetch a secret while a parallel one ends.
        self._lock = allocate_lock()

    def note_successor(self, run: str) -> None:
        """Note that another run has resumed this one."""
        self.add({"successor": run})

    def child(self, place: Place, path: str, payload: Any, content: int, is_forced: bool) -> Notes | None:
        if not self.is_durable:
            return None
        return _child(self, self, [place], path, payload, content, is_forced)

    def read_past(self) -> None:
        """Read the notes so far, to continue from them."""
        self.past = Past.of(self._lines())

    def add(self, note: dict[str, Any]) -> bool:
        with self._lock:
            if self.problem or self._descriptor < 0:
                return False
            try:
                if self.mask:
                    note = _masked(note, self.mask)
                content = json.dumps(note).encode() + b"\n"
                while content:
                    content = content[os.write(self._descriptor, content) :]
            except (OSError, ValueError, RecursionError) as error:
                reason = error.strerror if isinstance(error, OSError) else str(error)
                self.problem = f"later steps of the run cannot be resumed: {reason}"
                return False
            return self.is_durable and "withheld" not in note

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
        started: dict[int, dict[str, Any]] = {}
        with open(path, "rb") as file:
            has_ended = any(note.get("ended") in (SUCCESS, EXIT) and "in" not in note for note in whole_lines(file))
            file.seek(0)
            file.readline()
            for note in whole_lines(file):
                if "record" in note:
                    continue  # The new run has steps of its own.
                if "in" not in note and "at" in note:
                    started.pop(note["at"], None)
                    if "start" in note:
                        started[note["at"]] = note
                if note.get("done") or "in" in note or (has_ended and "successor" not in note):
                    self.add(note)
        for note in started.values():
            self.add(note)

    def notes(self) -> list[dict[str, Any]]:
        """Return the notes so far of steps of the main flow, and of its end."""
        return [note for note in self._lines() if ("step" in note or "ended" in note) and "in" not in note]

    def _lines(self) -> list[dict[str, Any]]:
        """Return all notes so far, without the first line."""
        try:
            # A second descriptor, with its own position in the file.
            with open(f"/proc/self/fd/{self._descriptor}", "rb") as file:
                file.readline()
                return list(whole_lines(file))
        except OSError:
            return []

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class ChildNotes(Notes):
    """The notes of a child flow."""

    def __init__(self, journal: Journal, place: list[Place]) -> None:
        super().__init__()
        self._journal = journal
        self._place = place

    def add(self, note: dict[str, Any]) -> bool:
        note["in"] = self._place
        return self._journal.add(note)

    def child(self, place: Place, path: str, payload: Any, content: int, is_forced: bool) -> Notes | None:
        return _child(self, self._journal, [*self._place, place], path, payload, content, is_forced)


class Past:
    """The earlier notes of one flow."""

    def __init__(self) -> None:
        self.notes: list[dict[str, Any]] = []  #: of its completed steps, and of its end
        self.started: dict[int, str] = {}  #: steps that have started to change something, and not ended
        self.failed: dict[int, str] = {}
        self.children: dict[Place, Past] = {}  #: of its steps that have not completed
        self.header: tuple[str, list[int]] | None = None  #: path and checksums of a child flow

    @classmethod
    def of(cls, lines: Iterable[dict[str, Any]]) -> Past:
        """Return the notes of the main flow, which contain those of its child flows."""
        root = cls()
        for note in lines:
            past = root
            for place in note.get("in", ()):
                past = past.children.setdefault(tuple(place), cls())
            past._read(note)
        return root

    def take_child(self, place: Place) -> Past | None:
        """Return the notes of a child flow, once; also if the step is at another position now."""
        found = self.children.pop(place, None)
        if found is None:
            moved = next((each for each in self.children if each[1:] == place[1:]), None)
            found = None if moved is None else self.children.pop(moved)
        return found

    def _read(self, note: dict[str, Any]) -> None:
        at = note.get("at", -1)
        if "child" in note:
            header = note["child"], note["sums"]
            if self.header != header:
                self.__init__()  # type: ignore[misc]  # It was restarted.
            self.header = header
        elif "start" in note:
            self.started[at] = note["start"]
        elif "again" in note:
            self._drop_children(at)
        elif "step" in note:
            self.started.pop(at, None)
            self.failed.pop(at, None)
            if not note["done"]:
                self.failed[at] = note["step"]
                return
            self.notes.append(note)
            # If the result was withheld, the step runs again, and its completed child flows do not.
            if not note.get("withheld"):
                self._drop_children(at)
        elif note.get("ended") in (SUCCESS, EXIT):
            self.notes.append(note)

    def _drop_children(self, at: int) -> None:
        self.children = {place: past for place, past in self.children.items() if place[0] != at}


def _child(
    parent: Notes, journal: Journal, place: list[Place], path: str, payload: Any, content: int, is_forced: bool
) -> Notes:
    from binascii import crc32

    notes = ChildNotes(journal, place)
    sums = [crc32(json.dumps(payload).encode()), content]
    past = None if parent.past is None else parent.past.take_child(place[-1])
    if past is not None and past.header is not None and past.header[0] == path and past.header[1][0] == sums[0]:
        if past.header[1][1] != content and past.notes and not is_forced:
            raise StepError(f"flow {path!r} has changed since the run that is resumed; use --force to resume anyway")
        notes.past, notes.is_resumed = past, True
        return notes
    notes.add({"child": path, "sums": sums})
    return notes


def open_journal(settings: Settings, run: str, run_input: dict[str, Any], is_durable: bool) -> Journal:
    """Return a new journal; in memory, for this run only, if `is_durable` is false or the file cannot be created."""
    descriptor = -1
    if is_durable:
        path = journal_path(settings, run)
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o600)
        except OSError:
            pass
    if descriptor < 0:
        descriptor = os.memfd_create("journal", os.MFD_CLOEXEC)
        is_durable = False
    journal = Journal(descriptor, is_durable)
    journal.add(run_input)
    return journal


def read_header(settings: Settings, run: str) -> dict[str, Any]:
    """Return the input of a run. Raises NotFound if it has no journal."""
    try:
        with open(journal_path(settings, run), "rb") as file:
            values: dict[str, Any] = json.loads(file.readline())
    except (OSError, ValueError) as error:
        raise NotFound(f"run {run} has no journal to resume from", "see: flows history") from error
    return values


def read_past(settings: Settings, run: str) -> Past:
    """Return the notes of a run. Raises NotFound if it has no journal."""
    try:
        with open(journal_path(settings, run), "rb") as file:
            file.readline()
            return Past.of(whole_lines(file))
    except OSError as error:
        raise NotFound(f"run {run} has no journal to resume from", "see: flows history") from error


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
