"""Start or end a run of the queue, in the process that the queue worker forks for it."""

from __future__ import annotations

from dataclasses import replace

from scflows.errors import NotFound, ScflowsError
from scflows.execution.admission import ENQUEUE
from scflows.execution.enqueue import dequeue, recorder_for, request_of
from scflows.execution.launch import launch
from scflows.execution.request import RunOutcome
from scflows.execution.resources import Grant
from scflows.history.run import FAILED, QUEUED, SKIPPED
from scflows.queue.entries import QueueEntry, read_queued_run
from scflows.scheduler.housekeeping import run_housekeeping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    #: Reports how a run ended: (task, outcome).
    OnEnd = Callable[[str, RunOutcome], None]


def run_queued(state: str, entry: QueueEntry, grant: Grant, on_end: OnEnd) -> None:
    """Run what an entry asks for in this process, or end the run where it must not start."""
    queued = read_queued_run(state, entry)
    if queued is None:
        grant.held.leave()
        return
    ending = None
    try:
        request, settings = request_of(state, entry, queued)
        if request.task is not None and request.slot is not None and request.task.is_paused(request.slot):
            ending = (SKIPPED, "paused", "the task was paused while it waited")
    except NotFound:
        ending = (SKIPPED, "removed", "the task was removed while it waited")
    except ScflowsError as error:
        ending = (FAILED, "refused", str(error))
    if ending is not None:
        grant.held.leave()
        end_entry(state, entry, *ending)
        return
    try:
        outcome = launch(replace(request, waits=ENQUEUE, grant=grant), settings)
    finally:
        grant.held.leave()
    if outcome.run.status not in (QUEUED, SKIPPED):
        on_end(entry.task, outcome)
        run_housekeeping(settings)


def end_entry(state: str, entry: QueueEntry, status: str, reason: str, message: str) -> bool:
    """End a run that waits; return False for one that is about to start."""
    recorder = recorder_for(state, entry, read_queued_run(state, entry))
    try:
        return dequeue(state, entry, recorder, status, reason, message)
    finally:
        recorder.close()
