"""A run that waited, once its turn has come: started in a process of its own, or ended since it must not start."""

from __future__ import annotations

import os

from scflows.cron.task import TaskStore
from scflows.entrance import LEFT, withdraw
from scflows.errors import NotFound, ScflowsError
from scflows.history.recorder import Recorder
from scflows.run import FAILED, QUEUED, SKIPPED
from scflows.settings import read_settings
from scflows.under_cron import bare_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scflows.admission import Turn
    from scflows.cron.task import Task
    from scflows.launch import Outcome
    from scflows.settings import Settings
    from scflows.ticket import Ticket, Waiting

    #: Says of a run that was started here how it ended: (task, outcome).
    Tell = Callable[[str, Outcome], None]


def run_in_turn(state: str, ticket: Ticket, what: Waiting, turn: Turn, tell: Tell) -> int:
    """Run it in this process, which has what was taken for it; the exit status."""
    from scflows.housekeeping import keep_house
    from scflows.launch import Request, launch

    try:
        task, settings = task_of(state, ticket.task)
    except NotFound:
        turn.held.leave()
        told = "the task was removed while it waited"
        withdraw(state, ticket, recorder_for(state, ticket.task), SKIPPED, "removed", told)
        return 0
    except ScflowsError as error:
        turn.held.leave()
        withdraw(state, ticket, recorder_for(state, ticket.task), FAILED, "refused", str(error))
        return 0
    if not task.enabled:
        turn.held.leave()
        withdraw(state, ticket, Recorder(settings), SKIPPED, "paused", "the task was paused while it waited")
        return 0
    outcome = launch(Request(task=task, trigger=what.trigger, slot=what.slot, waits=LEFT, turn=turn), settings)
    turn.held.leave()
    if outcome.run.status in (QUEUED, SKIPPED):
        return 0
    tell(task.name, outcome)
    keep_house(settings)
    return 0


def task_of(state: str, name: str) -> tuple[Task, Settings]:
    """A task and the settings it runs under. Raises ScflowsError."""
    task = TaskStore(bare_settings(state)).read(name)
    return task, read_settings(task.workspace, {**os.environ, **task.settings})


def recorder_for(state: str, task: str) -> Recorder:
    """Where the runs of a task are recorded; of one that cannot be read, where they are by the settings."""
    try:
        return Recorder(task_of(state, task)[1])
    except ScflowsError:
        return Recorder(bare_settings(state))
