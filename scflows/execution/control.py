"""Retry, resume and stop runs."""

from __future__ import annotations

import os
import signal

from scflows.cron.task import TaskStore, task_settings
from scflows.errors import Busy, NotFound, Refused
from scflows.execution.request import RunRequest
from scflows.execution.rerun import read_input
from scflows.history.recorder import Recorder
from scflows.history.run import CANCELLED, QUEUED, Run
from scflows.locks import is_alive
from scflows.settings import Settings, folder_settings, read_settings


def request_again(run: Run, settings: Settings, resume: bool) -> tuple[RunRequest, Settings]:
    """Return a request that repeats a run in its workspace; `resume` continues where it ended.

    Raises NotFound if its journal does not exist.
    """
    earlier = read_input(settings, run.id)
    task = None
    if earlier.task:
        try:
            task = TaskStore(settings).read(earlier.task)
        except NotFound:
            pass  # The flow can run without its task.
    if task is not None:
        settings = task_settings(task)
    elif earlier.flow == os.path.join(earlier.home, "config.yml") and os.path.isfile(earlier.flow):
        settings = folder_settings(earlier.home)
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
    """Ask the process of a run to stop; return its id, or 0 for a queued run, which is removed from the queue.

    Raises NotFound, Refused or Busy.
    """
    if run.status == QUEUED:
        from scflows.execution.enqueue import dequeue
        from scflows.queue.entries import entry_of_run

        entry = entry_of_run(settings.state_path, run.id)
        if entry is not None:
            recorder = Recorder(settings)
            message = "stopped while it was queued"
            if dequeue(settings.state_path, entry, recorder, CANCELLED, "terminated", message):
                recorder.close()
                return 0
            raise Busy(f"run {run.id} is about to start", f"try again: flows runs stop {run.id}")
    pid = int(run.holder.split(":")[2]) if run.holder.count(":") == 3 else 0
    if run.ended is not None or not is_alive(run.holder) or not pid:
        raise NotFound(f"run {run.id} is not running here (it has finished, or runs on another machine)")
    try:
        os.kill(pid, signal.SIGTERM)
    except PermissionError as error:
        raise Refused(f"run {run.id} belongs to another user") from error
    except ProcessLookupError as error:
        raise NotFound(f"run {run.id} has finished") from error
    return pid
