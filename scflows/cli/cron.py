"""Run tasks without a cron daemon; show what starts them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from scflows.cli.times import Moment, Seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.cli.output import Output
    from scflows.health.daemon import Status
    from scflows.settings import Settings


def run(
    ctx: typer.Context,
    max_parallel: Annotated[
        int | None, typer.Option(min=1, max=10000, help="Run at most N tasks at the same time (default: MAX_RUNS).")
    ] = None,
    grace: Annotated[str, typer.Option(help="How long running tasks may continue after SIGTERM.")] = "60s",
) -> None:
    """Start tasks when they are due, in the foreground.

    For containers and machines without cron. Reads the tabfile, and reads it again when it changes or on SIGHUP. On
    SIGTERM or Ctrl-C it starts no further tasks, waits for the running ones and exits with 0; a second signal stops
    the running tasks. A slot missed by at most five minutes is still run; an older one is recorded as skipped.
    """
    from scflows.cli.stream import ReaderGone
    from scflows.cli.times import parse_duration
    from scflows.health.daemon import second_scheduler
    from scflows.health.installation import Installation
    from scflows.scheduler.tick import serve

    out: Output = ctx.obj
    seconds = parse_duration(grace, "--grace")

    def report(text: str) -> None:
        try:
            out.line(text)
        except (ReaderGone, OSError):
            pass  # Tasks must start even if the output is no longer read.

    for text in _settle_zone(out.settings):
        out.warn(text)
    warning = second_scheduler(Installation(out.settings, out.settings.environment))
    if warning:
        out.warn(warning)
    serve(out.settings, report, out.warn, max_parallel, seconds)


def _settle_zone(settings: Settings) -> Iterator[str]:
    """Keep the zone of this process for the tasks, unless there is one already; yield how that differs."""
    import os

    from scflows.cron.machine_zone import find_zone, is_same_zone, keep_zone, kept_zone, use_zone

    own, stored = find_zone(settings, pid=os.getpid()), kept_zone(settings.state_path)
    if not stored:
        use_zone(own)
        try:
            keep_zone(settings, own)
        except OSError as error:
            yield f"{error.filename}: cannot be written: {error.strerror}; the time zone of the tasks is not kept"
    elif not is_same_zone(own, stored):
        yield f"tasks are due in the time zone {stored}, not in {own}; to change that, run beside it: flows repair"


def catch_up(
    ctx: typer.Context,
    max_parallel: Annotated[
        int | None, typer.Option(min=1, max=10000, help="Run at most N tasks at the same time (default: one per core).")
    ] = None,
) -> int:
    """Run missed slots of tasks with `catch_up` now.

    The oldest slot of each task comes first. This is usually not needed: runs do it when they end, and so does
    `flows cron run`.
    """
    from scflows.queue.worker_process import ensure_worker
    from scflows.scheduler.boot import catch_up
    from scflows.scheduler.process_host import ProcessHost

    out: Output = ctx.obj
    with ProcessHost() as host:
        count = catch_up(out.settings, host, lambda: ensure_worker(out.settings.state_path), max_parallel)
    out.say(_caught_up(count))
    return 0


def boot(
    ctx: typer.Context,
    after: Annotated[str, typer.Option(help="How long to wait before catching up.")] = "60s",
    state: Annotated[str, typer.Option(metavar="DIR", help="The state folder, if not the default one.")] = "",
) -> None:
    """Start boot tasks and catch up; run by the @reboot line.

    The crontab has this line while any task has `catch_up` or `cron: "@reboot"`. Boot tasks start immediately, once
    per boot. Then missed slots are recorded and reported, and run if `catch_up` says so. Errors are logged in
    scheduler.log.
    """
    from scflows.cli.times import parse_duration
    from scflows.scheduler.boot import start_after_boot

    out: Output = ctx.obj
    out.say(_caught_up(start_after_boot(state, parse_duration(after, "--after", may_be_zero=True))))


def _caught_up(count: int) -> str:
    return f"Caught up {count} missed slot{'' if count == 1 else 's'}."


def tick(
    ctx: typer.Context,
    state: Annotated[str, typer.Option(metavar="DIR", help="The state folder, if not the default one.")] = "",
) -> None:
    """Start everything that is due, and exit.

    Run every minute by the crontab line of one-line mode (--one-line). Tasks with their own crontab line are not
    started. At most MAX_RUNS runs are active. If the previous tick is still running, the new one exits and the
    previous one also handles the new minute. Errors are logged in scheduler.log.
    """
    from scflows.scheduler.tick import tick_here

    out: Output = ctx.obj
    tick_here(out.warn, state)


def status(ctx: typer.Context) -> int:
    """Show what starts tasks: `flows cron run` or the system's cron.

    Exits with 1 if neither is running.
    """
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
        out.hint("Start the system's cron, or run: flows cron run")
    return 0 if found.driver else 1


def _item(found: Status) -> dict[str, Any]:
    beat = found.heartbeat
    return {
        "driver": found.driver or None,
        "scheduler": {
            "pid": found.scheduler or None,
            "tick": None if beat is None else Moment(beat.tick),
            "running": list(found.running),
            "waiting": found.waiting,
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
            scheduler += f", last active {tick} ago, {len(found.running)} running, {found.waiting} waiting"
            scheduler += f" ({', '.join(found.running)})" if found.running else ""
    daemon = f"{found.daemon}, process {found.daemon_pid}" if found.daemon else "not running"
    return [
        ("driver", found.driver or "none: no tasks are started"),
        ("cron run", scheduler),
        ("cron", daemon),
        (
            "crontab",
            f"{found.program} ({found.implementation})"
            if found.program
            else "not used (CRONTAB_PROGRAM=none, or the program is not installed)",
        ),
        ("entries", f"{found.in_crontab} in the crontab, {found.in_tabfile} in the tabfile"),
    ]
