"""Runs in a device's process: several runs of `process` in one, since to load the packages takes two seconds."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from scflows.integrations.smartcitizen.processing.process import process


def process_all(given: dict[str, Any], child: Any) -> list[dict[str, Any]]:
    """What each of `runs` answers, one after another; `now` is what its clock shows."""
    told = []
    for run in given["runs"]:
        child.door.problems.clear()
        clock = time.time if "now" not in run else partial(float, run["now"])
        told.append(process({"limit": 500, "pieces": 20, "retries": 3, "seconds": None, **run}, child, clock))
    return told


def fill(given: dict[str, Any], child: Any) -> int:
    """Take more memory than there is."""
    return len(bytearray(given["bytes"]))


def look(given: dict[str, Any], child: Any) -> dict[str, Any]:
    """What the process finds around it, and what it says."""
    import os
    import sys

    sys.stdout.write("printed\n")
    return {"variables": dict(os.environ), "words": sys.orig_argv, "folder": os.listdir(child.folder)}


def fail(given: dict[str, Any], child: Any) -> None:
    raise ValueError("on purpose")
