"""Run newly scheduled tasks once, now, some of them side by side."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from scflows import command_line
from scflows.history.run import EXIT

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
    status: str  #: of the run; empty where there is none
    told: str  #: its last words, on failure those of stderr


def first_runs(
    tasks: Sequence[Task],
    settings: Settings,
    dry_run: bool,
    tell: Callable[[FirstRun, int], None],
    at_once: int | None = None,
) -> list[FirstRun]:
    """Run each task's flow once, `at_once` at a time (as many as there are places); how each ended.

    One that ended early on purpose is run again once all others had their turn: it may have waited for what they
    make. A dry run goes by the flows alone, since the tasks are not there. `tell` hears of each as it ends, with
    how many have.
    """
    flows = [task for task in tasks if task.flow]
    done: list[FirstRun] = []
    early: dict[str, FirstRun] = {}
    with ThreadPoolExecutor(at_once or settings.max_runs) as pool:
        try:
            for future in as_completed([pool.submit(_run, task, settings, dry_run) for task in flows]):
                ended = future.result()
                if ended.status == EXIT:
                    early[ended.task] = ended
                    continue
                done.append(ended)
                tell(ended, len(done))
            again = [task for task in flows if task.name in early] if done else []
            for future in as_completed([pool.submit(_run, task, settings, dry_run) for task in again]):
                early[future.result().task] = future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for ended in early.values():
        done.append(ended)
        tell(ended, len(done))
    return done


def _run(task: Task, settings: Settings, dry_run: bool) -> FirstRun:
    import json

    command = command_line("run")
    if dry_run:
        command += [task.flow, "--dry-run"]
        for name, value in task.params.items():
            command += ["--param", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    else:
        command.append(task.name)
    command += ["--wait", "--json", "--home", settings.home]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    try:
        run = json.loads(ended.stdout)
    except ValueError:
        run = {}
    told = str(run.get("message") or ended.stderr).strip().splitlines()
    status = str(run.get("status") or "")
    return FirstRun(task.name, ended.returncode, status, ": ".join(filter(None, (status, told[0] if told else ""))))
