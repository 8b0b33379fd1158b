"""Who starts the tasks: the crontab program, the system's cron, our own scheduler; and whether they do."""

from __future__ import annotations

import os
from dataclasses import dataclass

from scflows.cron.crontab.editor import block_left_alone
from scflows.cron.crontab.program import implementation
from scflows.cron.schedule.schedule import OVERDUE
from scflows.cron.scheduler_lock import last_heartbeat
from scflows.errors import ScflowsError
from scflows.health import FAIL, OK, SKIP, WARN, Finding, counted
from scflows.history.task_log import timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.cron.scheduler_lock import Heartbeat
    from scflows.cron.task import Task
    from scflows.health.installation import Installation
    from scflows.history.contract import RunStore
    from scflows.history.run import Run

RUN = "flows cron run"
START_ONE = "start the system's cron (service cron start), or: flows cron run"


@dataclass(frozen=True)
class Status:
    """Who drives the tasks. Times are seconds since the epoch."""

    driver: str  #: `flows cron run`, `cron`, or empty when nobody does
    scheduler: int  #: the process of `flows cron run`; 0 when it does not run
    heartbeat: Heartbeat | None  #: of that scheduler
    program: str  #: the crontab program, empty where there is none
    implementation: str
    daemon: str  #: the process of the system's cron, empty when it does not run
    daemon_pid: int
    in_crontab: int  #: entries of ours
    in_tabfile: int


def status(installation: Installation) -> Status:
    """Who drives the tasks. Raises Refused for a tabfile that cannot be read."""
    crontab, daemon, scheduler = installation.crontab, installation.daemon, installation.scheduler
    in_crontab = _in_crontab(installation)
    in_tabfile = len(installation.scheduled if installation.tabfile.tick else installation.entries)
    # A cron that has none of our tasks drives nothing, however alive it is.
    by_cron = daemon is not None and crontab is not None and (in_crontab > 0 or not in_tabfile)
    return Status(
        driver=RUN if scheduler is not None else "cron" if by_cron else "",
        scheduler=scheduler.pid if scheduler is not None else 0,
        heartbeat=_heartbeat(installation),
        program=crontab.program if crontab else "",
        implementation=implementation(crontab) if crontab else "",
        daemon=daemon.name if daemon else "",
        daemon_pid=daemon.pid if daemon else 0,
        in_crontab=in_crontab,
        in_tabfile=in_tabfile,
    )


def program(installation: Installation) -> Iterator[Finding]:
    """The program `crontab`: there, permitted, and whose."""
    crontab, account = installation.crontab, installation.account
    if crontab is None:
        left = block_left_alone(installation.settings)
        if left is not None:
            yield Finding(FAIL, "crontab", str(left), left.help or "")
        elif installation.scheduler is not None:
            yield Finding(
                SKIP, "crontab", "no crontab program; not needed, the scheduler of `flows cron run` is at work"
            )
        elif installation.environment.get("CRONTAB_PROGRAM") == "none":
            yield Finding(SKIP, "crontab", "CRONTAB_PROGRAM=none: `flows cron run` starts the tasks")
        else:
            help = "install cron (apt install cron), or run the tasks without it: flows cron run"
            yield Finding(WARN, "crontab", "there is no crontab program", help)
        return
    if not account.is_listed:
        told = f"user {account.name} is not in the system's list of users: cron starts nothing for it"
        yield Finding(FAIL, "crontab", told, "add the user to /etc/passwd, or: flows cron run")
    elif _shell(account.name).endswith(("nologin", "/false")):
        told = f"user {account.name} has no login shell: some systems keep cron from starting anything for it"
        yield Finding(WARN, "crontab", told, f"if nothing starts: chsh -s /bin/sh {account.name}")
    error = installation.crontab_error
    if error is not None:
        yield Finding(FAIL, "crontab", str(error), error.help or "")
        return
    by = f", become by {crontab.by} with sudo" if crontab.by else ""
    yield Finding(OK, "crontab", f"{crontab.program} ({implementation(crontab)}) for user {crontab.user}{by}")


def schedulers(installation: Installation) -> Iterator[Finding]:
    """Somebody starts the tasks, and only one does."""
    now, daemon, scheduler = installation.now, installation.daemon, installation.scheduler
    if scheduler is not None:
        named = f"`{RUN}` (process {scheduler.pid})"
        beat = _heartbeat(installation)
        silent = now - (beat.tick if beat is not None else scheduler.since)
        if silent > OVERDUE:
            told = f"{named} has not looked at the clock for {silent / 60:.0f} min"
            yield Finding(FAIL, "cron", told, f"stop it and start it again: kill {scheduler.pid}")
        else:
            doing = (
                f"; {counted(len(beat.running), 'task')} running, {beat.waiting} waiting" if beat is not None else ""
            )
            yield Finding(OK, "cron", f"{named} looked at the clock {max(0.0, silent):.0f} s ago{doing}")
        warning = second_scheduler(installation)
        if warning:
            yield Finding(WARN, "cron", warning, "stop one of them, so that it is plain who starts what")
    elif daemon is not None and installation.crontab is None and installation.scheduled:
        told = f"the system's cron is alive ({daemon.name}, process {daemon.pid}), and without a crontab has no tasks"
        is_meant = installation.environment.get("CRONTAB_PROGRAM") == "none"
        help = "start them with: flows cron run; or take CRONTAB_PROGRAM=none out and schedule again"
        if not is_meant:
            help = "install the program crontab and schedule again, or: flows cron run"
        yield Finding(FAIL, "cron", told, help)
    elif daemon is not None:
        yield Finding(OK, "cron", f"the system's cron is alive ({daemon.name}, process {daemon.pid})")
        yield from _tick(installation)
    elif installation.scheduled:
        yield Finding(
            FAIL, "cron", "neither the system's cron nor `flows cron run` is alive: no task starts", START_ONE
        )
    else:
        yield Finding(WARN, "cron", "neither the system's cron nor `flows cron run` is alive", START_ONE)


