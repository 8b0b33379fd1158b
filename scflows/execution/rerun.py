"""The saved input of a run, to retry or resume it, with a checksum of its flow file."""

from __future__ import annotations

import os
from binascii import crc32
from dataclasses import dataclass

from scflows.errors import FlowError, Mistake, NotFound, Refused, UsageError
from scflows.execution.journal import Journal, latest_successor, note_successor, open_journal, read_header
from scflows.history.journal_file import journal_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scflows.flows.loader import FlowPath
    from scflows.history.run import Run
    from scflows.settings import Settings


@dataclass(frozen=True)
class RunInput:
    """The input of an earlier run."""

    run: str  #: its id
    flow: str  #: the flow file, absolute
    task: str  #: the name of its task; empty without one
    home: str  #: the workspace
    slot: float | None
    params: dict[str, Any]  #: as given, before validation
    data: dict[str, Any]  #: its initial data
    content: list[int]  #: length and checksum of the flow file


def read_input(settings: Settings, run: str) -> RunInput:
    """Return the input of a run. Raises NotFound if it was not saved, Refused if it contained a secret."""
    values = read_header(settings, run)
    if values.get("withheld"):
        raise Refused(
            f"the input of run {run} contained a secret and was not saved",
            f"run it again with its input and parameters: flows run {values['task'] or values['flow']}",
        )
    return RunInput(run=run, **values)


def input_to_resume(run: str, where: FlowPath, settings: Settings, force: bool) -> RunInput | None:
    """Return the input of the run to resume; None if `run` is empty.

    If the run was resumed before, its latest successor is used. Raises UsageError if no input was saved, Refused if it
    contained a secret, FlowError if the run is of another flow or, without `force`, if the flow has changed.
    """
    if not run:
        return None
    try:
        earlier = read_input(settings, latest_successor(settings, run))
    except NotFound as error:
        raise UsageError(str(error), error.help) from error
    if earlier.flow != where.file:
        raise FlowError([Mistake(where.written, f"run {run} is a run of another flow: {earlier.flow}")])
    if earlier.content != _content(where.file) and not force:
        raise FlowError(
            [Mistake(where.written, f"the flow has changed since run {run}")],
            "use --force to resume nevertheless, or start again with: flows runs retry",
        )
    return earlier


def start_journal(
    settings: Settings,
    run: Run,
    where: FlowPath,
    task: str,
    params: dict[str, Any],
    data: dict[str, Any],
    is_durable: bool,
    earlier: RunInput | None,
) -> Journal:
    """Return the journal of a new run; if it resumes an earlier run, with that run's completed steps."""
    run_input = {
        "flow": where.file,
        "task": task,
        "home": settings.home,
        "slot": run.slot,
        "params": params,
        "data": data,
        "content": _content(where.file),
    }
    journal = open_journal(settings, run.id, run_input, is_durable)
    if earlier is not None:
        from scflows.history.artifacts import copy_artifacts

        try:
            journal.copy_from(journal_path(settings, earlier.run))
            if is_durable:
                copy_artifacts(settings, earlier.run, run.id)
        except OSError as error:
            journal.problem = f"run {earlier.run} cannot be read: {error.strerror}"
        if journal.problem:
            journal.close()
            raise UsageError(journal.problem, "its completed steps cannot be copied; is the disk full?")
        if is_durable:
            note_successor(settings, earlier.run, run.id)
    return journal


def _content(file: str) -> list[int]:
    try:
        with open(file, "rb") as opened:
            content = opened.read()
    except OSError:
        return [-1, os.getpid()]
    return [len(content), crc32(content)]
