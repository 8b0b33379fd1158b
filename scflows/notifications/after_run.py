"""What follows a run: its pings and hooks, also for runs that were found to have crashed."""

from __future__ import annotations

import os

from scflows.errors import ScflowsError, UsageError
from scflows.history.run import BAD, GOOD, Run
from scflows.settings import LOG_BYTES, RUN_LOG_BYTES, TOTAL_BYTES, Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Literal

    from scflows.config import Config
    from scflows.flows.loader import FlowPath
    from scflows.flows.model import Flow
    from scflows.notifications.incidents import Incident
    from scflows.notifications.payload import HookCall
    from scflows.notifications.pings import Ping
    from scflows.notifications.undelivered import Start


class RunNotifier:
    """The pings and hooks of one run. It never raises or changes the run; `problems` says what went wrong."""

    def __init__(self, run: Run, settings: Settings, start: Start) -> None:
        self.run = run
        self.settings = settings
        self.problems: list[str] = []
        self._start = start
        self._start_ping: Ping | None = None
        self._own: Mapping[str, str] = {}
        self._folder = ""
        self._ping: Mapping[str, str] = {}
        self._config = self._read_config()
        self._shared: Mapping[str, str] = {} if self._config is None else self._config.hooks

    def notify_crash(self, where: FlowPath | None, flow: Flow | None) -> None:
        """Report a run that was found to have crashed earlier; `flow` is the one it ran, if known."""
        self._configure(where, flow)
        self._notify(self._has_open_incident())

    def notify_problem(self, where: FlowPath | None, flow: Flow | None, incident: Incident) -> None:
        """Report a problem of the task that no run reports; the notifier's run may never have existed."""
        self._configure(where, flow)
        self._send_ping("failure", f"{self.run.task} {incident.kind}: {incident.message}")
        self._call_incident_hooks("on_failure", incident)

    def notify_recovery(self, where: FlowPath | None, flow: Flow | None, incident: Incident) -> None:
        """Report that the run resolved an incident."""
        self._configure(where, flow)
        self._call_incident_hooks("on_recovery", incident)

    def notify_start(self, where: FlowPath | None = None, flow: Flow | None = None) -> None:
        """Report that the run is about to start; without a flow it is a command, or was refused."""
        self._configure(where, flow)
        # A folder is looked at every minute, and most of the time there is nothing to report.
        is_quiet = flow is not None and flow.is_folder
        if self._ping.get("start") and self.run.is_reported and not is_quiet:
            self._start_ping = self._begin_start_ping()

    def notify_end(self, has_incident: bool = False) -> None:
        """Report the end of the run, which is recorded and has released its lock.

        `has_incident`: a problem of the task was reported before.
        """
        if self.run.is_reported and (self._own or self._shared):
            # In the order of events: a task that crashed and then succeeded has failed, then recovered.
            record_crashes_and_notify(self.settings, self._start)
        self._notify(has_incident)

    def _configure(self, where: FlowPath | None, flow: Flow | None) -> None:
        if where is not None and flow is not None:
            self._own, self._folder = flow.hooks, where.folder
        self._ping = {
            **({} if self._config is None else self._config.ping),
            **({} if flow is None else flow.ping),
        }

    def _has_open_incident(self) -> bool:
        from scflows.notifications.incidents import incident_of

        found = incident_of(self.settings, self.run.task)
        return found is not None and found.is_open

    def _call_incident_hooks(self, hook: str, incident: Incident) -> None:
        if not self._own and not self._shared:
            return
        from scflows.notifications.payload import configured_calls, hook_input, incident_values

        values = incident_values(incident, self.settings.timezone)
        # Without a run, there is no id or start to report.
        without_run = {} if self.run.id else {"id": None, "started": None}
        for call in configured_calls([(hook, False), (hook, True)], self._own, self._shared):
            self._call(call, {**hook_input(self.run, None, hook, self.settings), **without_run, "incident": values})

    def _notify(self, has_incident: bool) -> None:
        if not self.run.is_reported or self.run.status not in (*GOOD, *BAD):
            return
        if self._start_ping is not None:
            # Its failure is not reported: that of the ping at the end says as much.
            self._start_ping.wait()
        self._send_ping(
            "success" if self.run.status in GOOD else "failure",
            f"{self.run.task} {self.run.status}: {self.run.message}",
        )
        if not self._own and not self._shared:
            return
        from scflows.notifications.payload import hook_input, hooks_to_call, previous_run

        previous = previous_run(self.run, self.settings)
        for call in hooks_to_call(self.run, previous, self._own, self._shared, has_incident):
            self._call(call, hook_input(self.run, previous, call.hook, self.settings))

    def _call(self, call: HookCall, values: dict[str, Any]) -> None:
        folder = "" if call.shared else self._folder
        self._deliver(call.hook, call.path, values, folder)

    def _send_ping(self, which: str, message: str) -> None:
        if not self._ping.get(which):
            return
        from scflows.history.run_values import log_tail

        body = ""
        if which == "failure":
            tail = log_tail(self.run.log, self.run.id) if self.run.log else []
            body = "\n".join([message, "", *tail])
        self._deliver(f"ping {which}", self._ping[which], {"run": self._ping_id, "body": body})

    def _deliver(self, kind: str, target: str, values: dict[str, Any], folder: str = "") -> None:
        from scflows.notifications.undelivered import Notification, deliver

        notification = Notification(kind, self.run.task, target, values, folder, self.run.log)
        problem = deliver(notification, self.settings, self._start)
        if problem:
            self.problems.append(problem)

    def _begin_start_ping(self) -> Ping | None:
        from scflows.notifications.pings import Ping

        try:
            return Ping(self._ping["start"], self._ping_id, self.run.task)
        except OSError as error:
            self.problems.append(f"ping start: {error.strerror}")
            return None

    @property
    def _ping_id(self) -> str:
        return self.run.id or f"{self.run.task} {self.run.started}"

    @property
    def run_log_bytes(self) -> int:
        """How much the run may write to its log."""
        return RUN_LOG_BYTES if self._config is None else self._config.retention_of(self.run.task).run_log_bytes

    @property
    def log_bytes(self) -> int:
        """How large the log of its task may be."""
        return LOG_BYTES if self._config is None else self._config.retention_of(self.run.task).log_bytes

    @property
    def total_bytes(self) -> int:
        """How large all run folders together may be."""
        return TOTAL_BYTES if self._config is None else self._config.retention.total_bytes

    def _read_config(self) -> Config | None:
        """Return the settings of the workspace; None if there are none or they are invalid, which is reported."""
        if not os.path.exists(self.settings.config_file):
            return None
        from scflows.config import read_config

        try:
            return read_config(self.settings)
        except UsageError as error:
            self.problems.append(str(error))
            return None


