"""Many tasks due in the same minute under the cap: how many go on at once, how many processes there are, which order.

First as cron starts them, a process for each; then by `flows tick`; then by `flows cron run`. Each run sleeps for
SECONDS. Out of order is a run that waited while one started that comes after it. Ends with 1 when the cap or the order
was not kept.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from measure import PYTHON, arguments, children_seconds

from scflows.cron.crontab.line import line
from scflows.cron.crontab.tabfile import Tabfile
from scflows.cron.schedule.schedule import Schedule
from scflows.cron.task import Task, TaskStore
from scflows.history.contract import Query
from scflows.history.run import FINAL, Run
from scflows.history.store import open_store
from scflows.settings import Settings, read_settings

#: Seconds that may pass from a start until it is recorded.
MOMENT = 0.5


LINES, TICK, LOOP = "cron's lines", "flows tick", "flows cron run"


@dataclass
class Seen:
    """The most processes of ours that were seen at once: those that stay, and those with the starters that leave."""

    staying: int = 0
    all: int = 0
    mark: bytes = b""

    def look(self) -> None:
        parents = dict(self._processes())
        busy = set(parents.values())
        starters = [pid for pid, parent in parents.items() if parent == os.getpid() and pid not in busy]
        self.staying = max(self.staying, len(parents) - len(starters))
        self.all = max(self.all, len(parents))

    def _processes(self) -> Iterator[tuple[int, int]]:
        for name in os.listdir("/proc"):
            if not name.isdigit() or int(name) == os.getpid():
                continue
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    if self.mark not in file.read():
                        continue
                with open(f"/proc/{name}/stat", "rb") as file:
                    state, parent = file.read().rpartition(b")")[2].split()[:2]
            except OSError:
                continue
            if state != b"Z":
                yield int(name), int(parent)


def at_once(runs: list[Run]) -> int:
    """The most runs that went on at the same time."""
    moments = [(run.started, 1) for run in runs] + [(run.ended or 0.0, -1) for run in runs]
    now = most = 0
    for _, change in sorted(moments):
        now += change
        most = max(most, now)
    return most


def recorded(settings: Settings) -> list[Run]:
    store = open_store(settings)
    found = sorted(store.find(Query(limit=0)), key=lambda run: run.started)
    store.close()
    return found


def overtaken(runs: list[Run], due: float | None) -> list[str]:
    """Return the runs that were in the queue already when a later one was started before them.

    By a scheduler all are enqueued when they are `due`.
    """
    turns = [(run.started if due is None else due + run.waited, run.task, run.waited) for run in runs]
    found = []
    latest = ("", 0.0)  # the last in order so far, and when it was started
    for moment, task, waited in sorted(turns):
        if task > latest[0]:
            latest = (task, moment)
        elif moment - waited < latest[1] - MOMENT:
            found.append(task)
    return found


def tell(title: str, settings: Settings, seen: Seen, took: float, count: int, cap: int, due: float | None) -> bool:
    """Print what was seen; whether it is as it should be."""
    runs = recorded(settings)
    statuses = {status: sum(run.status == status for run in runs) for status in {run.status for run in runs}}
    late = overtaken(runs, due)
    told = f"out of order {len(late)}: {', '.join(late[:10])}" if late else "none out of order"
    print(
        f"{title}: {len(runs)} of {count} in {took:.0f} s {statuses}; at most {at_once(runs)} at once; "
        f"{seen.staying} processes, {seen.all} with starters; "
        f"{sum(bool(run.waited_for) for run in runs)} waited, {told}"
    )
    return statuses == {"success": count} and at_once(runs) <= cap and not late


def storm(count: int, cap: int, seconds: float, form: str) -> bool:
    by_cron = form == LINES
    with tempfile.TemporaryDirectory() as folder:
        tasks = Path(folder) / "workspace" / "tasks"
        tasks.mkdir(parents=True)
        flow = tasks / "one.yml"
        flow.write_text(f"steps: [{{name: s, type: sleep, sleep: {{seconds: {seconds}}}}}]\n")
        environment = {
            "HOME": folder,
            "PATH": os.environ["PATH"],
            "XDG_STATE_HOME": f"{folder}/state",
            "XDG_CACHE_HOME": f"{folder}/cache",
            "CRONTAB_PROGRAM": "none",
            "MAX_RUNS": str(cap),
        }
        settings = read_settings(str(tasks.parent), environment)
        # A tick starts what is due in its minute; `flows cron run` is to be there before.
        due = int(time.time() // 60 + (1 + (time.time() % 60 > 40) if form == LOOP else 0)) * 60
        when = time.localtime(due)
        tabfile = Tabfile.read(settings.tabfile)
        for number in range(count):
            schedule = Schedule(f"{when.tm_min} {when.tm_hour} * * *")
            home = str(tasks.parent)
            task = Task(f"t{number:05d}", schedule, str(flow), workspace=home, settings=settings.remembered())
            TaskStore(settings).write(task)
            # One line for all stands in place of these.
            if form != TICK:
                tabfile.put(task.name, line(task, PYTHON, settings.state_path))
        tabfile.write(settings.tabfile)
        flows = (PYTHON, "-P", "-m", "scflows")
        seen = Seen(mark=f"XDG_STATE_HOME={folder}/state".encode())
        before, begun = children_seconds(), time.time()
        started = []
        if by_cron:
            # Debian's cron starts the tasks of a minute from the last to the first.
            for number in reversed(range(count)):
                task_line = [*flows, "run", str(flow), "--task", f"t{number:05d}", "--state", settings.state_path]
                task_line += ["--slot", str(due)]
                started.append(subprocess.Popen(task_line, env=environment, cwd="/"))
                if number % 10 == 0:
                    seen.look()
        elif form == TICK:
            tick = [*flows, "tick", "--state", settings.state_path]
            started.append(subprocess.Popen(tick, env=environment, cwd="/"))
        else:
            scheduler = [*flows, "cron", "run", "--home", str(tasks.parent)]
            started.append(subprocess.Popen(scheduler, env=environment, cwd=tasks.parent, stdout=subprocess.DEVNULL))
        done = 0
        while done < count and time.time() < begun + 1800:
            for _ in range(20):
                seen.look()
                time.sleep(0.02)
            if os.path.exists(f"{folder}/state/scflows/history.sqlite"):
                done = sum(run.status in FINAL for run in recorded(settings))
        took = time.time() - max(begun, due)
        if form == LOOP:
            started[0].send_signal(signal.SIGTERM)
        for process in started:
            process.wait()
        is_well = tell(form, settings, seen, took, count, cap, None if by_cron else due)
        print(f"  CPU of the starters {children_seconds() - before:.1f} s")
        time.sleep(1)
        return is_well


def main() -> None:
    given = arguments(__doc__)
    given.add_argument("COUNT", nargs="?", type=int, default=500, help="how many tasks: 500, if not given")
    given.add_argument("CAP", nargs="?", type=int, default=4, help="how many run at once: 4, if not given")
    given.add_argument("SECONDS", nargs="?", type=float, default=0.1, help="how long each runs: 0.1, if not given")
    options = given.parse_args()
    found = [storm(options.COUNT, options.CAP, options.SECONDS, form) for form in (LINES, TICK, LOOP)]
    sys.exit(0 if all(found) else 1)


if __name__ == "__main__":
    main()
