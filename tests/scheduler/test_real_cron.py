"""Debian's own cron starts our tasks: in a mount namespace, with a spool, a home and a crontab of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

pytestmark = pytest.mark.service

#: What no cron tool may touch: comments, environment lines, percent signs, odd blanks, a line that is switched off.
FOREIGN = (
    b"# set FOO=1 first\n"
    b"FOO = bar baz\n"
    b"\n"
    b"5 4 * * sun   echo   'joe%Hi there'  # not ours\n"
    b"\t*/7 1-23/2\t* * *\ttrue # scflows\n"
    b"#17 3 * * * disabled\n"
    b"@reboot true\n"
    b'A="x y"\n'
)

SCRIPT = """
set -eu
mount --make-rprivate /
# The interpreter may lie in root's home, so that stays; for cron it is another folder.
sed "s|^\\(root:[^:]*:0:0:[^:]*\\):[^:]*:.*|\\1:$ROOT/home:/bin/sh|" /etc/passwd > "$ROOT/passwd"
mount --bind "$ROOT/passwd" /etc/passwd
mount -t tmpfs -o mode=1730 none /var/spool/cron/crontabs
chgrp crontab /var/spool/cron/crontabs
mount -t tmpfs none /run
mount --bind "$ROOT/empty" /etc/crontab
mount --bind "$ROOT/none" /etc/cron.d
# Where the login uid is set already and may not be changed, cron could not start anything.
mount --bind "$ROOT/pam" /etc/pam.d/cron
export HOME="$ROOT/home"
crontab - < "$ROOT/foreign"
cron -f > "$ROOT/cron.log" 2>&1 &
cron=$!
# A change in the second in which cron reads the crontab first could go unseen.
sleep 1.1
cd "$ROOT/workspace"
flows() { "$PYTHON" -P -m scflows "$@"; }
flows manual-schedule tasks/one.yml tasks/two.yml --every @minute
flows auto-schedule --once
crontab -l > "$ROOT/crontab.scheduled"
"$PYTHON" -P -c "$UNTIL_BOTH_RAN" cron
flows repair --one-line
crontab -l > "$ROOT/crontab.one-line"
"$PYTHON" -P -c "$UNTIL_BOTH_RAN" scheduler
kill $cron
# What it started ends, so that all that is looked at below is of the same moment.
for _ in $(seq 600); do
  grep -qszx 'scflow[s]' /proc/[0-9]*/cmdline || break
  sleep 0.2
done
flows list-tasks --json > "$ROOT/tasks.json"
flows history --limit 1000 --json > "$ROOT/history.json"
flows logs one > "$ROOT/one.log"
flows clear-tasks --yes
crontab -l > "$ROOT/crontab.cleared"
cp -r data "$ROOT/results"
"""

#: Waits until both tasks have a run with a trigger; each starts at a second of its own within the minute.
UNTIL_BOTH_RAN = """
import sys, time
from scflows.history.contract import Query
from scflows.history.store import open_store
from scflows.settings import read_settings
store, ends = open_store(read_settings()), time.monotonic() + 300
ran = set()
while len(ran) < 2 and time.monotonic() < ends:
    time.sleep(0.3)
    runs = store.find(Query(limit=100))
    ran = {run.task for run in runs if (run.trigger, run.status) == (sys.argv[1], "success")}
store.close()
"""

#: Where a user's own PATH may not lead: cron is in a folder for the administrator.
SEARCHED = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))


#: Twenty who schedule at the same time, with Debian's own crontab program; a removal, and a backup put back.
CROWD = """
set -eu
mount --make-rprivate /
sed "s|^\\(root:[^:]*:0:0:[^:]*\\):[^:]*:.*|\\1:$ROOT/home:/bin/sh|" /etc/passwd > "$ROOT/passwd"
mount --bind "$ROOT/passwd" /etc/passwd
mount -t tmpfs -o mode=1730 none /var/spool/cron/crontabs
chgrp crontab /var/spool/cron/crontabs
export HOME="$ROOT/home"
crontab - < "$ROOT/foreign"
cd "$ROOT/workspace"
flows() { "$PYTHON" -P -m scflows "$@"; }
writers=
for number in $(seq 20); do
  flows manual-schedule one.yml --name "task-$number" --every 1h > "$ROOT/writer.$number" 2>&1 &
  writers="$writers $!"
