"""Have Debian's own cron go through the windows on a quick clock, and keep which line it started when.

    python tests/cron/schedule/fire_times/record.py [NAME…]

Needs root, cron and libfaketime. Each window has a mount namespace, a spool and a clock of its own; 120 of its
seconds are one of ours. What it writes, `NAME.json`, is replayed by `tests/scheduler/test_clocks.py`.
"""

from __future__ import annotations

import glob
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from windows import MINUTE, WINDOWS, Window

HERE = Path(__file__).parent
SPEED = 120
ALWAYS, QUARTER = "* * * * *", "0,15,30,45 * * * *"
LIBRARIES = "/usr/lib/*/faketime/libfaketime.so.1"

SCRIPT = """
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=1730 none /var/spool/cron/crontabs
chgrp crontab /var/spool/cron/crontabs
mount -t tmpfs none /run
mount --bind "$ROOT/empty" /etc/crontab
mount --bind "$ROOT/none" /etc/cron.d
mount --bind "$ROOT/pam" /etc/pam.d/cron
crontab - < "$ROOT/crontab"
export FAKETIME_TIMESTAMP_FILE="$ROOT/clock" FAKETIME_NO_CACHE=1
date +%s.%N > "$ROOT/began"
TZ="$ZONE" LD_PRELOAD="$LIBRARY" cron -f > "$ROOT/cron.log" 2>&1 &
cron=$!
sleep "$FIRST"
if [ -n "$STEPPED" ]; then
  echo "$STEPPED" > "$ROOT/clock"
  date +%s.%N > "$ROOT/stepped"
fi
sleep "$SECOND"
kill $cron
"""
#: The shell of the crontab: it notes the time and what it was to start.
RECORDER = '#!/bin/sh\necho "$(date +%s.%N) $2" >> "{root}/started"\n'


def lines(window: Window) -> dict[str, str]:
    """The crontab fields of each task, as they were written at the time of the window."""
    code = (
        "import json, sys\nfrom scflows.cron.schedule.schedule import Schedule\n"
        "print(json.dumps({name: Schedule.from_dict(each).line for name, each in json.load(sys.stdin).items()}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(window.tasks),
        env={**os.environ, "TZ": window.zone, "LD_PRELOAD": library(), "FAKETIME": at(window, 0)},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


def at(window: Window, minutes: int) -> str:
    """The start of a window, with its clock set by some minutes, in the words of libfaketime."""
    code = f"import time; print(time.strftime('@%Y-%m-%d %H:%M:%S', time.localtime({window.start + minutes * MINUTE})))"
    env = {**os.environ, "TZ": window.zone}
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    ).stdout.strip()


def library() -> str:
    found = glob.glob(LIBRARIES)
    if not found:
        raise SystemExit("libfaketime is not installed: apt install faketime")
    return found[0]


def record(window: Window, speed: int = SPEED) -> dict[str, object]:
    """The lines of a window's tasks and (minute, line) of each start, in the order of the starts."""
    written = lines(window)
    with tempfile.TemporaryDirectory(prefix="fire-times-") as folder:
        root = Path(folder)
        (root / "none").mkdir()
        (root / "empty").touch()
        (root / "pam").write_text(
            "".join(f"{each} required pam_permit.so\n" for each in ("auth", "account", "session"))
        )
        recorder = root / "recorder"
        recorder.write_text(RECORDER.format(root=root))
        recorder.chmod(0o755)
        numbers = {line: number for number, line in enumerate(sorted(set(written.values())))}
        (root / "crontab").write_text(
            f"SHELL={recorder}\n" + "".join(f"{line} {number}\n" for line, number in numbers.items())
        )
        (root / "clock").write_text(f"{at(window, 0)} x{speed}\n")
        # Ahead of what else is computed here: a minute of its clock is a second or less.
        done = subprocess.run(
            ["nice", "-n", "-15", "unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", SCRIPT],
            env={
                **os.environ,
                "ROOT": folder,
                "ZONE": window.zone,
                "LIBRARY": library(),
                "FIRST": str(window.before * MINUTE / speed),
                "SECOND": str(window.after * MINUTE / speed),
                "STEPPED": f"{at(window, window.before + window.step)} x{speed}" if window.step else "",
            },
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr + (root / "cron.log").read_text())
        began = float((root / "began").read_text())
        stepped = float((root / "stepped").read_text()) if window.step else float("inf")
        by_number = {str(number): line for line, number in numbers.items()}
        started = [each.split() for each in (root / "started").read_text().splitlines()]
    times = [(float(moment), by_number[number]) for moment, number in started]
    early = [(window.start + (moment - began) * speed, line) for moment, line in times if moment <= stepped]
    late = [
        (window.moment + window.step * MINUTE + (moment - stepped) * speed, line)
        for moment, line in times
        if moment > stepped
    ]
    return {"lines": written, "starts": [*in_minutes(early), *in_minutes(late)]}


def in_minutes(starts: list[tuple[float, str]]) -> list[tuple[int, str]]:
    """The minutes of starts. What every minute and quarter of an hour starts tells how late the others were noted."""
    # A new time is noticed a little after it was set; and nothing is noted exactly in time.
    lag = min((moment % 900 for moment, line in starts if line == QUARTER), default=0.0) - 20
    minutes = [((moment - lag) // MINUTE * MINUTE, moment) for moment, line in starts if line == ALWAYS]
    for place in range(len(minutes) - 1):
        before = minutes[place - 1][0] if place else minutes[place][0] - 2 * MINUTE
        if minutes[place][0] == minutes[place + 1][0] and minutes[place][0] - before == 2 * MINUTE:
            minutes[place] = (minutes[place][0] - MINUTE, minutes[place][1])
    return [
        (int(min(minutes, key=lambda minute, moment=moment: abs(minute[1] - moment))[0]), line)
        for moment, line in starts
    ]


def main() -> None:
    names = sys.argv[1:] or list(WINDOWS)
    with ThreadPoolExecutor(5) as pool:
        for name, found in zip(names, pool.map(record, [WINDOWS[name] for name in names]), strict=True):
            (HERE / f"{name}.json").write_text(json.dumps(found, separators=(",", ":")) + "\n")
            print(name, len(found["starts"]), "starts", time.strftime("%H:%M:%S"))


if __name__ == "__main__":
    main()
