"""Run YAML workflows from your crontab, spread out so they don't pile up."""

from __future__ import annotations

import sys
import time

__version__ = "0.1.0"
#: When this process, or the one that it was forked from, began, by the monotonic clock.
BEGAN = time.monotonic()


def command_line(*arguments: str) -> list[str]:
    """Return the command that runs `flows` in a new process; `-P` keeps its working folder off the import path."""
    return [sys.executable, "-P", "-m", "scflows", *arguments]
