"""The file of a run's journal: where it is, its lines, and the records of steps in it."""

from __future__ import annotations

import json
import os

from scflows.history.run import StepRecord
from scflows.storage import BROKEN, checked_number, checked_seconds, checked_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from scflows.settings import Settings

NAME = "journal.jsonl"


def journal_path(settings: Settings, run: str) -> str:
    """Return the path of the journal of a run."""
    return os.path.join(settings.state_path, "runs", run, NAME)


def remove_journal(settings: Settings, run: str) -> None:
    """Remove the journal of a run, and its folder if that has nothing else. Ignores what cannot be removed."""
    path = journal_path(settings, run)
    try:
        os.unlink(path)
        os.rmdir(os.path.dirname(path))
    except OSError:
        pass  # It is removed with the oldest run folders.


def whole_lines(file: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the notes of a journal without lines that were cut short."""
    for line in file:
        if line.endswith(b"\n") and line != b"\n":
            try:
                note = json.loads(line)
            except ValueError:
                continue
            if isinstance(note, dict):
                yield note


def step_records(settings: Settings, run: str) -> list[StepRecord]:
    """Return the last record of each step of a run, by position; an empty list without a journal."""
    found: dict[int, StepRecord] = {}
    try:
        with open(journal_path(settings, run), "rb") as file:
            for note in whole_lines(file):
                if "record" in note:
                    record = _checked(note["record"])
                    found[record.position] = record
    except BROKEN:
        pass  # Those before the damage are known.
    return [found[position] for position in sorted(found)]


def _checked(values: dict[str, Any]) -> StepRecord:
    """Return the record of such values. Raises one of `BROKEN` if they are invalid."""
    record = StepRecord(**values)
    checked_number(record.position)
    for text in (record.name, record.type, record.status, record.message, record.output):
        checked_text(text).encode()  # No database accepts a lone surrogate.
    for seconds in (record.started, *filter(None, [record.ended])):
        checked_seconds(seconds)
    return record
