"""Run a flow in this process: lock, claim, fork, supervise, record; or enqueue it.

The parent keeps the lock, enforces the limit and writes the final record; the child runs the steps in its own process
group. So the record is correct even after a hard limit, a stop, a crash or a C library that never returns.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace

from scflows.errors import FlowError, ScflowsError, UsageError
from scflows.execution.admission import BLOCK, WAIT, AdmissionControl
from scflows.execution.child import STOP_SIGNALS
from scflows.execution.request import RunOutcome, RunRequest, request_fields, run_lock_name
from scflows.execution.resources import RunResources
from scflows.execution.supervisor import Supervisor
from scflows.execution.workloads import CommandWorkload, FlowWorkload
from scflows.flows.loader import FlowPath, find_flow, load_flow
from scflows.history.growth import are_folders_too_large, limit_log
from scflows.history.recorder import Recorder
from scflows.history.run import CANCELLED, CATCH_UP, EXIT, FAILED, GOOD, HOOK, SUCCESS, UNCHANGED, Run, new_run_id
from scflows.history.task_log import TaskLog, log_path, scheduler_log, timestamp
from scflows.locks import RunLock, current_process
from scflows.notifications.after_run import RunNotifier

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from scflows.execution.journal import Journal
    from scflows.flows.model import Flow
    from scflows.settings import Settings


#: Seconds that a hook may take, and wait for a mutex, if its flow has no `timeout`: a hook that hangs must end.
HOOK_SECONDS = 300.0


def launch(
    request: RunRequest, settings: Settings, on_event: Callable[[str, dict[str, Any]], None] | None = None
) -> RunOutcome:
    """Run a flow, or record why it did not run.

    `on_event` is called with the events `flow` (the names of its steps), `log` (a line), `step_started` and
    `step_ended` (a step record), and `waits`.
    Raises FlowError if a flow given by its path does not exist; any other failure is in the outcome.
    """
    return _Launch(request, settings, on_event).run()


def start_hook(path: str, payload: dict[str, Any], about: str, settings: Settings) -> str:
    """Run a hook flow with the record of another run; return its error, or an empty text."""
    try:
        outcome = launch(RunRequest(flow=path, payload=payload, trigger=HOOK, about=about), settings)
    except ScflowsError as error:
        return str(error)
    run = outcome.run
    return "" if run.status in GOOD else f"run {run.id} {run.status}: {run.message}"


class _Launch:
    def __init__(
        self, request: RunRequest, settings: Settings, on_event: Callable[[str, dict[str, Any]], None] | None
    ) -> None:
        self.request = request
        self.settings = settings
        self.on_event = on_event
        self.recorder = Recorder(settings)
        self.record = Run(
            id=request.grant.resources.run if request.grant is not None else new_run_id(),
            flow=request.flow,
            trigger=request.trigger,
            slot=request.slot,
            started=time.time(),
            dry_run=request.dry_run or bool(request.task and request.task.dry),
            holder=current_process(),
            workspace=settings.home,
            asked_by=request.by,
        )
        self.data: dict[str, Any] = {}
        self.mistakes: FlowError | UsageError | None = None
        self.log = TaskLog("")
        self.problems: list[str] = []
        self.journal: Journal | None = None
        self.path: FlowPath | None = None
        self.flow: Flow | None = None
        self._held_line = ""  #: the first line of the log, until there is work
        self.follow_up = RunNotifier(self.record, settings, start_hook)

    def run(self) -> RunOutcome:
        task = self.request.task
        path: FlowPath | None = None
        if task is not None:
            self.record.task = task.name
            self.record.flow = task.flow or " ".join(task.command)
        else:
            path = find_flow(self.request.flow, self.settings)
            self.record.flow = path.written
            self.record.task = path.task
        self._load(path)
        self._open_log()
        resources = self._resources(path)
        # From the claim to the final record signals are blocked or stop the child, but never end this process.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            try:
                if not self._admission(resources).enter(STOP_SIGNALS, self.request.grant):
                    return self._ended()
                self._start()
                self._record_overlap(resources)
                if resources.problem:
                    self.log.warning(resources.problem)
                self._log_end()
                self.log.enforce_limit()
                self.recorder.finish(self.record)
            finally:
                if resources.problem:
                    self._problem(resources.problem)
                resources.release_locks()
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            self.recorder.close()
            # Before pings and hooks: one that hangs must not keep another run from starting.
            resources.leave()
            self.follow_up.notify_end(self._report_end_of_incident())
        finally:
            resources.leave()
        for problem in self.follow_up.problems:
            self.log.warning(problem)
            self._problem(problem)
        return self._ended()

    def _report_end_of_incident(self) -> bool:
        """Return True if there was an incident of the task; if the run ends it, its end is reported now."""
        if not os.path.exists(os.path.join(self.settings.state_path, "incidents", f"{self.record.task}.json")):
            return False
        from scflows.notifications.deliver import resolve_incident

        return resolve_incident(self.record, self.settings, start_hook)

    def _load(self, path: FlowPath | None) -> None:
        """Find and check the flow; mistakes are reported once the run has started."""
        task = self.request.task
        if task is not None and task.command:
            return
        try:
            if path is None:
                # The path of a task was not typed, so messages show it relative to the flows folder.
                path = replace(find_flow(task.flow if task is not None else "", self.settings), typed="")
            self.path = path
            flow = load_flow(path, self.settings)
            if flow.is_folder and not path.is_config:
                folder = os.path.dirname(path.file)
                raise UsageError(f"{path.written} has the jobs of a working folder", f"run: flows folders run {folder}")
            self.flow = flow
        except (FlowError, UsageError) as error:
            self.mistakes = error

    def _resources(self, path: FlowPath | None) -> RunResources:
        request, settings = self.request, self.settings
        most = self._setting("max_runs", 1)
        if request.grant is not None:
            return request.grant.resources
        name = run_lock_name(request, path, self.record.task, settings)
        lock = RunLock(settings.lock_path, name, self._max_active_runs())
        resources = RunResources(self.record.id, lock, settings.state_path, most)
        resources.zone = settings.timezone
        # A command starts other runs, and a hook belongs to a run with a permit: they would wait for themselves.
        resources.needs_permit = self.record.trigger != HOOK and not (request.task is not None and request.task.command)
        return resources

    def _max_active_runs(self) -> int:
        task = self.request.task
        if task is not None:
            return task.max_active_runs
        return self.flow.max_active_runs if self.flow is not None else 1

    def _admission(self, resources: RunResources) -> AdmissionControl:
        request, task, flow = self.request, self.request.task, self.flow
        longest, is_hook = self._setting("max_wait_seconds", 0.0), self.record.trigger == HOOK
        if is_hook:
            longest = min(longest, HOOK_SECONDS)
        admission = AdmissionControl(self.record, resources, self.recorder, self.settings.state_path, longest)
        if is_hook and longest == HOOK_SECONDS:
            admission.limit = "a hook may"
        admission.report = lambda text: self._report_waiting(text)
        # A manual dry run does not use up the slot of the real run.
        admission.again = request.again or request.dry_run
        admission.begins = request.begins
        admission.waits = request.waits
        admission.request = lambda: request_fields(request, self.settings)
        admission.overlap = task.overlap if task is not None else flow.overlap if flow is not None else "skip"
        if self.record.trigger == CATCH_UP:
            admission.overlap = WAIT  # A run that started in the meantime is for another slot.
        if flow is not None:
            admission.mutexes, admission.priority = flow.mutex, flow.priority
            if is_hook and flow.mutex:
                admission.waits = BLOCK
        return admission

    def _setting(self, name: str, fallback: Any) -> Any:
        """Return a setting; an invalid value is recorded as a mistake, for which the run fails."""
        try:
            return getattr(self.settings, name)
        except UsageError as error:
            self.mistakes = self.mistakes or error
            return fallback

    def _start(self) -> None:
        """Run a valid flow in a child and put its end into the record."""
        try:
            if self.mistakes is not None:
                raise self.mistakes
            workload = self._workload()
        except (FlowError, UsageError) as error:
            self.mistakes = error
            self.follow_up.notify_start()
            self._end(FAILED, "refused", str(error))
            self.log.error(str(error))
            return
        self.recorder.close()
        if self.on_event is not None and self.flow is not None:
            self.on_event("flow", {"steps": [step.name for step in self.flow.steps]})
        supervisor = Supervisor(
            workload, self.record, self.log, self.recorder, self.on_event, self.request.wants_data, self.data
        )
        try:
            supervisor.run()
        finally:
            if supervisor.has_begun:
                self._held_line = ""
            elif self._held_line and self.record.reason == UNCHANGED and not self.record.dry_run:
                self.record.count = 1
            if self.journal is not None:
                self.journal.close()
            if self.record.count:
                from scflows.history.journal_file import remove_journal

                remove_journal(self.settings, self.record.id)

    def _workload(self) -> Any:
        """Return the work for the child. Raises FlowError or UsageError for a request that cannot run."""
        task, path, flow = self.request.task, self.path, self.flow
        if task is not None and task.command:
            self._log_start(" ".join(task.command))
            self.follow_up.notify_start()
            limit = self.request.timeout or task.timeout or self.settings.timeout_seconds
            return CommandWorkload(task.command, self.settings, limit)
        assert path is not None
        assert flow is not None
        self.record.flow = path.written
        from scflows.execution.rerun import input_to_resume, start_journal

        earlier = input_to_resume(self.request.resume, path, self.settings, self.request.force)
        params = {**(task.params if task is not None else {}), **self.request.params}
        if earlier is not None:
            data, params = earlier.data, earlier.params
            self.record.params = data.get("params", {})
        else:
            self.record.params = self._params(flow, params)
            data = self._first_data(flow)
        name = task.name if task is not None else ""
        is_durable = not self.record.dry_run
        self.journal = start_journal(self.settings, self.record, path, name, params, data, is_durable, earlier)
        resumed = f", resuming run {earlier.run}" if earlier is not None else ""
        subject = f"flow {path.written}{resumed}"
        if flow.is_folder:
            self._held_line = self._first_line(subject)
        else:
            self._log_start(subject)
        self.follow_up.notify_start(path, flow)
        limit_given = self.request.timeout or (task.timeout if task is not None else None)
        # The given limit applies to the run and the flow's own to the flow; the setting is the default for both.
        usual = self.settings.timeout_seconds
        if self.record.trigger == HOOK:
            usual = min(usual, HOOK_SECONDS)
        limit = min(limit_given or flow.timeout or usual, flow.timeout or float("inf"))
        arguments = data, self.settings, limit, self.journal, path.folder, self.request.force, self.record.id
        if not flow.is_folder:
            return FlowWorkload(flow, *arguments)
        from scflows.execution.folder_workload import FolderWorkload, chosen_jobs

        work = FolderWorkload(chosen_jobs(flow, self.record.params), *arguments)
        work.first_line, work.task = self._held_line, self.record.task
        work.jobs = tuple(step.name for step in flow.steps)
        return work

    def _params(self, flow: Flow, given: dict[str, Any]) -> dict[str, Any]:
        if not given and (not flow.params or flow.is_folder):
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
            "__run_folder__": f"runs/{self.record.id}",
            "__slot__": slot,
        }
        if (flow.params and not flow.is_folder) or self.record.params:
            data["params"] = self.record.params
        return data

    def _record_overlap(self, resources: RunResources) -> None:
        """Record which run this one was stopped for, if any."""
        if self.record.status == CANCELLED:
            by = resources.stopped_for()
            if by:
                self.record.reason, self.record.message = "overlap", f"stopped for run {by}"

    def _report_waiting(self, text: str) -> None:
        self.log.info(f"run {self.record.id} {text}")
        if self.on_event is not None:
            self.on_event("waits", {"message": text})

    def _end(self, status: str, reason: str, message: str) -> None:
        self.record.status = status
        self.record.reason = reason
        self.record.message = message
        self.record.ended = time.time()

    def _open_log(self) -> None:
        task = self.request.task
        if task is not None and task.command:
            path = scheduler_log(self.settings.tasks_path)
        else:
            run = self.record.id if self._max_active_runs() > 1 else ""
            path = log_path(self.settings.tasks_path, self.record.task, run)
        on_event = self.on_event
        echo = None if on_event is None else lambda line: on_event("log", {"line": line})
        self.log = TaskLog(path, self.settings.log_level, echo, self.follow_up.run_log_bytes, self.settings.timezone)
        if self.log.problem:
            self._problem(self.log.problem)
        else:
            self.record.log = path

    def _log_start(self, subject: str) -> None:
        self.log.info(self._first_line(subject), echo=False)

    def _first_line(self, subject: str) -> str:
        slot = f", slot {timestamp(self.record.slot, self.settings.timezone)}" if self.record.slot is not None else ""
        dry = ", dry run" if self.record.dry_run else ""
        waited = f", after waiting {self.record.waited:.0f} s" if self.record.waited >= 1 else ""
        return f"run {self.record.id} started: {subject}{slot}{dry}{waited}"

    def _log_end(self) -> None:
        record = self.record
        if self._held_line:
            if record.reason == UNCHANGED:
                return  # A folder without work: thousands of lines would hide the others.
            self.log.info(self._held_line, echo=False)
        message = f": {record.message}" if record.message else ""
        line = f"run {record.id} {record.status} after {record.took or 0:.1f} s{message}"
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
        if self.record.log:
            limit_log(self.record.log, self.follow_up.log_bytes)
        if are_folders_too_large(self.settings, self.record.id, self.follow_up.total_bytes):
            from scflows.history.retention import shrink_folders

            shrink_folders(self.settings, self.follow_up.total_bytes)
        return RunOutcome(self.record, self.data, self.problems, self.mistakes)


def _local_times(zone: str, started: float, slot: float | None) -> tuple[str, str]:
    """Return the start as 14 digits and the slot (otherwise the start) as ISO 8601, both in the given zone."""
    if zone == "UTC":
        stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime(started))
        return stamp, time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(started if slot is None else slot))
    from datetime import datetime
    from zoneinfo import ZoneInfo

    try:
        found = ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as error:
        raise UsageError(f"TIMEZONE {zone!r} is not a valid time zone", "use a name such as Europe/Madrid") from error
    moment = datetime.fromtimestamp(started if slot is None else slot, found).replace(microsecond=0)
    return datetime.fromtimestamp(started, found).strftime("%Y%m%d%H%M%S"), moment.isoformat()
