"""What it takes to plan and write many tasks, and to add one to them; and the memory of it.

Seconds are those of the processor. Planning is choosing the slots and laying out all lines. One is added in the form
of one crontab line for all tasks: by the planner alone (reading what is there, planning, writing), and by the whole
command as a person types it, Python's start included; its first time all tasks are read, then the load is known.
"""

from __future__ import annotations

import math
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import counts

from scflows.cron.schedule.spec import ScheduleSpec
from scflows.planner.load_cache import load_file
from scflows.planner.planner import Planner, planning
from scflows.planner.sources.base import TaskRequest
from scflows.settings import read_settings

EVERY = (900, 3600, 3 * 3600, 6 * 3600, 86400)
FLOW = "steps: [{name: s, type: set_fact, set_fact: {value: 1}}]\n"


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            "HOME": folder,
            "PATH": os.environ["PATH"],
            "CRONTAB_PROGRAM": "none",
            "SYSTEM_CRON_PATH": folder,
        }
        Path(folder, "tasks").mkdir()
        Path(folder, "tasks", "one.yml").write_text(FLOW)
        settings = read_settings(folder, environment)
        seeded = random.Random(1)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        begun = time.process_time()
        planner = Planner(settings, dry_run=False)
        planner.inventory.durations.own = {
            f"task-{number}": 30 * math.exp(seeded.gauss(0, 1)) for number in range(count)
        }
        requests = [
            TaskRequest(
                f"task-{number}", ScheduleSpec(every=EVERY[number % len(EVERY)]), flow=f"{folder}/tasks/one.yml"
            )
            for number in range(count)
        ]
        plan = planner.plan_requests(requests)
        planned = time.process_time() - begun
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        begun = time.process_time()
        planner.write(plan)
        written = time.process_time() - begun
        wrote = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        at_once = plan.peak_after
        # So that what is measured next is alone, as in a command.
        del planner, plan, requests
        with planning(settings, one_line=True) as planner:
            planner.write(planner.plan_repair())
        begun = time.process_time()
        with planning(settings) as planner:
            planner.write(
                planner.plan_requests(
                    [TaskRequest("one-more", ScheduleSpec(every=3 * 3600), flow=f"{folder}/tasks/one.yml")]
                )
            )
        alone = time.process_time() - begun
        known = [command(folder, environment, f"n{number}") for number in range(3)]
        Path(load_file(settings)).unlink(missing_ok=True)
        first = command(folder, environment, "first")
        print(
            f"{count:>6} tasks: plan {planned:5.1f} s, {peak:4.0f} MiB ({peak - before:.0f} more than at first);"
            f" write {written:5.1f} s, {wrote:.0f} MiB; runs at once: {at_once:.0f}\n"
            f"{'add one':>12}: the planner {alone:.2f} s; the command {min(known):.2f} s;"
            f" when all are weighed anew {first:.2f} s",
            flush=True,
        )


def command(folder: str, environment: dict[str, str], name: str) -> float:
    """Seconds of adding one task."""
    typed = ("manual-schedule", "one.yml", "--every", "3h", "--name", name)
    process = subprocess.Popen(
        (sys.executable, "-P", "-m", "scflows", *typed), env=environment, cwd=folder, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{typed} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    for each in counts(__doc__, 1_000, 10_000, 50_000):
        main(each)