def record_crashes_and_notify(settings: Settings, start: Start) -> None:
    """Record runs whose process died as crashed, and call all pending hooks."""
    from scflows.history.crashes import record_crashes
    from scflows.history.store import ask

    if ask(settings, lambda store: record_crashes(store, settings), None) is not None:
        notify_crashed_runs(settings, start)


def notify_crashed_runs(settings: Settings, start: Start) -> list[str]:
    """Call the pending hooks of crashed runs and return what went wrong."""
    from operator import methodcaller

    from scflows.history.crashes import runs_with_pending_hooks
    from scflows.history.store import ask

    problems = []
    for id in runs_with_pending_hooks(settings):
        run: Run | Literal[False] | None = ask(settings, methodcaller("run", id), False)
        if run is False:
            break  # The hooks stay pending until the history can be read.
        if run is None:
            continue
        where, flow, task_settings = _flow_of(run, settings)
        notifier = RunNotifier(run, task_settings, start)
        notifier.notify_crash(where, flow)
        problems += notifier.problems
    return problems


def _flow_of(run: Run, settings: Settings) -> tuple[FlowPath | None, Flow | None, Settings]:
    """Return the flow that an earlier run ran, and its settings; no flow if it cannot be identified for certain."""
    from scflows.cron.task import TaskStore, task_settings
    from scflows.flows.loader import find_flow, load_flow
    from scflows.locks import holders, lock_family, lock_name

    path = run.flow
    own_settings = settings
    try:
        if os.path.exists(os.path.join(settings.state_path, "tasks", f"{run.task}.json")):
            task = TaskStore(settings).read(run.task)
            path = task.flow
            own_settings = task_settings(task)
        if not path:
            return None, None, own_settings
        where = find_flow(path, own_settings)
        # Another workspace may have a flow of that name; the lock that the run left behind identifies it.
        names = [lock_family(lock.name) for lock in holders(own_settings.lock_path) if lock.run == run.id]
        if names and names[0] not in (lock_name(where.file), run.task):
            return None, None, own_settings
        return where, load_flow(where, own_settings), own_settings
    except (ScflowsError, OSError):
        return None, None, own_settings
