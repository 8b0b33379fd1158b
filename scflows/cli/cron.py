"""Run the tasks without a cron daemon; see who runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from scflows.cli.times import Moment, Seconds

if TYPE_CHECKING:
    from scflows.cli.output import Output
    from scflows.health.daemon import Status


def run(
    ctx: typer.Context,
    max_parallel: Annotated[
        int | None, typer.Option(min=1, max=10000, help="How many tasks run side by side; else MAX_RUNS.")
    ] = None,
    grace: Annotated[str, typer.Option(help="How long running tasks may go on when it is told to stop.")] = "60s",
) -> None:
    """Start the tasks at their times, here, in the foreground: for containers and machines without cron.

    It reads the same tabfile, and reads it again when it is changed or on SIGHUP. SIGTERM or Ctrl-C: starts nothing
    more, waits for what runs, ends with 0; the second time it asks the running tasks to stop. A slot that was missed
    by no more than five minutes is made up; an older one is in the history as skipped.
    """
    from scflows.cli.stream import ReaderGone
    from scflows.cli.times import parse_duration
    from scflows.health.daemon import second_scheduler
    from scflows.health.installation import Installation
    from scflows.scheduler.tick import serve

    out: Output = ctx.obj
    seconds = parse_duration(grace, "--grace")

    def tell(text: str) -> None:
        try:
            out.line(text)
        except (ReaderGone, OSError):
            pass  # The tasks are to be started also when nobody reads of it any more.

    warning = second_scheduler(Installation(out.settings, out.settings.environment))
    if warning:
        out.warn(warning)
    serve(out.settings, tell, out.warn, max_parallel, seconds)


def catch_up(
    ctx: typer.Context,
    max_parallel: Annotated[
        int | None, typer.Option(min=1, max=10000, help="How many tasks run side by side; else one for each core.")
    ] = None,
) -> int:
    """Make up now for the slots that are owed to tasks with `catch_up`.

    It is done by itself, by whoever ends a run; `flows cron run` does it on its own. Of each task the oldest slot
    comes first.
    """
    import os

    from scflows.scheduler.missed.catch_up import catch_up
    from scflows.scheduler.process_host import ProcessHost
    from scflows.scheduler.reconcile import catch_up_slots

    out: Output = ctx.obj
    places = max_parallel or len(os.sched_getaffinity(0))
    with ProcessHost() as world:
        made_up = catch_up(out.settings, lambda: catch_up_slots(out.settings), world, places, out.say, out.warn)
    out.say(f"made up for {made_up} slot{'' if made_up == 1 else 's'}")
    return 0


def boot(
    ctx: typer.Context,
    after: Annotated[str, typer.Option(help="How long to wait before: for the network, and for the clock.")] = "60s",
    state: Annotated[str, typer.Option(metavar="DIR", help="The state folder, where it is not the default one.")] = "",
) -> None:
    """See to the slots that were missed while the machine was off: what the crontab's @reboot line does.

    The line is there as long as some task has `catch_up`. Missed slots are recorded and told, and those that are owed
    are made up. What goes wrong is in scheduler.log.
    """
    from scflows.cli.times import parse_duration
    from scflows.scheduler.boot import catch_up_after_boot

    out: Output = ctx.obj
    made_up = catch_up_after_boot(state, parse_duration(after, "--after", may_be_none=True))
    out.say(f"made up for {made_up} slot{'' if made_up == 1 else 's'}")


def tick(
    ctx: typer.Context,
    state: Annotated[str, typer.Option(metavar="DIR", help="The state folder, where it is not the default one.")] = "",
) -> None:
    """Start what is due now, wait for it, end: what the crontab's one line for all tasks does each minute.

    Tasks with a crontab line of their own are left to that line. It starts as many side by side as `flows cron run`;
    what becomes due meanwhile it starts too, and a tick that finds another at work leaves its minute to that one. What
    goes wrong is in scheduler.log.
    """
    from scflows.scheduler.tick import tick_here

    out: Output = ctx.obj
    tick_here(out.warn, state)


def status(ctx: typer.Context) -> int:
    """Who starts the tasks: `flows cron run` or the system's cron. Ends with 1 when neither is alive."""
    from scflows.health.daemon import second_scheduler, status
    from scflows.health.installation import Installation

    out: Output = ctx.obj
    installation = Installation(out.settings, out.settings.environment)
    found = status(installation)
    if out.json:
        out.object(_item(found))
    else:
        for title, value in _lines(found, out):
            out.line(f"{title:<10} {value}" if out.is_terminal else f"{title}\t{value}")
    if found.scheduler:
        warning = second_scheduler(installation)
        if warning:
            out.warn(warning)
    if not found.driver:
        out.hint("start the system's cron, or: flows cron run")
    return 0 if found.driver else 1


def _item(found: Status) -> dict[str, Any]:
    beat = found.heartbeat
    return {
        "driver": found.driver or None,
        "scheduler": {
            "pid": found.scheduler or None,
            "tick": None if beat is None else Moment(beat.tick),
            "running": [] if beat is None else list(beat.running),
            "waiting": 0 if beat is None else beat.waiting,
        },
        "cron": {
            "program": found.program or None,
            "implementation": found.implementation or None,
            "daemon": found.daemon or None,
            "pid": found.daemon_pid or None,
            "entries": found.in_crontab,
        },
        "tabfile": {"entries": found.in_tabfile},
    }


def _lines(found: Status, out: Output) -> list[tuple[str, str]]:
    beat = found.heartbeat
    scheduler = "not running"
    if found.scheduler:
        scheduler = f"process {found.scheduler}"
        if beat is not None:
            tick = out.cell(Seconds(max(0.0, out.now - beat.tick)))
            scheduler += f", looked at the clock {tick} ago, {len(beat.running)} running, {beat.waiting} waiting"
            scheduler += f" ({', '.join(beat.running)})" if beat.running else ""
    daemon = f"{found.daemon}, process {found.daemon_pid}" if found.daemon else "not running"
    return [
        ("driver", found.driver or "none: no task starts"),
        ("cron run", scheduler),
        ("cron", daemon),
        (
            "crontab",
            f"{found.program} ({found.implementation})"
            if found.program
            else "not used, as CRONTAB_PROGRAM=none says, or there is no such program",
        ),
        ("entries", f"{found.in_crontab} in the crontab, {found.in_tabfile} in the tabfile"),
    ]
