"""Check what starts the tasks: the crontab program, the system's cron and our own scheduler."""

from __future__ import annotations

import os
from dataclasses import dataclass

from scflows.cron.crontab.editor import abandoned_block
from scflows.cron.crontab.program import implementation
from scflows.cron.daemon import find_daemon
from scflows.cron.schedule.schedule import OVERDUE
from scflows.cron.scheduler_lock import Heartbeat, last_heartbeat, scheduler
from scflows.errors import ScflowsError
from scflows.health import FAIL, OK, SKIP, WARN, Finding, counted
from scflows.history.run import latest_start
from scflows.history.task_log import timestamp
from scflows.locks import holders
from scflows.queue.entries import entry_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.cron.task import Task
    from scflows.health.installation import Installation
    from scflows.history.contract import RunStore
    from scflows.history.run import Run
    from scflows.settings import Settings

RUN = "flows cron run"
START_ONE = "start the system's cron (service cron start), or: flows cron run"


@dataclass(frozen=True)
class Status:
    """What starts the tasks. Times are seconds since the epoch."""

    driver: str  #: `flows cron run`, `cron`, or empty if nothing starts them
    scheduler: int  #: the process id of `flows cron run`; 0 if it is not running
    heartbeat: Heartbeat | None  #: of that scheduler
    running: tuple[str, ...]  #: the tasks and flows that run, while that scheduler is running
    waiting: int  #: the runs in the queue, while that scheduler is running
    program: str  #: the crontab program; empty if there is none
    implementation: str
    daemon: str  #: the process name of the system's cron; empty if it is not running
    daemon_pid: int
    in_crontab: int  #: how many tasks the crontab starts
    in_tabfile: int


def status(installation: Installation) -> Status:
    """Return what starts the tasks. Raise Refused for a tabfile that cannot be read."""
    crontab, daemon, scheduler = installation.crontab, installation.daemon, installation.scheduler
    in_crontab = _in_crontab(installation)
    in_tabfile = len(installation.scheduled if installation.tabfile.tick else installation.entries)
    if installation.tabfile.boot and not installation.tabfile.tick:
        in_tabfile += len(installation.boot_tasks)
    # A running cron without our tasks does not drive them.
    by_cron = daemon is not None and crontab is not None and (in_crontab > 0 or not in_tabfile)
    return Status(
        driver=RUN if scheduler is not None else "cron" if by_cron else "",
        scheduler=scheduler.pid if scheduler is not None else 0,
        heartbeat=_heartbeat(installation),
        running=_running(installation) if scheduler is not None else (),
        waiting=len(entry_names(installation.settings.state_path)) if scheduler is not None else 0,
        program=crontab.program if crontab else "",
        implementation=implementation(crontab) if crontab else "",
        daemon=daemon.name if daemon else "",
        daemon_pid=daemon.pid if daemon else 0,
        in_crontab=in_crontab,
        in_tabfile=in_tabfile,
    )


def is_nothing_running(settings: Settings, proc: str = "/proc", run: str = "/run") -> bool:
    """Return whether neither the system's cron nor `flows cron run` is running."""
    return scheduler(settings) is None and find_daemon(proc, run) is None


def program(installation: Installation) -> Iterator[Finding]:
    """Check the program `crontab`: installed, permitted, and for which user."""
    crontab, account = installation.crontab, installation.account
    if crontab is None:
        refusal = abandoned_block(installation.settings)
        if refusal is not None:
            yield Finding(FAIL, "crontab", str(refusal), refusal.help or "")
        elif installation.scheduler is not None:
            yield Finding(SKIP, "crontab", "no crontab program; not needed while `flows cron run` is running")
        elif installation.environment.get("CRONTAB_PROGRAM") == "none":
            yield Finding(SKIP, "crontab", "CRONTAB_PROGRAM=none: `flows cron run` starts the tasks")
        else:
            help = "install cron (apt install cron), or run the tasks without it: flows cron run"
            yield Finding(WARN, "crontab", "no crontab program is installed", help)
        return
    if not account.is_listed:
        text = f"user {account.name} is not in the system's user database, so cron starts nothing for it"
        yield Finding(FAIL, "crontab", text, "add the user to /etc/passwd, or run: flows cron run")
    elif _shell(account.name).endswith(("nologin", "/false")):
        text = f"user {account.name} has no login shell: on some systems cron starts nothing for such users"
        yield Finding(WARN, "crontab", text, f"if nothing starts: chsh -s /bin/sh {account.name}")
    error = installation.crontab_error
    if error is not None:
        yield Finding(FAIL, "crontab", str(error), error.help or "")
        return
    by = f" ({crontab.by} with sudo)" if crontab.by else ""
    yield Finding(OK, "crontab", f"{crontab.program} ({implementation(crontab)}) for user {crontab.user}{by}")


