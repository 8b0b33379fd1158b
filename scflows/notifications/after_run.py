"""After a run: its pings are sent, its hooks called, also those of runs that were found to have crashed."""

from __future__ import annotations

import os

from scflows.errors import ScflowsError, UsageError
from scflows.history.run import BAD, GOOD
from scflows.settings import RUN_LOG_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Literal

    from scflows.config import Config
    from scflows.flows.loader import FlowPath
    from scflows.flows.model import Flow
    from scflows.history.run import Run
    from scflows.notifications.incidents import Incident
    from scflows.notifications.payload import HookCall
    from scflows.settings import Settings

    #: Runs a hook: (path of the flow, its input, the task it is about, settings); what went wrong.
    Start = Callable[[str, dict[str, Any], str, Settings], str]


class RunNotifier:
    """What follows on one run. Nothing here raises or changes the run: `problems` says what went wrong."""

    def __init__(self, run: Run, settings: Settings, start: Start) -> None:
        self.run = run
        self.settings = settings
        self.problems: list[str] = []
        self._start = start
        self._pinging = 0
        self._own: Mapping[str, str] = {}
        self._folder = ""
        self._ping: Mapping[str, str] = {}
        self._config = self._read_config()
        self._shared: Mapping[str, str] = {} if self._config is None else self._config.hooks

    def settled(self, where: FlowPath | None, flow: Flow | None) -> None:
        """The run was found to have ended long ago; with the flow it ran, where that is known."""
        self._know(where, flow)
        self._tell(self._is_known())

    def alerted(self, where: FlowPath | None, flow: Flow | None, incident: Incident) -> None:
        """Something is wrong with the task that no run tells; the run stands for it, and may never have been."""
        self._know(where, flow)
        self._send_ping("failure", f"{self.run.task} {incident.kind}: {incident.message}")
        self._tell_of("on_failure", incident)

    def recovered(self, where: FlowPath | None, flow: Flow | None, incident: Incident) -> None:
        """That is over, as the run shows."""
        self._know(where, flow)
        self._tell_of("on_recovery", incident)

    def began(self, where: FlowPath | None = None, flow: Flow | None = None) -> None:
        """The run is about to begin with this flow; without one it is a command, or was refused."""
        self._know(where, flow)
        if self._ping.get("start") and self.run.is_reported:
            from scflows.notifications.pings import ping_aside

            try:
                self._pinging = ping_aside(self._ping["start"], self.run.id, self.run.task)
            except OSError as error:
                self.problems.append(f"ping at the start: {error.strerror}")

    def ended(self, is_known: bool = False) -> None:
        """The run has ended, is recorded, and its lock is free.

        `is_known`: it was told before that something is wrong with the task.
        """
        if self.run.is_reported and (self._own or self._shared):
            # First what happened first: a task that crashed before it went well again has failed, then recovered.
            record_crashes_and_notify(self.settings, self._start)
        self._tell(is_known)

    def _know(self, where: FlowPath | None, flow: Flow | None) -> None:
        if where is not None and flow is not None:
            self._own, self._folder = flow.hooks, where.folder
        self._ping = {
            **({} if self._config is None else self._config.ping),
            **({} if flow is None else flow.ping),
        }

    def _is_known(self) -> bool:
        from scflows.notifications.incidents import incident_of

        found = incident_of(self.settings, self.run.task)
        return found is not None and found.is_open

    def _tell_of(self, hook: str, incident: Incident) -> None:
        if not self._own and not self._shared:
            return
        from scflows.notifications.payload import hook_input, incident_values, named

        about = incident_values(incident, self.settings.timezone)
        # Where there was no run, there is none to name.
        nothing = {} if self.run.id else {"id": None, "started": None}
        for call in named([(hook, False), (hook, True)], self._own, self._shared):
            self._call(call, {**hook_input(self.run, None, hook, self.settings), **nothing, "incident": about})

    def _tell(self, is_known: bool) -> None:
        if not self.run.is_reported or self.run.status not in (*GOOD, *BAD):
            return
        if self._pinging:
            from scflows.notifications.pings import wait_for

            wait_for(self._pinging)
        self._send_ping(
            "success" if self.run.status in GOOD else "failure",
            f"{self.run.task} {self.run.status}: {self.run.message}",
        )
        if not self._own and not self._shared:
            return
        from scflows.notifications.payload import hook_input, hooks_to_call, previous_run

        previous = previous_run(self.run, self.settings)
        for call in hooks_to_call(self.run, previous, self._own, self._shared, is_known):
            self._call(call, hook_input(self.run, previous, call.hook, self.settings))

    def _call(self, call: HookCall, told: dict[str, Any]) -> None:
        try:
            path = call.path
            if not call.shared:
                from scflows.storage import inside

                # As for the flows that a flow runs, there is no way out of their folder.
                path = inside(self._folder, path)
            problem = self._start(path, told, self.run.task, self.settings)
        except (ScflowsError, OSError) as error:
            problem = str(error)
        if problem:
            self.problems.append(f"{call.hook} {call.path}: {problem}")

    def _send_ping(self, which: str, message: str) -> None:
        address = self._ping.get(which)
        if not address:
            return
        from scflows.history.run_values import log_tail
        from scflows.notifications.pings import ping

        body = ""
        if which == "failure":
            body = "\n".join([message, "", *self._tail(log_tail)])
        problem = ping(address, self.run.id or f"{self.run.task} {self.run.started}", self.run.task, body)
        if problem:
            self.problems.append(problem)

    def _tail(self, log_tail: Callable[[str, str], list[str]]) -> list[str]:
        return log_tail(self.run.log, self.run.id) if self.run.log else []

    @property
    def run_log_bytes(self) -> int:
        """How much the run may write into its log."""
        return RUN_LOG_BYTES if self._config is None else self._config.retention_of(self.run.task).run_log_bytes

    def _read_config(self) -> Config | None:
        """The settings of the workspace; None where there are none, or they are broken, which is told."""
        if not os.path.exists(self.settings.config_file):
            return None
        from scflows.config import read_config

        try:
            return read_config(self.settings)
        except UsageError as error:
            self.problems.append(str(error))
            return None