done
for writer in $writers; do wait "$writer"; done
crontab -l > "$ROOT/crontab.crowd"
flows list-tasks > "$ROOT/tasks"
flows check --json > "$ROOT/check.json" || true
flows clear-tasks --yes
crontab -l > "$ROOT/crontab.cleared"
printf '5 4 * * * another\\n' | crontab -
flows crontab restore 2 --yes
crontab -l > "$ROOT/crontab.restored"
crontab -r
"""


@pytest.fixture
def namespace(tmp_path: Path) -> dict[str, str]:
    missing = [name for name in ("cron", "crontab", "unshare") if shutil.which(name, path=SEARCHED) is None]
    reason = f"needs {', '.join(missing)}" if missing else "needs root" if os.geteuid() != 0 else ""
    if reason:
        pytest.skip(reason)
    for name in ("home", "none", "workspace/tasks"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "empty").touch()
    (tmp_path / "foreign").write_bytes(FOREIGN)
    services = ("auth", "account", "session")
    (tmp_path / "pam").write_text("".join(f"{service} required pam_permit.so\n" for service in services))
    for name in ("one", "two"):
        text = (
            "steps:\n"
            "  - {name: row, type: set_fact, set_fact: {value: [{slot: '{{ __slot__ }}', run: '{{ __job_id__ }}'}]}}\n"
            f"  - {{name: tick, type: table, table: {{mode: append, path: {name}.csv, data_key: row}}}}\n"
        )
        (tmp_path / "workspace/tasks" / f"{name}.yml").write_text(text)
    (tmp_path / "workspace/tasks/hourly.yml").write_text("schedule: {every: 1h}\nsteps: []\n")
    return {"ROOT": str(tmp_path), "PYTHON": sys.executable, "PATH": os.environ["PATH"]}


@pytest.mark.waits
def test_cron_runs_minute_tasks_by_itself_and_foreign_lines_stay(namespace: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", SCRIPT],
        env={**namespace, "UNTIL_BOTH_RAN": UNTIL_BOTH_RAN},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    scheduled = (tmp_path / "crontab.scheduled").read_bytes()
    assert scheduled.endswith(FOREIGN)
    lines = [line for line in scheduled.decode().splitlines() if "-m scflows run" in line]
    assert sorted(line.rpartition("# ")[2] for line in lines) == ["hourly", "one", "two"]
    one_line = (tmp_path / "crontab.one-line").read_bytes()
    assert one_line.endswith(FOREIGN)
    assert [line.split()[8:10] for line in one_line.decode().splitlines() if "-m scflows" in line] == [
        ["scflows", "tick"]
    ]
    assert (tmp_path / "crontab.cleared").read_bytes() == FOREIGN

    history = json.loads((tmp_path / "history.json").read_text())["items"]
    tasks = {item["name"]: item for item in json.loads((tmp_path / "tasks.json").read_text())["items"]}
    for name in ("one", "two"):
        runs = [run for run in history if run["task"] == name]
        assert {run["status"] for run in runs} == {"success"}
        # First by a line of its own, then by the one line for all.
        runs.sort(key=lambda run: run["slot"])
        triggers = [run["trigger"] for run in runs]
        assert triggers == sorted(triggers)
        assert set(triggers) == {"cron", "scheduler"}
        # A slot a minute, none left out, each with its one run, all of them in the result.
        slots = [datetime.fromisoformat(run["slot"]) for run in runs]
        assert all(after - before == timedelta(minutes=1) for before, after in pairwise(slots))
        written = (tmp_path / "results" / f"{name}.csv").read_text().splitlines()[1:]
        assert sorted(row.split(",")[1] for row in written) == sorted(run["id"] for run in runs)
        # The list agrees with the history.
        newest = max(runs, key=lambda run: run["id"])
        assert tasks[name]["run"] == newest["id"]
        assert tasks[name]["last"] == newest["started"]
        assert tasks[name]["next"] > newest["slot"]
        assert tasks[name]["state"] == "enabled"
    log = (tmp_path / "one.log").read_text()
    assert all(run["id"] in log for run in history if run["task"] == "one")


def test_twenty_who_schedule_at_once_lose_nothing_and_a_backup_is_put_back(
    namespace: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", CROWD],
        env=namespace,
        capture_output=True,
        text=True,
        timeout=400,
    )
    told = "".join(path.read_text() for path in tmp_path.glob("writer.*"))
    assert done.returncode == 0, done.stdout + done.stderr + told
    names = sorted(f"task-{number}" for number in range(1, 21))
    crowd = (tmp_path / "crontab.crowd").read_bytes()
    assert crowd.endswith(FOREIGN)
    lines = [line for line in crowd.decode().splitlines() if "-m scflows run" in line]
    assert sorted(line.rpartition("# ")[2] for line in lines) == names
    assert sorted(line.split("\t")[0] for line in (tmp_path / "tasks").read_text().splitlines()) == names
    # Each was given a minute of its own, so each knew of those before.
    assert len({line.split()[0] for line in lines}) == 20
    items = json.loads((tmp_path / "check.json").read_text())["items"]
    assert any("Debian cron" in item["text"] for item in items)
    assert any("20 tasks, same as the tabfile" in item["text"] for item in items)
    assert (tmp_path / "crontab.cleared").read_bytes() == FOREIGN
    # The newest copy is from before the restoring, the next from before the clearing; foreign lines as then.
    assert (tmp_path / "crontab.restored").read_bytes() == FOREIGN
