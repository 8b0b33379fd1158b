"""Runs that are done again, or gone on from."""

from __future__ import annotations

import os
import signal

from scflows.cron.task import TaskStore, task_settings
from scflows.errors import Busy, NotFound, Refused
from scflows.execution.launch import RunRequest
from scflows.execution.rerun import read_earlier
from scflows.history.recorder import Recorder
from scflows.history.run import CANCELLED, QUEUED
from scflows.locks import is_alive
from scflows.settings import Settings, read_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.history.run import Run


def request_again(run: Run, settings: Settings, resume: bool) -> tuple[RunRequest, Settings]:
    """What asks for the same as a run did, in its workspace; `resume` goes on where it ended.

    Raises NotFound when nothing is kept of it.
    """
    earlier = read_earlier(settings, run.id)
    task = None
    if earlier.task:
        try:
            task = TaskStore(settings).read(earlier.task)
        except NotFound:
            pass  # The flow can be run without its task.
    if task is not None:
        settings = task_settings(task)
    elif earlier.home != settings.home and os.path.isdir(earlier.home):
        settings = read_settings(earlier.home)
    request = RunRequest(
        flow="" if task is not None else earlier.flow,
        task=task,
        payload=earlier.data["__input__"],
        params=earlier.params,
        trigger="resume" if resume else "retry",
        slot=earlier.slot,
        again=True,
        resume=run.id if resume else "",
    )
    return request, settings


def stop(run: Run, settings: Settings) -> int:
    """Tell a run's process to stop; its number, 0 for one that waited and is taken out of the line.

    Raises NotFound or Refused when that cannot be.
    """
    if run.status == QUEUED:
        from scflows.execution.admission import dequeue
        from scflows.queue.files import entry_of_run

        ticket = entry_of_run(settings.state_path, run.id)
        if ticket is not None and not ticket.is_own:
            recorder = Recorder(settings)
            told = "told to stop while it waited for its turn"
            if dequeue(settings.state_path, ticket, recorder, CANCELLED, "terminated", told):
                recorder.close()
                return 0
            raise Busy(f"run {run.id} is about to start", f"try again: flows runs stop {run.id}")
    pid = int(run.holder.split(":")[2]) if run.holder.count(":") == 3 else 0
    if run.ended is not None or not is_alive(run.holder) or not pid:
        raise NotFound(f"run {run.id} does not run any more, or not on this machine")
    try:
        os.kill(pid, signal.SIGTERM)
    except PermissionError as error:
        raise Refused(f"run {run.id} belongs to another user") from error
    except ProcessLookupError as error:
        raise NotFound(f"run {run.id} does not run any more") from error
    return pid
