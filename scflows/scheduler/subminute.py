"""Slots that are no full minutes: a process runs those of its minute one after another."""

from __future__ import annotations

from scflows.cron.schedule.schedule import MINUTE, STARTABLE
from scflows.execution.admission import ENQUEUE
from scflows.execution.launch import RunOutcome, RunRequest, launch
from scflows.history.recorder import Recorder
from scflows.history.run import BAD, CANCELLED, SKIPPED, Run, new_run_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scflows.cron.task import Task
    from scflows.settings import Settings


def run_subminute_slots(
    task: Task,
    minute: float,
    trigger: str,
    settings: Settings,
    now: Callable[[], float],
    wait: Callable[[float], None],
) -> RunOutcome | None:
    """Run a task for each of its slots in a minute, each at its second, never two at once.

    A run that takes longer than the interval has the slots that come meanwhile skipped. Returns the first outcome
    that is bad, else the last; None when nothing was due.
    """
    begun = ended = 0.0
    told: RunOutcome | None = None
    for slot in task.schedule.within(minute):
        if slot < task.begins <= now() or now() - slot > STARTABLE:
            continue
        if begun < slot < ended and task.overlap == "skip":
            _skip(task, slot, trigger, begun, ended, settings)
            continue
        # Should the clock be set back meanwhile, no minute lasts longer than one.
        wait(min(MINUTE, max(0.0, slot - now())))
        begun = now()
        outcome = launch(
            RunRequest(task=task, trigger=trigger, slot=float(slot), begins=float(slot), waits=ENQUEUE), settings
        )
        ended = now()
        if told is None or told.run.status not in BAD:
            told = outcome
        if outcome.run.status == CANCELLED:
            break  # Whoever stopped it does not want the next one at once.
    return told


def _skip(task: Task, slot: int, trigger: str, begun: float, ended: float, settings: Settings) -> None:
    run = Run(
        id=new_run_id(),
        flow=task.flow or " ".join(task.command),
        task=task.name,
        trigger=trigger,
        slot=float(slot),
        status=SKIPPED,
        reason="locked",
        message=f"the run before it took {ended - begun:.1f} s, longer than the interval of {task.schedule.every} s",
        started=ended,
        ended=ended,
        dry_run=task.dry,
    )
    recorder = Recorder(settings)
    recorder.skip(run)
    recorder.close()
