"""Commands in results, hints and help of errors: they can be pasted as they are."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "flows"
#: The commands whose workspace `--home` names, as a test compares with the app, which imports this module.
COMMANDS = [
    "doctor",
    "ls",
    "auto-schedule",
    "manual-schedule",
    "list-tasks",
    "show",
    "next",
    "load",
    "edit",
    "enable",
    "disable",
    "remove-task",
    "clear-tasks",
    "rebalance",
    "repair",
    "crontab",
    "run",
    "history",
    "runs",
    "artifacts",
    "logs",
    "folders",
    "locks",
    "validate",
    "list-flows",
    "steps",
    "schema",
    "graph",
    "devices",
    "check-devices",
    "cron",
    "tick",
    "forward",
    "demo",
    "check",
    "health",
    "notify",
    "config",
]


def pasteable(text: str, home: str | None, environment: Mapping[str, str]) -> str:
    """Return a text whose commands find this program, and the workspace that `--home` names."""
    if f"{NAME} " not in text:
        return text
    program = _program(environment)
    if program == NAME and home is None:
        return text
    words = "|".join(COMMANDS)
    named = program if home is None else f"{program} --home {shlex.quote(home)}"
    # A function, because a path may have a backslash.
    text = re.sub(rf"(?<![\w/.-]){NAME} (?=(?:{words})(?![\w-]))", lambda found: f"{named} ", text)
    return re.sub(rf"(?<![\w/.-]){NAME} (?=--|init )", lambda found: f"{program} ", text)


def _program(environment: Mapping[str, str]) -> str:
    """Return how this program is called from the current folder: `flows`, or its path if that is not on the PATH."""
    path = sys.argv[0]
    if os.path.basename(path) != NAME:
        return NAME
    found = shutil.which(NAME, path=environment.get("PATH"))
    try:
        if found is not None and os.path.samefile(found, path):
            return NAME
        relative = os.path.relpath(path)
    except OSError:
        return NAME
    return shlex.quote(path if relative.startswith("..") else relative)