def _tick(installation: Installation) -> Iterator[Finding]:
    """The one line for all tasks has looked at the clock, if there is such a line."""
    if installation.tabfile.tick is None or not installation.scheduled:
        return
    beat = last_heartbeat(installation.settings)
    since = max(_changed(installation.settings.tabfile), installation.daemon.since if installation.daemon else 0.0)
    silent = installation.now - max(since, beat.tick if beat is not None else 0.0)
    if silent > OVERDUE:
        told = f"the one line for all tasks has not looked at the clock for {silent / 60:.0f} min"
        yield Finding(FAIL, "cron", told, "may cron start something? flows check --as-cron")


def slots(installation: Installation) -> Iterator[Finding]:
    """Check that the newest slot that was due has been seen."""
    from scflows.cron.task import TaskStore
    from scflows.history.contract import Query
    from scflows.history.store import ask, open_read_only
    from scflows.notifications.problems import late

    expected = _expected(installation)
    if not expected:
        if installation.scheduled:
            told = "too early to tell: no slot was due since the tasks were scheduled and cron and machine were started"
            yield Finding(SKIP, "slots", told)
        return
    slot, newest = expected[-1]
    now = installation.now

    def look(store: RunStore) -> tuple[list[Run], list[Task]]:
        started = [
            run for run in store.find(Query(since=slot - 60, limit=1000)) if run.trigger in ("cron", "scheduler")
        ]
        latest = store.latest(task.name for _, task in expected)
        files = TaskStore(installation.settings)
        return started, [task for _, task in expected if late(task, latest.get(task.name), store, now, files)]

    runs, behind = ask(installation.settings, look, ([], []), open_read_only)
    if not runs:
        told = f"no slot seen for {_ago(installation.now - slot)}: {newest.name} was due {timestamp(slot)}"
        help = "is cron alive, and may it start something? flows check --as-cron"
        yield Finding(FAIL, "slots", f"{told} and nothing started", help)
        return
    if behind:
        task = behind[0]
        due = next(due for due, each in expected if each is task)
        told = f"{counted(len(behind), 'task')} late while others start: {task.name} was due {timestamp(due)}"
        yield Finding(WARN, "slots", told, f"flows check --as-cron {task.name}")
        return
    last = runs[0].started
    yield Finding(OK, "slots", f"last start by cron {timestamp(last)}, {_ago(installation.now - last)} ago")


def second_scheduler(installation: Installation) -> str:
    """What is to be told when the system's cron has our tasks too; empty when it has not."""
    daemon = installation.daemon
    try:
        count = _in_crontab(installation)
    except ScflowsError:
        return ""
    if daemon is None or not count:
        return ""
    return (
        f"two schedulers: the system's cron ({daemon.name}, process {daemon.pid}) has {counted(count, 'task')} in the"
        " crontab as well; a slot is claimed once, so nothing runs twice"
    )


def _heartbeat(installation: Installation) -> Heartbeat | None:
    """The heartbeat of the scheduler that runs; None when it has only just begun."""
    beat, scheduler = last_heartbeat(installation.settings), installation.scheduler
    return beat if scheduler is not None and beat is not None and beat.pid == scheduler.pid else None


def _in_crontab(installation: Installation) -> int:
    """How many of our tasks live lines of the crontab start, in the block and outside."""
    from scflows.cron.crontab.line import TICK, parse_line

    parts = installation.parts
    found = [*(parse_line(line) for line in parts.lines or []), *parts.strays]
    ours = [entry for entry in found if entry is not None and entry not in installation.others]
    if any(entry.name == TICK for entry in ours):
        return len(installation.scheduled)
    return sum(entry.is_task for entry in ours)


def _expected(installation: Installation) -> list[tuple[float, Task]]:
    """The newest slot of each task that should have its start by now, the newest at the end."""
    from scflows.cron.task import TaskStore

    alive = [each.since for each in (installation.scheduler, installation.daemon) if each is not None]
    since = max(installation.booted, min(alive, default=0.0)) + 60
    files = TaskStore(installation.settings)
    found = []
    for task in installation.scheduled:
        slot = task.schedule.latest_epoch(installation.now - OVERDUE)
        # A task that was changed is not asked for slots from before.
        if slot is not None and slot > max(since, _changed(files.path(task.name))):
            found.append((float(slot), task))
    return sorted(found, key=lambda pair: (pair[0], pair[1].name))


def _changed(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def _shell(name: str) -> str:
    import pwd

    try:
        return pwd.getpwnam(name).pw_shell
    except KeyError:
        return ""


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
