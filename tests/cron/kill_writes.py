"""Kill commands of scflows while they write the crontab: a program of its own, since it forks and kills.

python kill_writes.py ROOT PROGRAM TRIES: PROGRAM is the `crontab` to write with; ROOT has `workspace/` with the flows
one.yml and two.yml. The environment leads to a state of its own. Each try signals a command that is about to write, or
is writing, and then checks the lines that are not ours. Prints one JSON object with what was counted.

A wrapper around PROGRAM sends the signals, so each strikes at a known moment, however slow the machine.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from itertools import cycle, product
from pathlib import Path
from random import Random

FOREIGN = b"SHELL=/bin/sh\n# mine: 100\\% \xc3\xa9 \xe9\n5 4 * * * $HOME/x %y\\\n@daily echo 'a  b'\n\n7 * * * * true\n"
SIGNALS = ("KILL", "TERM", "HUP", "INT")
#: When the signal is sent: before PROGRAM starts, a few milliseconds into its work (at random), after its end.
MOMENTS = ("before", "during", "after")
WRAPPER = """#!/bin/sh
# Says what it does to a file, since the process that it is killing hears nothing.
if [ "$1" != - ] || [ ! -f "$ROOT/moment" ]; then exec "$PROGRAM" "$@"; fi
read -r moment sent delay < "$ROOT/moment"
rm "$ROOT/moment"
[ $moment = before ] && kill -$sent $PPID
if [ $moment = during ]; then (sleep $delay; kill -$sent $PPID) 2> /dev/null & fi
"$PROGRAM" -
code=$?
[ $moment = after ] && kill -$sent $PPID
wait
echo $code > "$ROOT/ended"
exit $code
"""


def run(command: list[str], output: int) -> int:
    """Return the exit code of a `flows` command in a child; minus the signal if it was killed."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    from scflows.cli.app import run_app

    for number in (1, 2):
        os.dup2(output, number)
    code = 3
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = run_app(command)
        sys.stdout.flush()
        sys.stderr.flush()
    except KeyboardInterrupt:
        code = -signal.SIGINT
    finally:
        os._exit(code & 0xFF)


def foreign(program: str) -> bytes:
    from scflows.cron.crontab.block import split
    from scflows.cron.crontab.program import Crontab

    return split(Crontab(program, "", None).read()).foreign


def wait_for(path: Path) -> None:
    ends = time.monotonic() + 60
    while not path.exists():
        if time.monotonic() > ends:
            raise TimeoutError(f"{path} did not appear")
        time.sleep(0.002)
    path.unlink()


def main(root: Path, program: str, tries: int) -> None:
    import scflows.cli.app
    import scflows.planner.auto_schedule
    import scflows.planner.planner
    import scflows.scheduler.housekeeping

    # However slow the machine: no process that a command left behind writes where the next round begins.
    scflows.scheduler.housekeeping.PATIENCE = float("inf")
    # It is processes that die here, and no machine.
    os.fsync = lambda descriptor: None
    wrapper = root / "wrapper" / "crontab"
    wrapper.parent.mkdir()
    wrapper.write_text(WRAPPER)
    wrapper.chmod(0o755)
    os.environ.update(ROOT=str(root), PROGRAM=program, CRONTAB_PROGRAM=str(wrapper))
    os.chdir(root / "workspace")
    subprocess.run([program, "-"], input=FOREIGN, check=True)
    output = os.open(root / "output", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    assert run(["auto-schedule", "--once"], output) == 0
    random = Random(tries)
    counted = {"tries": 0, "struck": 0, "lost": 0, "unfinished": 0, "codes": {}}
    for number, (moment, sent) in zip(range(tries), cycle(product(MOMENTS, SIGNALS)), strict=False):
        # Every other try adds a line of the block, the others remove it.
        command = ["disable" if number % 2 == 0 else "enable", "one"]
        (root / "moment").write_text(f"{moment} {sent} {random.uniform(0, 0.004):.4f}\n")
        code = run(command, output)
        wait_for(root / "ended")
        counted["tries"] += 1
        counted["struck"] += code != 0
        counted["codes"][f"{sent} {code}"] = counted["codes"].get(f"{sent} {code}", 0) + 1
        counted["lost"] += foreign(program) != FOREIGN
        # The next command of any kind that writes tidies up.
        again = run(command, output)
        counted["unfinished"] += again != 0 or (Path(os.environ["STATE"]) / "crontab-write").exists()
        counted["lost"] += foreign(program) != FOREIGN
    sys.stdout.write(json.dumps(counted) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
