"""Runs on a full disk are in the history once there is space: in a mount namespace."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scflows.history.recorder import LOST_AFTER, Recorder, claim_path, import_claims
from scflows.history.run import Run, new_run_id
from scflows.history.short_record import MESSAGE, write_short_record
from scflows.history.store import open_store
from scflows.locks import current_process
from scflows.settings import Settings

SLOT = 1790000000 // 60 * 60
SCRIPT = """
mount -t tmpfs -o size=700k none "$(dirname "$STATE")"
flows() { "$PYTHON" -P -m scflows "$@"; }
flows manual-schedule good.yml bad.yml --every @minute >&2
flows run good >&2
cat /dev/zero > "$STATE/fill" 2> /dev/null || true
flows run good.yml --task good --state "$STATE" --slot $SLOT >&2
flows run bad.yml --task bad --state "$STATE" --slot $SLOT >&2 || true
# The slot is claimed.
flows run good.yml --task good --state "$STATE" --slot $SLOT >&2
rm "$STATE/fill"
flows history --json
ls "$STATE/claims" >&2
"""


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare")
def test_runs_on_a_full_disk_are_in_the_history_once_there_is_space(
    settings: Settings, workspace: Path, environment: dict[str, str]
) -> None:
    (workspace / "tasks/good.yml").write_text("steps: [{name: s, type: set_fact, set_fact: {value: 1}}]\n")
    (workspace / "tasks/bad.yml").write_text("steps: [{name: s, type: shell, shell: {command: 'exit 3'}}]\n")
    os.makedirs(settings.state_path, exist_ok=True)
    given = {**environment, "STATE": settings.state_path, "PYTHON": sys.executable, "SLOT": str(SLOT)}
    given["CRONTAB_PROGRAM"] = "none"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", SCRIPT], env=given, cwd=workspace, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    runs = [run for run in json.loads(done.stdout)["items"] if run["slot"]]
    found = sorted((run["task"], run["status"], run["reason"] or "", run["message"]) for run in runs)
    assert ("bad", "failed", "error", MESSAGE) in found
    assert ("good", "success", "", MESSAGE) in found
    assert [each for each in found if each[1] not in ("skipped",)] == [found[0], ("good", "success", "", MESSAGE)]


def test_a_claim_of_a_run_that_was_killed_on_a_full_disk_becomes_a_crash_after_a_day(settings: Settings) -> None:
    run = Run(new_run_id(), "one.yml", "one", slot=60.0, status="running", holder=current_process())
    path = claim_path(settings, "one", 60.0)
    os.makedirs(os.path.dirname(path))
    write_short_record(path, run)
    assert Recorder(settings).claim(Run(new_run_id(), "one.yml", "one", slot=60.0)) == run.id
    with open_store(settings) as store:
        assert import_claims(settings, store) == 0
        old = run.started - LOST_AFTER - 60
        os.utime(path, (old, old), follow_symlinks=False)
        assert import_claims(settings, store) == 1
        found = store.run(run.id)
    assert found is not None
    assert not os.path.lexists(path)
