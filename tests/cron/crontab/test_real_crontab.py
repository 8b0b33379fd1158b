"""Real programs `crontab` on a full disk, on a read-only one and without their folder: in a mount namespace."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.service

SCRIPT = """
set -eu
mount --make-rprivate /
spool=/var/spool/cron/crontabs
mkdir -p $spool
mount -t tmpfs -o mode=1730,size=16k none $spool
if getent group crontab > /dev/null; then chgrp crontab $spool; fi
cd "$ROOT/workspace"
export HOME="$ROOT/home"
attempt() {
  code=0
  "$PYTHON" -P -m scflows manual-schedule two.yml > "$ROOT/$1.said" 2>&1 || code=$?
  echo "exit $code" >> "$ROOT/$1.said"
  "$CRONTAB_PROGRAM" -l > "$ROOT/$1.tab" 2>&1 || true
}
printf '# mine\\n5 4 * * * true\\n' | "$CRONTAB_PROGRAM" -
"$PYTHON" -P -m scflows manual-schedule one.yml
"$CRONTAB_PROGRAM" -l > "$ROOT/before.tab"
head -c 100000 /dev/zero > $spool/filler 2> "$ROOT/filled" || true
attempt full
rm $spool/filler
mount -o remount,ro $spool
attempt readonly
mount -o remount,rw $spool
attempt well
mount -t tmpfs -o ro none /var/spool/cron
attempt missing
"""


ODD = """
set -eu
mount --make-rprivate /
spool=/var/spool/cron/crontabs
mkdir -p $spool
mount -t tmpfs -o mode=1730 none $spool
if getent group crontab > /dev/null; then chgrp crontab $spool; fi
cd "$ROOT/workspace"
export HOME="$ROOT/home"
"$CRONTAB_PROGRAM" - < "$ROOT/odd"
for words in "manual-schedule one.yml" "manual-schedule two.yml" "remove-task one" "clear-tasks --yes"; do
  "$PYTHON" -P -m scflows $words
done
cat $spool/"$(id -un)"
"""


@pytest.fixture(params=["crontab", "busybox"])
def program(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    found = shutil.which(request.param, path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/bin")))
    missing = request.param if found is None else "unshare" if shutil.which("unshare") is None else ""
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs {missing or 'root'}")
    assert found is not None
    if request.param == "busybox":
        if "crontab" not in subprocess.run([found, "--list"], capture_output=True, text=True).stdout.split():
            pytest.skip("needs a busybox with crontab, as that of busybox-static")
        # Which of its programs it is, it is told by its name.
        (tmp_path / "crontab").symlink_to(found)
        return str(tmp_path / "crontab")
    return found


@pytest.fixture
def apart(program: str, tmp_path: Path) -> Callable[[str], bytes]:
    """Run a script in a mount namespace, where two flows are to be scheduled; what it says."""
    for name in ("home", "workspace/tasks"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("one", "two"):
        (tmp_path / "workspace/tasks" / f"{name}.yml").write_text("schedule: {every: 1h}\nsteps: []\n")
    environment = {
        "ROOT": str(tmp_path),
        "PYTHON": sys.executable,
        "PATH": os.environ["PATH"],
        "CRONTAB_PROGRAM": program,
    }

    def run(script: str) -> bytes:
        command = ["unshare", "--mount", "sh", "-c", script]
        done = subprocess.run(command, env=environment, capture_output=True, timeout=110)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return run


def test_every_byte_that_a_line_may_have_stays_as_it_is(apart: Callable[[str], bytes], tmp_path: Path) -> None:
    bytes_but_newline = bytes(byte for byte in range(1, 256) if byte != 10)
    odd = b"5 4 * * * echo " + bytes_but_newline + b"\n# \\r\\b\r\n6 4 * * * printf 'x\\r'\n"
    (tmp_path / "odd").write_bytes(odd)
    assert apart(ODD).endswith(odd)


def test_a_crontab_that_cannot_be_written_is_as_it_was_and_the_reason_is_told(
    apart: Callable[[str], bytes], tmp_path: Path
) -> None:
    apart(SCRIPT)

    def read(name: str) -> str:
        return (tmp_path / name).read_text()

    before = read("before.tab")
    assert "\n5 4 * * * true\n" in before
    for name, helps in {"full": "free disk space", "readonly": ""}.items():
        said = read(f"{name}.said")
        assert said.endswith("exit 5\n"), said
        assert helps in said
        assert read(f"{name}.tab") == before
    assert read("well.said").endswith("exit 0\n")
    assert read("well.tab").count("\n") == before.count("\n") + 1
    said = read("missing.said")
    assert said.endswith("exit 5\n")
    assert "or run the tasks without it: set CRONTAB_PROGRAM=none in .env, schedule again, then: flows cron run" in said
