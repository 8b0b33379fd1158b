"""Runs that are done again, or gone on from."""

from __future__ import annotations

import os

from scflows.cron.task import TaskStore, task_settings
from scflows.errors import NotFound
from scflows.launch import Request
from scflows.rerun import read_earlier
from scflows.settings import Settings, read_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.run import Run


def request_again(run: Run, settings: Settings, resume: bool) -> tuple[Request, Settings]:
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
    request = Request(
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
