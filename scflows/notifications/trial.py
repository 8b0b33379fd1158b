"""A trial of the notifications: call the hooks and pings as for a failure, once, and say what went wrong."""

from __future__ import annotations

import time

from scflows.cron.task import TaskStore, task_settings
from scflows.errors import UsageError
from scflows.history.run import FAILED, Run
from scflows.notifications.undelivered import Notification, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.notifications.undelivered import Start
    from scflows.settings import Settings

#: The task that a trial is about if none is named.
NAME = "test"
MESSAGE = "this is a test; no run has failed (flows notify test)"


def try_notifications(settings: Settings, start: Start, task: str = "") -> Iterator[tuple[str, str]]:
    """Call the `on_failure` hooks and the pings of `config.yml`, or of a task; yield each with what went wrong.

    After the failure ping follows the success ping, so that the service does not count the task as down. Raises
    NotFound for an unknown task, UsageError if there is nothing to call, FlowError.
    """
    from scflows.config import read_config
    from scflows.notifications.payload import configured_calls, hook_input

    own_hooks, pings, folder, flow_path = {}, {}, "", ""
    if task:
        found = TaskStore(settings).read(task)
        settings = task_settings(found)
        if found.flow:
            from scflows.flows.loader import find_flow, load_flow

            where = find_flow(found.flow, settings)
            flow = load_flow(where, settings)
            own_hooks, pings, folder, flow_path = flow.hooks, flow.ping, where.folder, where.written
    config = read_config(settings)
    pings = {**config.ping, **pings}
    now = time.time()
    run = Run("", flow_path, task or NAME, status=FAILED, reason="test", message=MESSAGE, started=now, ended=now)
    calls = configured_calls([("on_failure", False), ("on_failure", True)], own_hooks, config.hooks)
    notifications = []
    for call in calls:
        values = {**hook_input(run, None, call.hook, settings), "id": None}
        notifications.append(Notification(call.hook, run.task, call.path, values, "" if call.shared else folder))
    for which in ("failure", "success"):
        if pings.get(which):
            values = {"run": f"{run.task} {now}", "body": MESSAGE if which == "failure" else ""}
            notifications.append(Notification(f"ping {which}", run.task, pings[which], values))
    if not notifications:
        subject = f"task {task!r} and config.yml have" if task else "config.yml has"
        raise UsageError(
            f"{subject} no `on_failure` hook and no `ping`",
            f"add to {settings.config_file}, for example: on_failure: ops/notice.yml",
        )
    for each in notifications:
        yield each.title, send(each, settings, start)
