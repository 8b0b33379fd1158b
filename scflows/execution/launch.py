"""Run a flow here: lock, claim, fork, watch, record; or have it wait for its turn.

The parent keeps the lock, the deadline and the final record; the child runs the steps in its own process group.
So a hard limit, a stop, a C library that never returns and a crash all end in a true record.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field, replace

from scflows.errors import FlowError, ScflowsError, UsageError
from scflows.execution.admission import BLOCK, WAIT, AdmissionControl
from scflows.execution.resources import RunResources
from scflows.execution.supervisor import STOP_SIGNALS, Supervisor
from scflows.execution.workloads import CommandWorkload, FlowWorkload
from scflows.flows.loader import FlowPath, find_flow, load_flow
from scflows.history.recorder import Recorder
from scflows.history.run import CANCELLED, CATCH_UP, EXIT, FAILED, GOOD, HOOK, SUCCESS, Run, new_run_id
from scflows.history.task_log import TaskLog, log_path, scheduler_log, timestamp
from scflows.locks import Lock, current_process, lock_name
from scflows.notifications.after_run import RunNotifier

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from scflows.cron.task import Task
    from scflows.execution.journal import Journal
    from scflows.execution.resources import Grant
    from scflows.flows.model import Flow
    from scflows.queue.permits import Permit
    from scflows.settings import Settings


# Nobody compares or prints these two, and methods that are not made cost nothing at a start.
@dataclass(frozen=True, eq=False, repr=False)
class RunRequest:
    """What is asked of `launch`: a flow by its path, or a task."""

    flow: str = ""  #: as typed; empty when a task says which
    task: Task | None = None
    payload: Any = field(default_factory=dict)  #: becomes `__input__`
    params: dict[str, Any] = field(default_factory=dict)  #: over those of the task
    trigger: str = "manual"
    slot: float | None = None  #: the due time to answer for, seconds since the epoch
    again: bool = False  #: run also for a slot that has its run
    timeout: float | None = None  #: seconds, over those of task, flow and settings
    dry_run: bool = False
    force: bool = False  #: run steps though their target is there; go on from a run though its flow has changed
    resume: str = ""  #: the id of a run to go on from
    wants_data: bool = False  #: whether the caller needs the data; else it stays in the child
    about: str = ""  #: for a hook, the task whose run it tells of
    begins: float = 0.0  #: not before this time, in seconds since the epoch
    waits: str = ""  #: what it does when it cannot start at once, see `entrance`: LEFT, HERE, or neither
    turn: Grant | None = None  #: it has waited, and now it is its turn
    place: Permit | None = None  #: one that was taken for it


@dataclass(eq=False, repr=False)
class RunOutcome:
    """What became of a request."""

    run: Run
    data: dict[str, Any]
    problems: list[str]  #: what went wrong around the run: a log or a history that cannot be written
    mistakes: FlowError | UsageError | None = None  #: why the flow was refused


def launch(
    request: RunRequest, settings: Settings, tell: Callable[[str, dict[str, Any]], None] | None = None
) -> RunOutcome:
    """Run a flow, or record why it did not run.

    `tell` is called as it happens with `log` (a line), `step_started` and `step_ended` (a step record).
    Raises FlowError for a flow that somebody named and that is not there; any other end is in the outcome.
    """
    return _Launch(request, settings, tell).run()


def start_hook(path: str, told: dict[str, Any], about: str, settings: Settings) -> str:
    """Run a flow that is told of another's run; what went wrong with it, or nothing."""
    try:
        outcome = launch(RunRequest(flow=path, payload=told, trigger=HOOK, about=about), settings)
    except ScflowsError as error:
        return str(error)
    run = outcome.run
    return "" if run.status in GOOD else f"run {run.id} {run.status}: {run.message}"


