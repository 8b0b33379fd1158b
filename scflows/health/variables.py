"""Check the variables that a user sets in the crontab: what they do to our lines, and what tasks lack."""

from __future__ import annotations

import os
import shutil

from scflows.cron.crontab.program import DEBIAN, implementation
from scflows.cron.crontab.variables import (
    MAILTO,
    lacking_help,
    lacking_text,
    leading_mailto,
    variables,
    variables_of_jobs,
)
from scflows.health import FAIL, WARN, Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.cron.crontab.variables import Variable
    from scflows.health.installation import Installation

#: Shells that start nothing, and those that read a line as `/bin/sh` does.
NO_SHELLS = ("false", "true", "nologin")
SHELLS = ("sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "busybox")
MOVE = "move the block above it: flows repair"


def crontab_variables(installation: Installation) -> Iterator[Finding]:
    """Report variables above our block, which apply to it, and those that only the user's own jobs have."""
    if installation.crontab is None or installation.crontab_error is not None or not installation.parts.lines:
        return
    parts = installation.parts
    above = {each.name: each for each in variables(parts.before)}
    for each in above.values():
        level, effect = _effect(each, installation)
        if effect:
            text = f"{each.written} (line {each.number} of the crontab) applies to our lines: {effect}"
            yield Finding(level, "variables", text, MOVE)
    after = [each for each in variables(parts.foreign) if each.name == MAILTO]
    if after and MAILTO not in above and not leading_mailto(parts.foreign):
        text = f"{after[0].written} stands below a job, so mail about failed tasks goes to {installation.account.name}"
        yield Finding(WARN, "variables", text, "move it to the top of the crontab: crontab -e; then: flows repair")
    lacking = variables_of_jobs(parts.foreign, {*_variables_of_tasks(installation), *above})
    if lacking:
        yield Finding(WARN, "variables", lacking_text(lacking), lacking_help(installation.settings.config_file))


def _variables_of_tasks(installation: Installation) -> set[str]:
    from scflows.config import read_config
    from scflows.errors import ScflowsError

    try:
        return set(read_config(installation.settings).env)
    except ScflowsError:
        return set()  # Reported by another check.


def _effect(variable: Variable, installation: Installation) -> tuple[str, str]:
    """Return the level of a variable that applies to our lines, and what it does; empty if nothing."""
    name, value = variable.name, variable.value
    if name == "SHELL":
        shell = os.path.basename(value)
        if shell in NO_SHELLS or shutil.which(value, path="/usr/bin:/bin") is None:
            return FAIL, "it cannot start any"
        return WARN, "" if shell in SHELLS else "they are written for /bin/sh"
    if name == "HOME" and value != installation.account.home:
        return FAIL, "they look for their tasks in that folder"
    if name in ("CRON_TZ", "CRONTAB_TZ"):
        # Debian's cron does not know them.
        is_known = installation.crontab is not None and implementation(installation.crontab) != DEBIAN
        return FAIL, "all tasks start at times of that zone" if is_known else ""
    if name in ("PATH", "TZ", "LANG", "LC_ALL"):
        return WARN, "programs of tasks get it"
    return WARN, ""
