"""Put a run into the queue, take it out, and read what an entry asks for. The queue worker starts it."""

from __future__ import annotations

import os
import time

from scflows.cron.task import TaskStore
from scflows.errors import Busy, ScflowsError
from scflows.execution.admission import TURN, already_run, put_into_queue, queued_run
from scflows.execution.request import REQUEST_FIELDS, RunRequest, request_fields, run_lock_name
from scflows.flows.loader import find_flow, load_flow
from scflows.history.recorder import Recorder
from scflows.history.run import CATCH_UP, QUEUED, Run, new_run_id
from scflows.locks import RunLock
from scflows.queue.entries import LAST_RANK, QueuedRun, QueueEntry, claim_entry, read_queued_run
from scflows.queue.permits import wake_worker
from scflows.settings import Settings, bare_settings, read_settings

#: A catch-up run waits for as long as it takes, since all others come first: a year, in seconds.
CATCH_UP_SECONDS = 366 * 86400.0


class SlotTaken(Busy):
    """The slot has its run already."""


def enqueue(
    request: RunRequest,
    settings: Settings,
    recorder: Recorder | None = None,
    most: int | None = None,
    overlap: str | None = None,
    now: float | None = None,
) -> str:
    """Put a run of a task or a flow into the queue, record it as `queued` and return its id.

    - settings: those that the run has
    - recorder: of these settings, where many runs are enqueued; it stays open
    - most: how many permits there are for it (default: `MAX_RUNS`)
    - overlap: in place of that of the task or flow; empty: it waits for all other runs of its task

    Raises SlotTaken for a slot that has its run, FlowError for a flow that is not there or has mistakes, UsageError for
    settings that cannot be, and OSError where the queue cannot be written.
    """
    moment = time.time() if now is None else now
    task = request.task
    run = Run(new_run_id(moment), "", trigger=request.trigger, slot=request.slot, status=QUEUED, started=moment)
    run.dry_run = request.dry_run or bool(task and task.dry)
    run.workspace, run.asked_by = settings.home, request.by
    if task is not None:
        run.task, run.flow = task.name, task.flow or " ".join(task.command)
        mutexes, priority, rule = list(task.mutex), task.priority, task.overlap
        lock = RunLock(settings.lock_path, task.name, task.max_active_runs)
    else:
        where = find_flow(request.flow, settings)
        flow = load_flow(where, settings)
        run.task, run.flow = where.task, where.written
        mutexes, priority, rule = list(flow.mutex), flow.priority, flow.overlap
        lock_name = run_lock_name(request, where, run.task, settings)
        lock = RunLock(settings.lock_path, lock_name, flow.max_active_runs)
    rank, waits, rule = -priority, settings.max_wait_seconds, rule if overlap is None else overlap
    if run.trigger == CATCH_UP:
        rank, waits, rule = LAST_RANK, CATCH_UP_SECONDS, ""
    needed = 0 if task is not None and task.command else most or settings.max_runs
    run.message = f"waits for second {int(request.begins % 60)}" if request.begins > moment else f"waits for {TURN}"
    entry = QueueEntry(rank, round(request.begins or moment, 3), run.task, run.id)
    fields = request_fields(request, settings)
    queued = queued_run(run, request.begins, lock, needed, mutexes, rule, waits, "", fields, moment)
    mine = recorder or Recorder(settings)
    try:
        taken = put_into_queue(settings.state_path, entry, queued, run, mine, request.again or request.dry_run)
    finally:
        if recorder is None:
            mine.close()
    if taken is not None:
        raise SlotTaken(already_run(taken))
    wake_worker(settings.state_path)
    return run.id


def dequeue(state: str, entry: QueueEntry, recorder: Recorder, status: str, reason: str, message: str) -> bool:
    """Take a run out of the queue and record how it ended; False for one that is about to start."""
    held = claim_entry(state, entry)
    if held is None:
        return False
    queued = read_queued_run(state, entry)
    now = time.time()
    run = Run(entry.run, "", entry.task, status=status, reason=reason, message=message, started=now, ended=now)
    if queued is not None:
        run.trigger, run.slot, run.waited_for = queued.trigger, queued.slot, queued.why
        run.waited = max(0.0, now - queued.since)
    recorder.finish(run)
    held.remove()
    return True


def request_of(state: str, entry: QueueEntry, queued: QueuedRun) -> tuple[RunRequest, Settings]:
    """Return what an entry asks for, and the settings of its run. Raises ScflowsError; NotFound: the task is gone."""
    asked = {name: value for name, value in queued.request.items() if name in REQUEST_FIELDS}
    task = None
    if "workspace" in queued.request:
        settings = _flow_settings(state, queued)
    else:
        task = TaskStore(bare_settings(state)).read(entry.task)
        settings = read_settings(task.workspace, {**os.environ, **task.settings})
    return RunRequest(task=task, trigger=queued.trigger, slot=queued.slot, **asked), settings


def recorder_for(state: str, entry: QueueEntry, queued: QueuedRun | None) -> Recorder:
    """Return where the run of an entry is recorded; where its settings cannot be read, the usual history."""
    try:
        if queued is not None and "workspace" in queued.request:
            return Recorder(_flow_settings(state, queued))
        task = TaskStore(bare_settings(state)).read(entry.task)
        return Recorder(read_settings(task.workspace, {**os.environ, **task.settings}))
    except ScflowsError:
        return Recorder(bare_settings(state))


def _flow_settings(state: str, queued: QueuedRun) -> Settings:
    given, environment = queued.request, {"XDG_STATE_HOME": os.path.dirname(state)}
    return read_settings(given["workspace"], {**os.environ, **given.get("settings", {}), **environment})
