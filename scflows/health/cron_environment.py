"""Start something as cron does: next to no environment, no terminal, an empty standard input."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.health.installation import Account

#: What Debian's cron and busybox's give; cronie's has more.
PATH = "/usr/bin:/bin"
#: Tells, in a process of its own, which scflows it has and where that would look for tasks.
QUESTION = """
import json, os, sys
from scflows import __version__
from scflows.cli import main
from scflows.settings import Settings
given = dict(os.environ)
if len(sys.argv) > 1:
    given["XDG_STATE_HOME"] = os.path.dirname(sys.argv[1])
print(json.dumps([__version__, Settings("/", given).state_path]))
"""
#: How long an interpreter may take to answer, in seconds.
PATIENCE = 60


@dataclass(frozen=True)
class Ended:
    """How a command ended that was started as cron does."""

    code: int  #: as the shell has it
    output: str
    errors: str


@dataclass(frozen=True)
class Answer:
    """What an interpreter said of itself."""

    version: str = ""
    state: str = ""
    problem: str = ""  #: why it could not answer
    help: str = ""


def environment(account: Account) -> dict[str, str]:
    """The variables that a command has under cron."""
    return {"HOME": account.home, "LOGNAME": account.name, "SHELL": "/bin/sh", "PATH": PATH}


def as_cron(account: Account, command: str, timeout: float | None = None) -> Ended:
    """Run a command of a crontab line, tag and all, by `/bin/sh -c`. Raises OSError, TimeoutExpired."""
    process = subprocess.Popen(
        ["/bin/sh", "-c", command],
        env=environment(account),
        cwd=account.home if os.path.isdir(account.home) else "/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        umask=0o022,
    )
    with process:
        try:
            output, errors = process.communicate(b"", timeout)
        except BaseException:
            # An interruption typed here does not reach a session of its own by itself.
            process.terminate()
            raise
    return Ended(process.returncode, output.decode("utf-8", "replace"), errors.decode("utf-8", "replace"))


def ask_python(account: Account, python: str, state: str | None) -> Answer:
    """Whether an interpreter is there, has scflows, and which."""
    if not os.path.exists(python):
        return Answer(problem="there is no such program")
    if not os.access(python, os.X_OK) or os.path.isdir(python):
        return Answer(problem="is no program that may be started")
    words = [python, "-P", "-c", QUESTION, *([state] if state else [])]
    try:
        said = as_cron(account, "exec " + shlex.join(words), PATIENCE)
    except subprocess.TimeoutExpired:
        return Answer(problem=f"did not answer within {PATIENCE} s")
    if said.code != 0:
        last = (said.errors.strip().splitlines() or [f"ended with {said.code}"])[-1]
        help = f"install it there: {python} -m pip install scflows" if "No module named" in last else ""
        return Answer(problem=f"cannot import scflows in cron's environment: {last}", help=help)
    version, path = json.loads(said.output)
    return Answer(version, path)
