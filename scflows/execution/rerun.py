"""What a run is kept of to do it again or to go on from it: what it was asked for, and the state of its flow file."""

from __future__ import annotations

import os
from binascii import crc32
from dataclasses import dataclass

from scflows.errors import FlowError, Mistake, NotFound, Refused, UsageError
from scflows.execution.journal import Journal, journal_path, latest_successor, note_successor, open_journal, read_asked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scflows.flows.loader import FlowPath
    from scflows.history.run import Run
    from scflows.settings import Settings


@dataclass(frozen=True)
class RunInput:
    """What an earlier run was asked for."""

    run: str  #: its id
    flow: str  #: the flow file, absolute
    task: str  #: the name of the task it was run for; empty without one
    home: str  #: the workspace
    slot: float | None
    params: dict[str, Any]  #: as given, before they were checked
    data: dict[str, Any]  #: the data it began with
    content: list[int]  #: length and checksum of the flow file


def read_earlier(settings: Settings, run: str) -> RunInput:
    """What a run was asked for. Raises NotFound when nothing is kept of it, Refused when that held a secret."""
    asked = read_asked(settings, run)
    if asked.get("withheld"):
        raise Refused(
            f"what run {run} was given held a secret, and was not kept",
            f"start it anew, with its input and parameters: flows run {asked['task'] or asked['flow']}",
        )
    return RunInput(run=run, **asked)


def asked_of(run: str, where: FlowPath, settings: Settings, force: bool) -> RunInput | None:
    """What the run was asked for that is to be gone on from; None without an id.

    Of a run that was gone on from already it is the last one in that row. Raises UsageError when nothing is kept
    of it, Refused when that held a secret, FlowError for a flow that is another one or was changed since, unless
    forced.
    """
    if not run:
        return None
    try:
        earlier = read_earlier(settings, latest_successor(settings, run))
    except NotFound as error:
        raise UsageError(str(error), error.help) from error
    if earlier.flow != where.file:
        raise FlowError([Mistake(where.written, f"run {run} was one of another flow: {earlier.flow}")])
    if earlier.content != _content(where.file) and not force:
        raise FlowError(
            [Mistake(where.written, f"the flow was changed since run {run}")],
            "go on all the same with --force, or from the start with: flows runs retry",
        )
    return earlier


def begin_journal(
    settings: Settings,
    run: Run,
    where: FlowPath,
    task: str,
    params: dict[str, Any],
    data: dict[str, Any],
    is_kept: bool,
    earlier: RunInput | None,
) -> Journal:
    """The journal of a run that begins; of one that goes on from an earlier one, with what that has done."""
    asked = {
        "flow": where.file,
        "task": task,
        "home": settings.home,
        "slot": run.slot,
        "params": params,
        "data": data,
        "content": _content(where.file),
    }
    journal = open_journal(settings, run.id, asked, is_kept)
    if earlier is not None:
        try:
            journal.take_over(journal_path(settings, earlier.run))
        except OSError as error:
            journal.problem = f"run {earlier.run} cannot be read: {error.strerror}"
        if journal.problem:
            journal.close()
            raise UsageError(journal.problem, "what was done before cannot be kept; is the disk full?")
        if is_kept:
            note_successor(settings, earlier.run, run.id)
    return journal


def _content(file: str) -> list[int]:
    try:
        with open(file, "rb") as opened:
            content = opened.read()
    except OSError:
        return [-1, os.getpid()]
    return [len(content), crc32(content)]
