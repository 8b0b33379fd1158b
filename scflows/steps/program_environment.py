"""The environment variables that a step passes to a program."""

from __future__ import annotations

import os

from scflows.cron.machine_zone import given_zone
from scflows.errors import StepError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from scflows.steps.context import Context

#: Variables that programs get as they are in the environment of the run.
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL")


def program_variables(ctx: Context, env: Mapping[str, Any] | None) -> dict[str, str]:
    """Return all variables of a program: cron's own, those of `config.yml`, of the flow, and `env`, of the step.

    Later ones take precedence, and can extend earlier ones of the same name: `PATH: "/opt/bin:$PATH"`. A variable
    that is null is removed. Raises StepError if `config.yml` has mistakes: without its variables a program could do
    something else.
    """
    from scflows.config import read_config

    try:
        config = read_config(ctx.settings)
    except UsageError as error:
        raise StepError(str(error)) from error
    variables = _variables_of_cron(ctx.settings.environment)
    for layer in (config.env, ctx.rendered(ctx.flow_env, True), env or {}):
        variables |= {name: _extended(text, name, variables) for name, text in as_texts(layer).items()}
        for name in [name for name, value in layer.items() if value is None]:
            variables.pop(name, None)
    return variables


def as_texts(env: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables that are not null as texts; a value that is not text becomes JSON."""
    from scflows import documents

    values = {name: value for name, value in env.items() if value is not None}
    return {name: value if isinstance(value, str) else documents.json_text(value) for name, value in values.items()}


def _variables_of_cron(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what cron gives to every job, so that a run by hand sees the same: see crontab(5)."""
    import pwd

    variables = {"PATH": os.defpath, "SHELL": "/bin/sh"}
    try:
        user = pwd.getpwuid(os.geteuid())
    except KeyError:
        pass  # A container may run as a user without an entry.
    else:
        variables |= {"HOME": user.pw_dir, "LOGNAME": user.pw_name, "USER": user.pw_name}
    variables |= {name: environment[name] for name in PASSED_ON if environment.get(name)}
    zone = given_zone(environment)
    return variables | ({"TZ": zone} if zone else {})


def _extended(text: str, name: str, variables: Mapping[str, str]) -> str:
    """Replace `$NAME` and `${NAME}` in the variable NAME by its earlier value, and nothing else."""
    if "$" not in text:
        return text
    import re

    earlier = variables.get(name, "")
    return re.sub(rf"\$(?:\{{{re.escape(name)}\}}|{re.escape(name)}(?![A-Za-z0-9_]))", lambda _: earlier, text)
