"""What it costs to schedule many devices in one call: time beside the stand-in's own, memory, requests, writes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from many_tasks import CRONTAB
from measure import PYTHON, numbers

from scflows.integrations.smartcitizen.demo.platform import Platform
from scflows.integrations.smartcitizen.demo.server import serving

FLOW = "params: {device: {type: integer, required: true}}\nsteps: [{name: s, type: set_fact, set_fact: {value: 1}}]\n"


def measure(count: int, files: int) -> None:
    platform = Platform(kits=())
    platform.add_crowd(count, files)
    with tempfile.TemporaryDirectory() as folder, serving(platform) as server:
        root = Path(folder)
        flow = root / "workspace" / "tasks" / "smartcitizen" / "process.yml"
        flow.parent.mkdir(parents=True)
        flow.write_text(FLOW)
        program = root / "crontab"
        program.write_text(CRONTAB)
        program.chmod(0o755)
        environment = {
            "HOME": folder,
            "PATH": os.environ["PATH"],
            "XDG_STATE_HOME": f"{folder}/state",
            "XDG_CACHE_HOME": f"{folder}/cache",
            "CRONTAB_PROGRAM": str(program),
            **server.settings,
        }
        command = (PYTHON, "-P", "-m", "scflows", "auto-schedule", "--source", "smartcitizen", "--once", "--quiet")
        for title in ("first", "again"):
            platform.requests.clear()
            begun, own = time.perf_counter(), time.process_time()
            process = subprocess.Popen(command, cwd=root / "workspace", env=environment)
            _, status, usage = os.wait4(process.pid, 0)
            took, own = time.perf_counter() - begun, time.process_time() - own
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                sys.exit(f"ended with {process.returncode}")
            asked = Counter(
                "pages" if "/devices/" in each["path"] or "/devices?" in each["path"] else "files"
                for each in platform.requests
            )
            writes = (root / "writes").read_text().count("write")
            tasks = (root / "tab").read_text().count("# 2")
            print(
                f"{count:>6} devices, {title}: {took:5.2f} s, of which the stand-in {own:5.2f} s; "
                f"{usage.ru_utime + usage.ru_stime:5.2f} s of CPU; {usage.ru_maxrss / 1024:4.0f} MiB; "
                f"{asked['pages']} pages, {asked['files']} hardware files; {tasks} tasks, {writes} write"
            )


if __name__ == "__main__":
    measure(*numbers(__doc__, DEVICES=5000, HARDWARE_FILES=400))