def record_crashes_and_notify(settings: Settings, start: Start) -> None:
    """End runs whose process died, and call the hooks of those that nobody called them for."""
    from scflows.history.crashes import record_crashes
    from scflows.history.store import ask

    if ask(settings, lambda store: record_crashes(store, settings), None) is not None:
        notify_crashed_runs(settings, start)


def notify_crashed_runs(settings: Settings, start: Start) -> list[str]:
    """Call the hooks of runs that were found crashed; what went wrong with them."""
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
        where, flow, used = _flow_of(run, settings)
        late = RunNotifier(run, used, start)
        late.settled(where, flow)
        problems += late.problems
    return problems


def _flow_of(run: Run, settings: Settings) -> tuple[FlowPath | None, Flow | None, Settings]:
    """The flow that a run of some time ago ran, and its settings; no flow where it cannot be found for sure."""
    from scflows.cron.task import TaskStore, task_settings
    from scflows.flows.loader import find_flow, load_flow
    from scflows.locks import holders, lock_name

    path = run.flow
    used = settings
    try:
        if os.path.exists(os.path.join(settings.state_path, "tasks", f"{run.task}.json")):
            task = TaskStore(settings).read(run.task)
            path = task.flow
            used = task_settings(task)
        if not path:
            return None, None, used
        where = find_flow(path, used)
        # Another workspace may have a flow of that name; the lock that was left behind knows which it was.
        left = [lock.name for lock in holders(used.lock_path) if lock.run == run.id]
        if left and left[0] not in (lock_name(where.file), run.task):
            return None, None, used
        return where, load_flow(where, used), used
    except (ScflowsError, OSError):
        return None, None, used