class _Launch:
    def __init__(
        self, request: RunRequest, settings: Settings, tell: Callable[[str, dict[str, Any]], None] | None
    ) -> None:
        self.request = request
        self.settings = settings
        self.tell = tell
        self.recorder = Recorder(settings)
        self.record = Run(
            id=request.turn.run if request.turn is not None else new_run_id(),
            flow=request.flow,
            trigger=request.trigger,
            slot=request.slot,
            started=time.time(),
            dry_run=request.dry_run or bool(request.task and request.task.dry),
            holder=current_process(),
        )
        self.data: dict[str, Any] = {}
        self.mistakes: FlowError | UsageError | None = None
        self.log = TaskLog("")
        self.problems: list[str] = []
        self.journal: Journal | None = None
        self.where: FlowPath | None = None
        self.flow: Flow | None = None
        self.follow_up = RunNotifier(self.record, settings, start_hook)

    def run(self) -> RunOutcome:
        task = self.request.task
        where: FlowPath | None = None
        if task is not None:
            self.record.task = task.name
            self.record.flow = task.flow or " ".join(task.command)
        else:
            where = find_flow(self.request.flow, self.settings)
            self.record.flow = where.written
            self.record.task = _name_of(where)
        self._open_log()
        self._load(where)
        admission = self._admission(where)
        # From the claim to the final record a signal must not end this process: it waits, or stops the child.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            try:
                if not self._entrance(admission).enter(STOP_SIGNALS, self.request.turn):
                    return self._ended()
                self._start()
                self._tell_overlap(admission)
                if admission.problem:
                    self.log.warning(admission.problem)
                self._log_end()
                self.log.enforce_limit()
                self.recorder.finish(self.record)
            finally:
                if admission.problem:
                    self._problem(admission.problem)
                admission.give_up()
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            self.recorder.close()
            # Hooks go on in the place of the run they tell of.
            self.follow_up.notify_end(self._end_incident())
        finally:
            admission.leave()
        for problem in self.follow_up.problems:
            self.log.warning(problem)
            self._problem(problem)
        return self._ended()

    def _end_incident(self) -> bool:
        """Whether it was told already that something is wrong with the task; if the run ends that, it is told now."""
        if not os.path.exists(os.path.join(self.settings.state_path, "incidents", f"{self.record.task}.json")):
            return False
        from scflows.notifications.deliver import resolve_incident

        return resolve_incident(self.record, self.settings, start_hook)

    def _load(self, where: FlowPath | None) -> None:
        """Find and check the flow; what is wrong with it is told once the run has begun."""
        task = self.request.task
        if task is not None and task.command:
            return
        try:
            if where is None:
                # Nobody typed a task's path; its messages name the flow as its folder does.
                where = replace(find_flow(task.flow if task is not None else "", self.settings), typed="")
            self.where = where
            self.flow = load_flow(where, self.settings)
        except (FlowError, UsageError) as error:
            self.mistakes = error

    def _admission(self, where: FlowPath | None) -> RunResources:
        request, settings = self.request, self.settings
        lock = Lock(settings.lock_path, self._lock_name(where))
        admission = RunResources(self.record.id, lock, settings.state_path, self._setting("max_runs", 1))
        # A command only starts others, a hook tells of a run that has a place: they would wait for themselves.
        admission.needs_place = self.record.trigger != HOOK and not (request.task is not None and request.task.command)
        admission.place = request.place
        if request.turn is not None:
            admission.place, admission.mutexes = request.turn.place, request.turn.mutexes
            admission.problem = request.turn.problem
            admission.needs_place = admission.needs_place and not request.turn.is_beside
        return admission

    def _entrance(self, admission: RunResources) -> AdmissionControl:
        request, task, flow = self.request, self.request.task, self.flow
        longest = self._setting("max_wait_seconds", 0.0)
        entrance = AdmissionControl(self.record, admission, self.recorder, self.settings.state_path, longest)
        entrance.tell = lambda text: self._tell_waiting(text)
        # A rehearsal by hand takes no slot from the run that it rehearses.
        entrance.again = request.again or request.dry_run
        entrance.begins = request.begins
        entrance.waits = request.waits
        entrance.overlap = task.overlap if task is not None else flow.overlap if flow is not None else "skip"
        if self.record.trigger == CATCH_UP:
            entrance.overlap = WAIT  # Whatever began in the same moment answers for another slot.
            entrance.begins = 0.0  # Of those that wait it is no earlier one, though its slot is.
        if flow is not None:
            entrance.mutexes, entrance.priority = flow.mutex, flow.priority
            if self.record.trigger == HOOK and flow.mutex:
                entrance.waits = BLOCK
        return entrance

    def _setting(self, name: str, fallback: Any) -> Any:
        """A setting; one that cannot be is a mistake that the run is refused for."""
        try:
            return getattr(self.settings, name)
        except UsageError as error:
            self.mistakes = self.mistakes or error
            return fallback

    def _start(self) -> None:
        """Run in a child, if the flow is sound; every way it can end is in the record afterwards."""
        try:
            if self.mistakes is not None:
                raise self.mistakes
            body = self._body()
        except (FlowError, UsageError) as error:
            self.mistakes = error
            self.follow_up.notify_start()
            self._end(FAILED, "refused", str(error))
            self.log.error(str(error))
            return
        self.recorder.close()
        try:
            Supervisor(body, self.record, self.log, self.recorder, self.tell, self.request.wants_data, self.data).run()
        finally:
            if self.journal is not None:
                self.journal.close()

    def _body(self) -> Any:
        """What the child shall do. Raises FlowError or UsageError for what cannot be run."""
        task, where, flow = self.request.task, self.where, self.flow
        if task is not None and task.command:
            self._log_start(" ".join(task.command))
            self.follow_up.notify_start()
            limit = self.request.timeout or task.timeout or self.settings.timeout_seconds
            return CommandWorkload(task.command, self.settings, limit)
        assert where is not None
        assert flow is not None
        self.record.flow = where.written
        from scflows.execution.rerun import asked_of, begin_journal

        earlier = asked_of(self.request.resume, where, self.settings, self.request.force)
        params = {**(task.params if task is not None else {}), **self.request.params}
        if earlier is not None:
            data, params = earlier.data, earlier.params
            self.record.params = data.get("params", {})
        else:
            self.record.params = self._params(flow, params)
            data = self._first_data(flow)
        name = task.name if task is not None else ""
        is_kept = not self.record.dry_run
        self.journal = begin_journal(self.settings, self.record, where, name, params, data, is_kept, earlier)
        going_on = f", going on from run {earlier.run}" if earlier is not None else ""
        self._log_start(f"flow {where.written}{going_on}")
        self.follow_up.notify_start(where, flow)
        given = self.request.timeout or (task.timeout if task is not None else None)
        # What is given bounds the whole run, what the flow says bounds the flow; the setting is for who says nothing.
        limit = min(given or flow.timeout or self.settings.timeout_seconds, flow.timeout or float("inf"))
        return FlowWorkload(flow, data, self.settings, limit, self.journal, where.folder, self.request.force)

    def _params(self, flow: Flow, given: dict[str, Any]) -> dict[str, Any]:
        if not flow.params and not given:
            return {}
        from scflows.flows.parameters import convert

        payload = self.request.payload
        named = {name: payload[name] for name in flow.params if name in payload} if isinstance(payload, dict) else {}
        return convert(flow.params, {**named, **given})

    def _first_data(self, flow: Flow) -> dict[str, Any]:
        stamp, slot = _local_times(self.settings.timezone, self.record.started, self.record.slot)
        data: dict[str, Any] = {
            "__input__": self.request.payload,
            "__errors__": [],
            "__timestamp__": stamp,
            "__job_id__": self.record.id,
            "__flow_path__": flow.path,
            "__loop_index__": None,
            "__slot__": slot,
        }
        if flow.params or self.record.params:
            data["params"] = self.record.params
        return data

    def _tell_overlap(self, admission: RunResources) -> None:
        """Say for which run this one was stopped, if for one."""
        if self.record.status == CANCELLED:
            by = admission.stopped_for()
            if by:
                self.record.reason, self.record.message = "overlap", f"stopped for run {by}"

    def _tell_waiting(self, text: str) -> None:
        self.log.info(f"run {self.record.id} {text}")
        if self.tell is not None:
            self.tell("waits", {"message": text})

    def _end(self, status: str, reason: str, message: str) -> None:
        self.record.status = status
        self.record.reason = reason
        self.record.message = message
        self.record.ended = time.time()

    def _lock_name(self, where: FlowPath | None) -> str:
        """A task's name; a flow named by its path shares the lock of the task that stands for it alone."""
        if self.request.about and where is not None:
            # Two tasks that fail at once each have their notice: hooks wait for nobody, and none is skipped.
            return lock_name(f"{where.file}/about/{self.request.about}")
        task = self.request.task or _task_of(self.record.task, where, self.settings)
        if task is not None or where is None:
            return self.record.task
        return lock_name(where.file)

    def _open_log(self) -> None:
        task = self.request.task
        if task is not None and task.command:
            path = scheduler_log(self.settings.tasks_path)
        else:
            path = log_path(self.settings.tasks_path, self.record.task)
        tell = self.tell
        echo = None if tell is None else lambda line: tell("log", {"line": line})
        self.log = TaskLog(path, self.settings.log_level, echo, self.follow_up.run_log_bytes)
        if self.log.problem:
            self._problem(self.log.problem)
        else:
            self.record.log = path

    def _log_start(self, what: str) -> None:
        slot = f", slot {timestamp(self.record.slot)}" if self.record.slot is not None else ""
        dry = ", dry run" if self.record.dry_run else ""
        waited = f", after {self.record.waited:.0f} s of waiting" if self.record.waited >= 1 else ""
        self.log.info(f"run {self.record.id} started: {what}{slot}{dry}{waited}", echo=False)

    def _log_end(self) -> None:
        record = self.record
        told = f": {record.message}" if record.message else ""
        line = f"run {record.id} {record.status} after {record.took or 0:.1f} s{told}"
        if record.status in (SUCCESS, EXIT):
            self.log.info(line, echo=False)
        else:
            self.log.error(line)

    def _problem(self, text: str) -> None:
        self.problems.append(text)

    def _ended(self) -> RunOutcome:
        self.recorder.close()
        if self.recorder.problem:
            self._problem(self.recorder.problem)
        self.log.close()
        return RunOutcome(self.record, self.data, self.problems, self.mistakes)


def _name_of(where: FlowPath) -> str:
    from scflows.cron.task import task_name

    return task_name(where.file, where.folder)


def _task_of(name: str, where: FlowPath | None, settings: Settings) -> Task | None:
    """The task of that name, if all it does is to run this flow."""
    if where is None or not os.path.exists(os.path.join(settings.state_path, "tasks", f"{name}.json")):
        return None
    from scflows.cron.task import TaskStore

    try:
        task = TaskStore(settings).read(name)
    except ScflowsError:
        return None
    return task if task is not None and task.flow == where.file and not task.params else None


def _local_times(zone: str, started: float, slot: float | None) -> tuple[str, str]:
    """The start as 14 digits, the slot (else the start) as ISO 8601, both in a zone."""
    if zone == "UTC":
        stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime(started))
        return stamp, time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(started if slot is None else slot))
    from datetime import datetime
    from zoneinfo import ZoneInfo

    try:
        found = ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as error:
        raise UsageError(f"TIMEZONE {zone!r} is no time zone", "use a name such as Europe/Madrid") from error
    moment = datetime.fromtimestamp(started if slot is None else slot, found).replace(microsecond=0)
    return datetime.fromtimestamp(started, found).strftime("%Y%m%d%H%M%S"), moment.isoformat()
