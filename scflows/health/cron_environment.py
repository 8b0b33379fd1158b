"""Run a command as cron does: minimal environment, no terminal, empty standard input."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.health.installation import Account

#: The PATH of Debian's and busybox's cron; cronie's is longer.
PATH = "/usr/bin:/bin"
#: Prints, in a separate process, the version of scflows and the state folder it would use.
PROBE = """
import json, os, sys
from scflows import __version__
from scflows.cli import main
from scflows.settings import Settings
variables = dict(os.environ)
if len(sys.argv) > 1:
    variables["XDG_STATE_HOME"] = os.path.dirname(sys.argv[1])
print(json.dumps([__version__, Settings("/", variables).state_path]))
"""
#: How long an interpreter may take to answer, in seconds.
PROBE_SECONDS = 60


@dataclass(frozen=True)
class CommandResult:
    """The result of a command that was run as cron does."""

    code: int  #: the exit code of the shell
    output: str
    errors: str


@dataclass(frozen=True)
class Answer:
    """The answer of an interpreter to the probe."""

    version: str = ""
    state: str = ""
    problem: str = ""  #: why it could not answer
    help: str = ""


def environment(account: Account) -> dict[str, str]:
    """Return the variables that cron sets for a command."""
    return {"HOME": account.home, "LOGNAME": account.name, "SHELL": "/bin/sh", "PATH": PATH}


def as_cron(account: Account, command: str, timeout: float | None = None) -> CommandResult:
    """Run the complete command of a crontab line with `/bin/sh -c`. Raise OSError or TimeoutExpired."""
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
            # Ctrl-C does not reach the command, which has its own session.
            process.terminate()
            raise
    return CommandResult(process.returncode, output.decode("utf-8", "replace"), errors.decode("utf-8", "replace"))


def ask_python(account: Account, python: str, state: str | None) -> Answer:
    """Return the version and state folder of an interpreter's scflows, or what is wrong with it."""
    if not os.path.exists(python):
        return Answer(problem="no such program")
    if not os.access(python, os.X_OK) or os.path.isdir(python):
        return Answer(problem="not an executable program")
    words = [python, "-P", "-c", PROBE, *([state] if state else [])]
    try:
        result = as_cron(account, "exec " + shlex.join(words), PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        return Answer(problem=f"did not answer within {PROBE_SECONDS} s")
    if result.code != 0:
        last = (result.errors.strip().splitlines() or [f"exit code {result.code}"])[-1]
        help = f"install it there: {python} -m pip install scflows" if "No module named" in last else ""
        return Answer(problem=f"cannot import scflows in cron's environment: {last}", help=help)
    version, path = json.loads(result.output)
    return Answer(version, path)
