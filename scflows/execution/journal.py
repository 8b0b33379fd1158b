"""What a run has done so far, kept so that another can go on from there.

`<state>/runs/<run id>/journal.jsonl`, mode 0600, one JSON value a line: first what was asked for, then one note for
each step as it ends, at last how the flow ended. A line that is cut short, by a kill or a full disk, says nothing.
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
#: What stays of the note of a step whose result held a secret.
KEPT = ("at", "step", "done", "next", "to", "final")


class Journal:
    """One run's notes, open for adding. Nothing here fails a run: `problem` says why no more is kept."""

    def __init__(self, descriptor: int) -> None:
        self.problem = ""
        #: Hides what may not lie in a file. A result in which it changes anything is withheld, and the step is run
        #: again by who goes on from here.
        self.mask = Mask()
        self.has_past = False  #: whether it begins with what an earlier run has done
        self._descriptor = descriptor
        # A secret may be learned by one step while another one beside it ends.
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
        """Note how a step ended. `at` is its place in the order of the flow, `following` place and name of the next."""
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
        """Note how the flow ended."""
        self.add({"ended": status, "message": message})

    def note_heir(self, run: str) -> None:
        """Note that another run has gone on from here."""
        self.add({"heir": run})

    def add(self, note: dict[str, Any]) -> None:
        with self._lock:
            if self.problem or self._descriptor < 0:
                return
            try:
                if self.mask:
                    note = _concealed(note, self.mask)
                content = json.dumps(note).encode() + b"\n"
                while content:
                    content = content[os.write(self._descriptor, content) :]
            except (OSError, ValueError, RecursionError) as error:
                reason = error.strerror if isinstance(error, OSError) else str(error)
                self.problem = f"the run cannot be resumed from here on: {reason}"

    def conceal(self) -> None:
        """Take out of what is noted already what the mask hides by now; what was asked for is part of that."""
        if self._descriptor < 0:
            return
        with self._lock:
            try:
                # Opened anew, since what is open for adding writes at the end wherever one tells it to.
                with open(f"/proc/self/fd/{self._descriptor}", "r+b", buffering=0) as file:
                    _conceal(file, self.mask)
            except OSError as error:
                os.ftruncate(self._descriptor, 0)
                self.problem = f"the run cannot be resumed: {error.strerror}"

    def take_over(self, path: str) -> None:
        """Copy from another journal what was done; all of it, with its end, if the flow ended well."""
        self.has_past = True
        with open(path, "rb") as file:
            has_ended = any(note.get("ended") in (SUCCESS, EXIT) for note in _whole_lines(file))
            file.seek(0)
            file.readline()
            for note in _whole_lines(file):
                if note.get("done") or (has_ended and "heir" not in note):
                    self.add(note)

    def past(self) -> list[dict[str, Any]]:
        """All notes so far, but the first line."""
        try:
            # A descriptor of its own, whose place in the file is its own.
            with open(f"/proc/self/fd/{self._descriptor}", "rb") as file:
                file.readline()
                return list(_whole_lines(file))
        except OSError:
            return []

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def open_journal(settings: Settings, run: str, asked: dict[str, Any], is_kept: bool) -> Journal:
    """A new journal; one that is not kept, or cannot be, lies in memory and serves the run's own end alone."""
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
    journal.add(asked)
    return journal


def journal_path(settings: Settings, run: str) -> str:
    """Where the journal of a run lies."""
    return os.path.join(settings.state_path, "runs", run, NAME)


def read_asked(settings: Settings, run: str) -> dict[str, Any]:
    """What a run was asked for. Raises NotFound when nothing is kept of it."""
    try:
        with open(journal_path(settings, run), "rb") as file:
            asked: dict[str, Any] = json.loads(file.readline())
    except (OSError, ValueError) as error:
        raise NotFound(f"of run {run} nothing is kept that one could go on from", "see: flows history") from error
    return asked


def latest_successor(settings: Settings, run: str) -> str:
    """The last of the runs that went on from this one, each from the one before; itself when none did."""
    while True:
        try:
            with open(journal_path(settings, run), "rb") as file:
                heirs = [each["heir"] for each in _heirs(file)]
        except OSError:
            return run
        heirs = [heir for heir in heirs if heir > run and os.path.exists(journal_path(settings, heir))]
        if not heirs:
            return run
        run = heirs[-1]


def note_successor(settings: Settings, run: str, heir: str) -> None:
    """Note in the journal of a run that another has gone on from it."""
    try:
        descriptor = os.open(journal_path(settings, run), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except OSError:
        return
    journal = Journal(descriptor)
    # The line before may have been cut short.
    os.write(descriptor, b"\n")
    journal.note_heir(heir)
    journal.close()


def restored(notes: Iterable[dict[str, Any]], data: dict[str, Any]) -> dict[str, Any]:
    """The data as it was when the notes ended, with the errors of steps that failed."""
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


def _heirs(file: Any) -> Iterator[dict[str, Any]]:
    for line in file:
        if line.startswith(b'{"heir"') and line.endswith(b"\n"):
            yield json.loads(line)


def _conceal(file: Any, mask: Mask) -> None:
    """Write over the lines that show a secret. They keep their length, so that the others stay where they are."""
    place = 0
    for line in file.read().splitlines(keepends=True):
        after = place + len(line)
        try:
            note = json.loads(line)
        except ValueError:
            note = None
        if isinstance(note, dict):
            hidden = _concealed(note, mask)
            if hidden is not note:
                content = json.dumps(hidden).encode()
                if len(content) >= len(line):
                    content = b""  # A line of blanks says nothing.
                file.seek(place)
                file.write(content.ljust(len(line) - 1) + b"\n")
        place = after


def _concealed(note: dict[str, Any], mask: Mask) -> dict[str, Any]:
    """A note without what the mask hides; the same one if that is nothing."""
    hidden: dict[str, Any] = mask.value(note)
    if hidden == note:
        return note
    if "content" in note and "flow" in note:
        return {name: note[name] for name in ("flow", "task", "home", "slot", "content")} | {"withheld": True}
    if "step" not in note or "value" not in note or hidden["value"] == note["value"]:
        return hidden
    return {name: note[name] for name in KEPT if name in note} | {"withheld": True}
