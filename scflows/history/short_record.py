"""Records of runs for a full disk: the target of a symbolic link, which file systems keep without a block of data.

They have the id, status, reason and times of a run, but neither steps nor a message. Common file systems keep up to 59
bytes this way.
"""

from __future__ import annotations

import os

from scflows.history.run import FINAL, RUNNING, Run
from scflows.storage import discard

#: The message of such a run in the history.
MESSAGE = "the disk was full: neither its steps nor its message were recorded"


def write_short_record(path: str, run: Run) -> None:
    """Replace a file by the short record of a run. Raises OSError."""
    ended = run.ended is not None
    fields = [run.id, run.status, run.reason, f"{run.started:.1f}", f"{run.took:.1f}" if ended else ""]
    if not _is_claim(path):
        fields += ["" if run.slot is None else f"{run.slot:.0f}", run.task]
    hidden = f"{path}.{run.id}"
    os.symlink(":".join(fields), hidden)
    try:
        os.replace(hidden, path)
    except OSError:
        discard(hidden)
        raise


def read_short_record(path: str) -> Run | None:
    """Return the run of a short record; None for any other file. Raises ValueError if it is invalid."""
    try:
        target = os.readlink(path)
    except OSError:
        return None
    id, status, reason, started, took, *rest = target.split(":", 6)
    task, _, slot = os.path.basename(path).removesuffix(".json").rpartition("@")
    if not _is_claim(path):
        slot, task = rest
    if not id.isalnum() or status not in (RUNNING, *FINAL):
        raise ValueError("not the record of a run")
    run = Run(id, task, task, status=status, reason=reason, message=MESSAGE, started=float(started))
    if slot:
        run.slot, run.trigger = float(slot), "cron"
    run.ended = run.started + float(took) if took else None
    return run


def _is_claim(path: str) -> bool:
    """Return whether the name of a file says whose slot it claims: `TASK@SLOT.json`."""
    return "@" in os.path.basename(path)
