"""A run that waited, once its turn has come: started in a process of its own, or ended since it must not start."""

from __future__ import annotations

from scflows.cron.task import TaskStore, task_settings
from scflows.errors import NotFound, ScflowsError
from scflows.execution.admission import CANCEL, ENQUEUE, SKIP, dequeue
from scflows.execution.resources import RunResources
from scflows.history.recorder import Recorder
from scflows.history.run import CANCELLED, CATCH_UP, FAILED, QUEUED, SKIPPED
from scflows.locks import Lock
from scflows.queue import files as backlog
from scflows.settings import bare_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scflows.cron.task import Task
    from scflows.execution.launch import RunOutcome
    from scflows.execution.resources import Grant
    from scflows.queue.entries import QueuedRun, QueueEntry
    from scflows.settings import Settings

    #: Says of a run that was started here how it ended: (task, outcome).
    Tell = Callable[[str, RunOutcome], None]


def run_queued(state: str, ticket: QueueEntry, what: QueuedRun, turn: Grant, tell: Tell) -> int:
    """Run it in this process, which has what was taken for it; the exit status."""
    from scflows.execution.launch import RunRequest, launch
    from scflows.scheduler.housekeeping import run_housekeeping

    try:
        task, settings = task_of(state, ticket.task)
    except NotFound:
        turn.held.leave()
        told = "the task was removed while it waited"
        dequeue(state, ticket, recorder_for(state, ticket.task), SKIPPED, "removed", told)
        return 0
    except ScflowsError as error:
        turn.held.leave()
        dequeue(state, ticket, recorder_for(state, ticket.task), FAILED, "refused", str(error))
        return 0
    if not task.enabled:
        turn.held.leave()
        dequeue(state, ticket, Recorder(settings), SKIPPED, "paused", "the task was paused while it waited")
        return 0
    outcome = launch(RunRequest(task=task, trigger=what.trigger, slot=what.slot, waits=ENQUEUE, turn=turn), settings)
    turn.held.leave()
    if outcome.run.status in (QUEUED, SKIPPED):
        return 0
    tell(task.name, outcome)
    run_housekeeping(settings)
    return 0


def task_of(state: str, name: str) -> tuple[Task, Settings]:
    """A task and the settings it runs under. Raises ScflowsError."""
    task = TaskStore(bare_settings(state)).read(name)
    return task, task_settings(task)


def recorder_for(state: str, task: str) -> Recorder:
    """Where the runs of a task are recorded; of one that cannot be read, where they are by the settings."""
    try:
        return Recorder(task_of(state, task)[1])
    except ScflowsError:
        return Recorder(bare_settings(state))


#: It waits on for its turn; it is recorded as skipped; an earlier one is about to start, and is to be met after that.
STAYS, SKIPS, LATER = "stays", "skips", "later"


def is_untried(ticket: QueueEntry, waiting: QueuedRun) -> bool:
    """Whether a run queued up only since it was too early, and is answered by `overlap` when its second comes."""
    return not waiting.why and not ticket.is_own and waiting.trigger != CATCH_UP


def earlier(ticket: QueueEntry, known: dict[str, QueuedRun], tickets: list[QueueEntry]) -> list[QueueEntry]:
    """Those of `tickets` that are of the same task and answer for an earlier time."""
    return [
        each
        for each in tickets
        # What makes up for a slot is not answered by another one's.
        if each.task == ticket.task
        and (each.at, each.run) < (ticket.at, ticket.run)
        and (each.name not in known or known[each.name].trigger != CATCH_UP)
    ]


def meet(
    state: str, ticket: QueueEntry, waiting: QueuedRun, before: list[QueueEntry], overlap: str, recorder: Recorder
) -> str:
    """What becomes of a run whose second has come: STAYS, SKIPS or LATER.

    `before` are those of its task that waited already. With `cancel` these are recorded as cancelled, and a run that
    goes on is told to stop.
    """
    admission = RunResources(ticket.run, Lock(waiting.lock_path, waiting.lock), state, waiting.most)
    goes_on = admission.other_in_words()
    if goes_on and overlap == SKIP:
        dequeue(state, ticket, recorder, SKIPPED, "locked", goes_on)
        return SKIPS
    for each in before:
        told = f"run {ticket.run} came in its stead"
        if overlap == CANCEL and dequeue(state, each, recorder, CANCELLED, "overlap", told):
            continue
        if not backlog.contains(state, each.run):
            continue
        if overlap != SKIP and not each.is_own:
            held = backlog.claim(state, each)
            if held is None:
                return LATER
            held.leave()
        told = f"run {each.run} of it waits for its turn already"
        dequeue(state, ticket, recorder, SKIPPED, "locked", told)
        return SKIPS
    if goes_on and overlap == CANCEL:
        admission.stop_other()
    return STAYS
