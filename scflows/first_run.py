"""Run newly scheduled tasks once, now, some of them side by side."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scflows.cron.task import Task
    from scflows.settings import Settings


@dataclass(frozen=True)
class FirstRun:
    """How the first run of a task ended."""

    task: str
    code: int  #: the exit status of `flows run`
    told: str  #: its last words, on failure those of stderr


def first_runs(
    tasks: Sequence[Task],
    settings: Settings,
    dry_run: bool,
    tell: Callable[[FirstRun, int], None],
    at_once: int | None = None,
) -> list[FirstRun]:
    """Run each task's flow once, `at_once` at a time (as many as there are processors); how each ended.

    A dry run goes by the flows alone, since the tasks are not there. `tell` hears of each as it ends, with how
    many have.
    """
    flows = [task for task in tasks if task.flow]
    done = []
    with ThreadPoolExecutor(at_once or os.cpu_count() or 1) as pool:
        started = [pool.submit(_run, task, settings, dry_run) for task in flows]
        try:
            for future in as_completed(started):
                done.append(future.result())
                tell(done[-1], len(done))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return done


def _run(task: Task, settings: Settings, dry_run: bool) -> FirstRun:
    import json

    command = [sys.executable, "-P", "-m", "scflows", "run"]
    if dry_run:
        command += [task.flow, "--dry-run"]
        for name, value in task.params.items():
            command += ["--param", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    else:
        command.append(task.name)
    command += ["--home", settings.home]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    told = (ended.stdout if ended.returncode == 0 else ended.stderr or ended.stdout).strip().splitlines()
    return FirstRun(task.name, ended.returncode, told[-1] if told else "")
