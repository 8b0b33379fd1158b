"""What it costs to schedule many flows in one call, and to list them; and that there is one write of the crontab."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import PYTHON, counts

FLOW = "schedule: {{every: {}}}\nsteps: [{{name: s, type: set_fact, set_fact: {{value: 1}}}}]\n"
EVERY = ("1h", "3h", "1d", "15m", "6h")
CRONTAB = """#!/bin/sh
here=${0%/*}
case $1 in
-l) [ -f "$here/tab" ] && exec cat "$here/tab"; echo "no crontab for you" >&2; exit 1 ;;
-) echo write >> "$here/writes"; exec cat > "$here/tab" ;;
esac
exit 1
"""


def timed(*arguments: str, **options: object) -> tuple[float, str]:
    begun = time.perf_counter()
    done = subprocess.run((PYTHON, "-P", "-m", "scflows", *arguments), capture_output=True, text=True, **options)  # type: ignore[call-overload]
    if done.returncode != 0:
        sys.exit(done.stderr)
    return time.perf_counter() - begun, done.stdout


def measure(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        tasks = root / "workspace" / "tasks"
        for number in range(count):
            path = tasks / f"g{number // 100}" / f"f{number}.yml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(FLOW.format(EVERY[number % len(EVERY)]))
        program = root / "crontab"
        program.write_text(CRONTAB)
        program.chmod(0o755)
        environment = {
            "HOME": folder,
            "PATH": os.environ["PATH"],
            "XDG_STATE_HOME": f"{folder}/state",
            "XDG_CACHE_HOME": f"{folder}/cache",
            "CRONTAB_PROGRAM": str(program),
            "SYSTEM_CRON_PATH": folder,
        }
        options = {"env": environment, "cwd": str(tasks.parent)}
        first, _ = timed("auto-schedule", "--once", **options)
        writes = (root / "writes").read_text().count("write")
        again, _ = timed("auto-schedule", "--once", **options)
        listed, rows = timed("list-tasks", **options)
        assert len(rows.splitlines()) == count
        print(f"{count:>6} flows: schedule {first:5.2f} s, {writes} write; again {again:5.2f} s; list {listed:5.2f} s")


if __name__ == "__main__":
    for count in counts(__doc__, 100, 1000, 5000):
        measure(count)
