"""What many tasks on one crontab line cost: to schedule, to add one, to list, and each minute.

Seconds are those of the processor, so that they say the same on a busy machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from many_tasks import CRONTAB, EVERY, FLOW
from measure import PYTHON, counts


class Machine:
    """A workspace, a state and a crontab of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.flows = root / "workspace" / "tasks"
        self.flows.mkdir(parents=True)
        program = root / "crontab"
        program.write_text(CRONTAB)
        program.chmod(0o755)
        self.environment = {
            "HOME": str(root),
            "PATH": os.environ["PATH"],
            "XDG_STATE_HOME": str(root / "state"),
            "XDG_CACHE_HOME": str(root / "cache"),
            "CRONTAB_PROGRAM": str(program),
            "SYSTEM_CRON_PATH": str(root),
        }

    def run(self, *arguments: str) -> tuple[float, int, str]:
        """Seconds, the most memory in MiB, and what was printed."""
        output = self.root / "output"
        with open(output, "w") as file:
            process = subprocess.Popen(
                (PYTHON, "-P", "-m", "scflows", *arguments),
                env=self.environment,
                cwd=self.flows.parent,
                stdout=file,
            )
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"{arguments} ended with {process.returncode}")
        return usage.ru_utime + usage.ru_stime, usage.ru_maxrss // 1024, output.read_text()


def fill(machine: Machine, count: int) -> None:
    """Tasks as scheduling writes them, without the flows and their checks: what is measured is what comes after."""
    (machine.flows / "one.yml").write_text(FLOW.format("1h"))
    machine.run("auto-schedule", "--once", "--one-line")
    folder = machine.root / "state" / "scflows" / "tasks"
    task = json.loads((folder / "one.json").read_text())
    for number in range(count - 1):
        task["name"] = f"task-{number}"
        # Nothing is due while we measure.
        hour = (time.gmtime().tm_hour + 2 + number % 20) % 24
        task["schedule"] = {"cron": f"{number % 60} {hour} * * *", "every": 86400}
        (folder / f"task-{number}.json").write_text(json.dumps(task))


def flows(count: int) -> str:
    """The whole way: from flow files to the crontab."""
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(Path(folder))
        for number in range(count):
            path = machine.flows / f"g{number // 100}" / f"f{number}.yml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(FLOW.format(EVERY[number % len(EVERY)]))
        took, memory, _ = machine.run("auto-schedule", "--once", "--one-line")
        again, _, _ = machine.run("auto-schedule", "--once")
    return f"from {count} flow files {took:.1f} s ({memory} MiB), again {again:.1f} s"


def measure(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(Path(folder))
        fill(machine, count)
        first, _, _ = machine.run("list-tasks")
        listed, memory, rows = machine.run("list-tasks")
        assert len(rows.splitlines()) == count
        (machine.flows / "two.yml").write_text(FLOW.format("1h"))
        machine.run("manual-schedule", "two.yml")
        (machine.flows / "three.yml").write_text(FLOW.format("1h"))
        added, most, _ = machine.run("manual-schedule", "three.yml")
        machine.run("remove-task", "one", "two", "three", "--yes")
        begun, _, _ = machine.run("tick")
        machine.run("tick")
        idle, small, _ = machine.run("tick")
    print(
        f"{count:>6} tasks: list first {first:.1f} s, then {listed:.1f} s ({memory} MiB); add one {added:.2f} s"
        f" ({most} MiB); first tick {begun:.1f} s, tick without work {idle * 1000:.0f} ms ({small} MiB)"
    )


if __name__ == "__main__":
    given = counts(__doc__, 1000, 10_000, 50_000)
    for count in given:
        measure(count)
    for count in given:
        print(f"{count:>6} tasks: {flows(count)}")