def schedulers(installation: Installation) -> Iterator[Finding]:
    """Check that exactly one scheduler starts the tasks."""
    now, daemon, scheduler = installation.now, installation.daemon, installation.scheduler
    if scheduler is not None:
        title = f"`{RUN}` (process {scheduler.pid})"
        beat = _heartbeat(installation)
        silent = now - (beat.tick if beat is not None else scheduler.since)
        if silent > OVERDUE:
            text = f"{title} has been inactive for {silent / 60:.0f} min"
            yield Finding(FAIL, "cron", text, f"restart it; stop it with: kill {scheduler.pid}")
        else:
            waiting = len(entry_names(installation.settings.state_path))
            counts = f"; {counted(len(_running(installation)), 'task')} running, {waiting} waiting"
            yield Finding(OK, "cron", f"{title} was active {max(0.0, silent):.0f} s ago{counts}")
        warning = second_scheduler(installation)
        if warning:
            yield Finding(WARN, "cron", warning, "stop one of them")
    elif daemon is not None and installation.crontab is None and installation.scheduled:
        text = f"the system's cron is running ({daemon.name}, process {daemon.pid}), but there is no crontab program"
        text += " to give it the tasks"
        is_disabled = installation.environment.get("CRONTAB_PROGRAM") == "none"
        help = "start them with: flows cron run; or remove CRONTAB_PROGRAM=none and run: flows repair"
        if not is_disabled:
            help = "install the program crontab and run: flows repair; or run: flows cron run"
        yield Finding(FAIL, "cron", text, help)
    elif daemon is not None:
        yield Finding(OK, "cron", f"the system's cron is running ({daemon.name}, process {daemon.pid})")
        yield from _tick(installation)
    elif installation.scheduled:
        yield Finding(
            FAIL, "cron", "neither the system's cron nor `flows cron run` is running: no tasks are started", START_ONE
        )
    else:
        yield Finding(WARN, "cron", "neither the system's cron nor `flows cron run` is running", START_ONE)


def _tick(installation: Installation) -> Iterator[Finding]:
    """Check that the single crontab line for all tasks is active, if there is one."""
    if installation.tabfile.tick is None or not installation.scheduled:
        return
    beat = last_heartbeat(installation.settings)
    since = max(_changed(installation.settings.tabfile), installation.daemon.since if installation.daemon else 0.0)
    silent = installation.now - max(since, beat.tick if beat is not None else 0.0)
    if silent > OVERDUE:
        text = f"the single crontab line for all tasks has not run for {silent / 60:.0f} min"
        yield Finding(FAIL, "cron", text, "find out whether cron can start tasks: flows check --as-cron")


def slots(installation: Installation) -> Iterator[Finding]:
    """Check that the newest slot that was due has been seen."""
    from scflows.cron.task import TaskStore
    from scflows.history.contract import Query
    from scflows.history.store import ask, open_read_only
    from scflows.notifications.problems import late

    expected = _expected(installation)
    if not expected:
        if installation.scheduled:
            yield Finding(SKIP, "slots", "nothing has been due yet since the tasks were scheduled and cron started")
        return
    slot, newest = expected[-1]
    now, zone = installation.now, installation.settings.timezone

    def look(store: RunStore) -> tuple[list[Run], list[Task]]:
        started = [
            run
            for run in store.find(Query(since=slot - 60, until=latest_start(now), limit=1000))
            if run.trigger in ("cron", "scheduler")
        ]
        latest = store.latest((task.name for _, task in expected), latest_start(now))
        files = TaskStore(installation.settings)
        return started, [task for _, task in expected if late(task, latest.get(task.name), store, now, files)]

    runs, behind = ask(installation.settings, look, ([], []), open_read_only)
    if not runs:
        text = f"no runs for {_ago(installation.now - slot)}: {newest.name} was due {timestamp(slot, zone)}"
        help = "find out whether cron can start tasks: flows check --as-cron"
        yield Finding(FAIL, "slots", f"{text} and nothing started", help)
        return
    if behind:
        task = behind[0]
        due = next(due for due, each in expected if each is task)
        text = f"{counted(len(behind), 'task')} late while others start: {task.name} was due {timestamp(due, zone)}"
        yield Finding(WARN, "slots", text, f"flows check --as-cron {task.name}")
        return
    last = runs[0].started
    yield Finding(OK, "slots", f"last start by cron {timestamp(last, zone)}, {_ago(installation.now - last)} ago")


def second_scheduler(installation: Installation) -> str:
    """Return a warning if the system's cron has our tasks too, otherwise an empty text."""
    daemon = installation.daemon
    try:
        count = _in_crontab(installation)
    except ScflowsError:
        return ""
    if daemon is None or not count:
        return ""
    return (
        f"two schedulers: the system's cron ({daemon.name}, process {daemon.pid}) also starts {counted(count, 'task')}"
        " from the crontab; nothing runs twice, because each slot is claimed once"
    )


def _running(installation: Installation) -> tuple[str, ...]:
    """Return the names of the tasks, and of the flows by their paths, that run."""
    return tuple(held.name for held in holders(installation.settings.lock_path) if held.alive)


def _heartbeat(installation: Installation) -> Heartbeat | None:
    """Return the heartbeat of the running scheduler; None if it has just started."""
    beat, scheduler = last_heartbeat(installation.settings), installation.scheduler
    return beat if scheduler is not None and beat is not None and beat.pid == scheduler.pid else None


def _in_crontab(installation: Installation) -> int:
    """Return how many of our tasks are started by lines of the crontab, inside and outside the block."""
    from scflows.cron.crontab.line import BOOT, TICK, parse_line

    parts = installation.parts
    entries = [*(parse_line(line) for line in parts.lines or []), *parts.strays]
    own = [entry for entry in entries if entry is not None and entry not in installation.others]
    if any(entry.name == TICK for entry in own):
        return len(installation.scheduled)
    boots = len(installation.boot_tasks) if any(entry.name == BOOT for entry in own) else 0
    return boots + sum(entry.is_task for entry in own)


def _expected(installation: Installation) -> list[tuple[float, Task]]:
    """Return the newest slot of each task that should have been started by now, newest last."""
    from scflows.cron.task import TaskStore

    starts = [each.since for each in (installation.scheduler, installation.daemon) if each is not None]
    since = max(installation.booted, min(starts, default=0.0)) + 60
    files = TaskStore(installation.settings)
    found = []
    for task in installation.scheduled:
        slot = task.schedule.latest_epoch(installation.now - OVERDUE)
        # Slots from before a change of the task do not count.
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
