"""First runs: run newly scheduled tasks once, now, several of them in parallel."""

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
    status: str  #: of the run; empty if there is none
    message: str  #: the message of the run, or stderr if it failed to start


def first_runs(
    tasks: Sequence[Task],
    settings: Settings,
    dry_run: bool,
    report: Callable[[FirstRun, int], None],
) -> list[FirstRun]:
    """Run each task's flow once, at most `MAX_RUNS` in parallel, and return how each ended.

    A run that ended early on purpose is repeated after all others, because it may need their output. A dry run runs
    the flows, since the tasks do not exist. `report` is called with each run that ends and the number of ended runs.
    """
    flows = [task for task in tasks if task.flow]
    done: list[FirstRun] = []
    early: dict[str, FirstRun] = {}
    with ThreadPoolExecutor(settings.max_runs) as pool:
        try:
            for future in as_completed([pool.submit(_run, task, settings, dry_run) for task in flows]):
                ended = future.result()
                if ended.status == EXIT:
                    early[ended.task] = ended
                    continue
                done.append(ended)
                report(ended, len(done))
            again = [task for task in flows if task.name in early] if done else []
            for future in as_completed([pool.submit(_run, task, settings, dry_run) for task in again]):
                early[future.result().task] = future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for ended in early.values():
        done.append(ended)
        report(ended, len(done))
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
    message = str(run.get("message") or ended.stderr).strip().splitlines()
    status = str(run.get("status") or "")
    return FirstRun(
        task.name, ended.returncode, status, ": ".join(filter(None, (status, message[0] if message else "")))
    )
