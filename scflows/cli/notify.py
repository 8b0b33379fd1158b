"""Try the notifications."""

from __future__ import annotations

from typing import Annotated

import typer

from scflows.cli import completion
from scflows.cli.output import Output


def send_test(
    ctx: typer.Context,
    task: Annotated[
        str | None,
        typer.Argument(metavar="TASK", help="Also the hooks of this task's flow.", autocompletion=completion.tasks),
    ] = None,
) -> int:
    """Send a test notification.

    Calls the `on_failure` hooks and the pings of `config.yml` as if a run had failed. Exits with 1 if one of them
    fails.
    """
    from scflows.cli.times import Status
    from scflows.execution.launch import start_hook
    from scflows.notifications.trial import try_notifications

    out: Output = ctx.obj
    items = []
    for title, problem in try_notifications(out.settings, start_hook, task or ""):
        status = "failed" if problem else "success"
        items.append({"notification": title, "status": Status(status), "why": problem.removeprefix(f"{title}: ")})
    out.table({"NOTIFICATION": "notification", "STATUS": "status", "WHY": "why"}, items)
    return 1 if any(item["why"] for item in items) else 0
