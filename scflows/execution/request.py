"""What is asked of a run, what became of it, and what both need: the name of its lock, the fields of a queue entry."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from scflows.errors import FlowError, ScflowsError, UsageError
from scflows.locks import lock_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scflows.cron.task import Task
    from scflows.execution.resources import Grant
    from scflows.flows.loader import FlowPath
    from scflows.history.run import Run
    from scflows.settings import Settings

#: What an entry keeps of a request besides task, trigger and slot; what has its usual value is left out.
REQUEST_FIELDS = ("flow", "payload", "params", "again", "timeout", "dry_run", "force", "resume", "by")


# Never compared or printed; not generating those methods makes starting faster.
@dataclass(frozen=True, eq=False, repr=False)
class RunRequest:
    """The parameter of `launch`: a flow by its path, or a task."""

    flow: str = ""  #: as typed; empty for a task
    task: Task | None = None
    payload: Any = field(default_factory=dict)  #: becomes `__input__`
    params: dict[str, Any] = field(default_factory=dict)  #: take precedence over those of the task
    trigger: str = "manual"
    slot: float | None = None  #: the due time, in seconds since the epoch
    again: bool = False  #: run even if the slot was already run
    timeout: float | None = None  #: seconds; takes precedence over task, flow and settings
    dry_run: bool = False
    force: bool = False  #: run steps even if their target exists; resume even if the flow has changed
    resume: str = ""  #: the id of the run to resume
    wants_data: bool = False  #: whether to return the data to the caller
    about: str = ""  #: for a hook, the task whose run it is about
    by: str = ""  #: the user or program that asked for it, where that is known
    begins: float = 0.0  #: its time in the queue, in seconds since the epoch; 0: now
    waits: str = ""  #: what becomes of it when it cannot start now, see `admission`: ENQUEUE, BLOCK, or neither
    grant: Grant | None = None  #: the queue worker starts it


@dataclass(eq=False, repr=False)
class RunOutcome:
    """The outcome of a request."""

    run: Run
    data: dict[str, Any]
    problems: list[str]  #: problems other than of the flow, for example a log that cannot be written
    mistakes: FlowError | UsageError | None = None  #: why the request is invalid


def run_lock_name(request: RunRequest, path: FlowPath | None, name: str, settings: Settings) -> str:
    """Return a task's name; a flow named by its path shares the lock of the task that stands for it alone."""
    if path is None or request.task is not None:
        return name
    if request.about:
        # One lock per task, so that hooks of tasks that fail at the same time run in parallel and none is skipped.
        return lock_name(f"{path.file}/about/{request.about}")
    return name if _task_of(name, path, settings) is not None else lock_name(path.file)


def request_fields(request: RunRequest, settings: Settings) -> dict[str, Any]:
    """Return what an entry of the queue keeps of a request besides task, trigger and slot, as JSON values."""
    usual = RunRequest()
    values = {name: getattr(request, name) for name in REQUEST_FIELDS if getattr(request, name) != getattr(usual, name)}
    if request.task is None:
        # A task remembers its workspace and settings itself.
        values.update(workspace=settings.home, settings=settings.remembered())
    return values


def _task_of(name: str, path: FlowPath | None, settings: Settings) -> Task | None:
    """Return the task of that name if it only runs this flow, without parameters."""
    if path is None or not os.path.exists(os.path.join(settings.state_path, "tasks", f"{name}.json")):
        return None
    from scflows.cron.task import TaskStore

    try:
        task = TaskStore(settings).read(name)
    except ScflowsError:
        return None
    return task if task is not None and task.flow == path.file and not task.params else None
