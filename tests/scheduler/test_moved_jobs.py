"""Five jobs are moved by following docs/coming-from-cron.md, and run under Debian's cron before and after."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scheduler.test_real_cron import namespace  # noqa: F401 — the fixture

pytestmark = pytest.mark.service

PAGE = Path(__file__).parents[2] / "docs/coming-from-cron.md"
JOBS = ("backup", "fetch-orders", "report", "queue", "warm-cache")
#: What cron gives to a job, and what the crontab sets.
VARIABLES = {"BACKUPS", "HOME", "LOGNAME", "PATH", "SHELL"}

#: Notes its variables, arguments and input; one job fails.
JOB = """#!/bin/sh
name=${0##*/}
input=$(cat)
{ env | sort; } > "$HOME/seen/$name.env"
printf '%s|%s|%s\\n' "$name" "$*" "$input" > "$HOME/seen/$name.new"
mv "$HOME/seen/$name.new" "$HOME/seen/$name"
echo "output of $name"
if [ "$name" = fetch-orders ]; then echo "no route to the shop" >&2; exit 3; fi
"""

SENDMAIL = """#!/bin/sh
{ echo "to: $*"; cat; echo "."; } >> "$ROOT/mail"
"""

SCRIPT = """
set -eu
mount --make-rprivate /
sed "s|^\\(root:[^:]*:0:0:[^:]*\\):[^:]*:.*|\\1:$ROOT/home:/bin/sh|" /etc/passwd > "$ROOT/passwd"
mount --bind "$ROOT/passwd" /etc/passwd
mount -t tmpfs -o mode=1730 none /var/spool/cron/crontabs
chgrp crontab /var/spool/cron/crontabs
mount -t tmpfs none /run
mount -t tmpfs none /opt
mkdir -p /opt/tools/bin
for job in $JOBS; do cp "$ROOT/job" "/opt/tools/bin/$job"; done
mount -t overlay overlay -o "lowerdir=$ROOT/sbin:/usr/sbin" /usr/sbin
mount --bind "$ROOT/empty" /etc/crontab
mount --bind "$ROOT/none" /etc/cron.d
mount --bind "$ROOT/pam" /etc/pam.d/cron
export HOME="$ROOT/home"
flows() { "$PYTHON" -P -m scflows "$@"; }
wait_for_jobs() {
  for _ in $(seq 400); do
    found=yes
    for job in $JOBS; do [ -e "$HOME/seen/$job" ] || found=; done
    [ -z "$found" ] || [ ! -e "$ROOT/mail" ] || return 0
    sleep 0.5
  done
  ls "$HOME/seen"
  return 1
}
mkdir "$HOME/seen"
crontab - < "$ROOT/plain"
cron -f & cron=$!
wait_for_jobs
sleep 1
kill $cron
mv "$HOME/seen" "$HOME/before"
mv "$ROOT/mail" "$ROOT/mail.before"
rm -f /run/crond.reboot
mkdir "$HOME/seen"
# The lines are moved: only the variables remain.
grep = "$ROOT/plain" | head -n 3 | crontab -
flows init --empty "$HOME/jobs"
cd "$HOME/jobs"
cp "$ROOT"/moved/config.yml data/config.yml
cp "$ROOT"/moved/*.flow tasks/
for each in tasks/*.flow; do mv "$each" "${each%.flow}.yml"; done
flows validate
flows auto-schedule --once
flows check > "$ROOT/checked" || true
cron -f & cron=$!
wait_for_jobs
sleep 1
kill $cron
for _ in $(seq 100); do
  grep -qszx 'scflow[s]' /proc/[0-9]*/cmdline || break
  sleep 0.2
done
for task in backup fetch report queue warm; do flows logs $task > "$ROOT/$task.log"; done
flows history > "$ROOT/history"
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def each_minute(text: str) -> str:
    """Return the text with all times replaced, so that the test need not wait until the night."""
    return re.sub(r"(?m)(^|\")(?:[\d*/,-]+ ){4}[\d*/,-]+", r"\1* * * * *", text)


def environments(folder: Path) -> dict[str, dict[str, str]]:
    found = {}
    for job in JOBS:
        lines = (folder / f"{job}.env").read_text().splitlines()
        pairs = dict(line.split("=", 1) for line in lines if "=" in line)
        found[job] = {name: value for name, value in pairs.items() if name in VARIABLES}
    return found


@pytest.mark.waits
def test_jobs_moved_by_the_page_have_the_same_environment_output_and_mail(
    namespace: dict[str, str],  # noqa: F811
    tmp_path: Path,
) -> None:
    (tmp_path / "plain").write_text(each_minute(blocks("crontab")[0]))
    (tmp_path / "job").write_text(JOB)
    (tmp_path / "sbin").mkdir()
    (tmp_path / "sbin/sendmail").write_text(SENDMAIL.replace("$ROOT", str(tmp_path)))
    moved = tmp_path / "moved"
    moved.mkdir()
    for block in [*blocks("yaml"), *blocks("text")]:
        folder, name = re.findall(r"^# (\w+)/(\S+)\.yml\n", block)[0]
        (moved / f"{name}.{'flow' if folder == 'tasks' else 'yml'}").write_text(each_minute(block))
    for path in (tmp_path / "job", tmp_path / "sbin/sendmail"):
        path.chmod(0o755)
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", SCRIPT],
        env={**namespace, "JOBS": " ".join(JOBS), "PATH": f"{os.environ['PATH']}:/usr/sbin", "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    before, after = tmp_path / "home/before", tmp_path / "home/seen"
    # The same arguments, the same standard input, the same variables.
    assert {job: (after / job).read_text() for job in JOBS} == {job: (before / job).read_text() for job in JOBS}
    assert environments(after) == environments(before)
    # What one redirected to a file, and cron mailed of the others, is in the log of each task.
    assert (tmp_path / "home/backup.log").read_text().startswith("output of backup\n")
    for task, job in zip(("backup", "fetch", "report", "queue", "warm"), JOBS, strict=True):
        assert f"stdout: output of {job}" in (tmp_path / f"{task}.log").read_text()
    # Mail about the failed one goes to the same people, with what it printed.
    mails = (tmp_path / "mail").read_text().split("\n.\n")
    failed = next(mail for mail in mails if "fetch" in mail)
    assert "no route to the shop" in failed
    assert "ops@example.org" in failed.partition("\n")[0]
    assert "ops@example.org" in (tmp_path / "mail.before").read_text().partition("\n")[0]
    # Cron was not running at that moment; nothing else is wrong.
    found = [line for line in (tmp_path / "checked").read_text().splitlines() if line.startswith("FAIL")]
    assert ["neither the system" in line for line in found] == [True]
