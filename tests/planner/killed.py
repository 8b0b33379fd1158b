"""Kills a command at each of its steps in turn: a program of its own, since it forks and is killed.

python killed.py ROOT COMMAND NEXT [NEXT …]: COMMAND is killed before its first, second, … change of a file or
start of the crontab program, each time from the same beginning. Then the NEXT commands are run. Each round is told
as a line of JSON. Commands are JSON lists.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

#: Files are written aside and then renamed, so between these steps nothing is to be seen of a change.
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.link", "os.truncate", "subprocess.Popen")


def run(command: list[str], die_at: int | None = None) -> int:
    """The exit code of a `flows` command in a child; minus the signal if it was killed."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    from scflows.cli.app import run_app

    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(nowhere, number)
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in CHANGES:
            if seen == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1

    sys.addaudithook(hook)
    code = 3
    try:
        code = run_app(command)
    finally:
        os._exit(code)


def main(root: Path, command: list[str], following: list[list[str]]) -> None:
    # Loaded once, for all the children.
    import scflows.cli.app
    import scflows.planner.auto_schedule
    import scflows.planner.manual_schedule
    import scflows.planner.planner
    import scflows.scheduler.housekeeping

    # However slow the machine: no process that a command left behind writes where the next round begins.
    scflows.scheduler.housekeeping.PATIENCE = float("inf")

    # It is processes that die here, and no machine.
    os.fsync = lambda descriptor: None
    kept = ("state", "cache", "bin")
    for name in kept:
        shutil.copytree(root / name, root / "before" / name)
    os.chdir(root / "workspace")
    for step in range(500):
        for name in kept:
            shutil.rmtree(root / name)
            shutil.copytree(root / "before" / name, root / name)
        code = run(command, step)
        killed = (root / "bin/tab").read_text()
        codes = [run(each) for each in following]
        tasks = [json.loads(path.read_text()) for path in (root / "state/scflows/tasks").glob("*.json")]
        told = {
            "code": code,
            "killed": killed,
            "codes": codes,
            "tab": (root / "bin/tab").read_text(),
            "tabfile": (root / "cache/scdata/tasks/tabfile.tab").read_text(),
            "tasks": {task["name"]: task for task in tasks},
        }
        sys.stdout.write(json.dumps(told) + "\n")
        if code >= 0:
            return
    raise AssertionError("it never ended")


if __name__ == "__main__":
    root, command, *following = sys.argv[1:]
    main(Path(root), json.loads(command), [json.loads(each) for each in following])
