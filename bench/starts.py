"""Many starts in the same second: whether each has its record, and what they cost against single ones."""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
import time
from pathlib import Path

from measure import PYTHON, children_seconds, numbers

from scflows.history.contract import Query
from scflows.history.store import open_store
from scflows.settings import read_settings

FLOW = "steps: [{name: s, type: set_fact, set_fact: {value: 1}}]\n"


def _adopted() -> bool:
    """Whether children are left; reaps those that ended."""
    try:
        os.waitpid(-1, os.WNOHANG)
        return True
    except ChildProcessError:
        return False


def main(count: int) -> None:
    # What the starters leave behind is counted too: see prctl(2), PR_SET_CHILD_SUBREAPER.
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory() as folder:
        tasks = Path(folder) / "workspace" / "tasks"
        tasks.mkdir(parents=True)
        for number in range(count):
            (tasks / f"f{number}.yml").write_text(FLOW)
        environment = {
            "HOME": folder,
            "PATH": os.environ["PATH"],
            "XDG_STATE_HOME": f"{folder}/state",
            "XDG_CACHE_HOME": f"{folder}/cache",
            "CRONTAB_PROGRAM": "none",
        }
        home = str(tasks.parent)
        flows = (PYTHON, "-P", "-m", "scflows")
        scheduled = [*flows, "manual-schedule", *(f"f{number}.yml" for number in range(count))]
        subprocess.run(scheduled, env=environment, cwd=home, check=True, stdout=subprocess.DEVNULL)
        state = f"{folder}/state/scflows"
        # Slots of the past: one to come within the minute would be waited for.
        slot = int(time.time()) // 60 * 60 - 600

        def start(number: int, due: int) -> subprocess.Popen[bytes]:
            line = [*flows, "run", str(tasks / f"f{number}.yml"), "--task", f"f{number}", "--state", state]
            return subprocess.Popen([*line, "--slot", str(due)], env=environment, cwd="/")

        singles = min(count, 20)
        for number in range(2):
            start(number, slot).wait()
        before = children_seconds()
        for number in range(singles):
            start(number, slot + 60).wait()
        single = (children_seconds() - before) / singles
        before, begun = children_seconds(), time.perf_counter()
        started = [start(number, slot + 120) for number in range(count)]
        codes = [process.wait() for process in started]
        # Those that found no place were left to a process that this one becomes the parent of.
        while _adopted():
            time.sleep(0.01)
        took, together = time.perf_counter() - begun, children_seconds() - before
        store = open_store(read_settings(home, environment))
        runs = store.find(Query(slot=slot + 120, limit=count + 1))
        store.close()
        good = sum(run.status == "success" for run in runs)
        bad = sum(map(bool, codes))
        print(f"{count} starts in {took:.1f} s: {good} recorded as success, {bad} exit codes other than 0")
        print(f"CPU {together:.1f} s, {together / (single * count):.2f} times the sum of single starts")


if __name__ == "__main__":
    main(*numbers(__doc__, COUNT=200))
