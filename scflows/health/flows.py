"""Check the flows of tasks: they exist, are valid, and cron finds the programs they run."""

from __future__ import annotations

import os
import shutil

from scflows.errors import FlowError, ScflowsError
from scflows.health import FAIL, OK, WARN, Finding, counted, some
from scflows.health.cron_environment import PATH, environment
from scflows.health.shell_words import programs as programs_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from scflows.cron.task import Task
    from scflows.errors import Mistake
    from scflows.flows.model import Flow
    from scflows.health.installation import Installation
    from scflows.settings import Settings


def flows(installation: Installation) -> Iterator[Finding]:
    """Report tasks whose workspace or flow is missing, unreadable or invalid."""
    findings = []
    count = 0
    for task in installation.scheduled:
        try:
            flow = load(installation, task)
            count += bool(task.flow)
            if flow is not None and (missing := list(_missing_hooks(installation, task, flow))):
                raise FlowError(missing)
            if flow is not None:
                from scflows.flows.missing import missing_secrets

                settings = _settings(installation, task)
                found = missing_secrets(flow, settings, flow.path)
                findings += [Finding(WARN, "flows", f"{task.name}: {each.path}: {each.message}") for each in found]
        except FlowError as error:
            more = f" (and {len(error.mistakes) - 1} more)" if len(error.mistakes) > 1 else ""
            help = error.help or f"flows validate {task.flow}"
            findings.append(Finding(FAIL, "flows", f"{task.name}: {error.mistakes[0]}{more}", help))
        except ScflowsError as error:
            findings.append(Finding(FAIL, "flows", f"{task.name}: {error}", error.help or ""))
    yield from some(findings)
    if not findings and count:
        yield Finding(OK, "flows", f"the flows of {counted(count, 'task')} are valid")


def programs(installation: Installation) -> Iterator[Finding]:
    """Report programs of shell steps that are not on cron's short PATH."""
    if installation.scheduler is not None:
        return  # The scheduler passes on its own PATH.
    findings = []
    for task in installation.scheduled:
        try:
            flow = load(installation, task)
        except ScflowsError:
            continue  # Reported by `flows`.
        missing = missing_programs(flow, _env(installation, task))
        findings += [Finding(FAIL, "PATH", f"{task.name}: {text}", help) for text, help in missing]
    yield from some(findings)


def _missing_hooks(installation: Installation, task: Task, flow: Flow) -> Iterator[Mistake]:
    from scflows.flows.loader import find_flow
    from scflows.flows.missing import missing_hooks

    if flow.hooks:
        where = find_flow(task.flow, _settings(installation, task))
        yield from missing_hooks(flow.hooks, where.folder, where.file, where.written)


def _settings(installation: Installation, task: Task) -> Settings:
    """Return the settings of a task under cron."""
    from scflows.settings import read_settings

    return read_settings(task.workspace, {**environment(installation.account), **task.settings})


def _env(installation: Installation, task: Task) -> Mapping[str, Any]:
    from scflows.config import read_config
    from scflows.cron.task import task_settings

    try:
        return read_config(task_settings(task)).env
    except ScflowsError:
        return {}  # Reported by another check.


def load(installation: Installation, task: Task) -> Flow | None:
    """Load the flow of a task as cron would; None for a task that is a command. Raise ScflowsError."""
    from scflows.flows.loader import find_flow, load_flow

    settings = _settings(installation, task)
    if not task.flow:
        return None
    return load_flow(find_flow(task.flow, settings), settings, cache=False)


def missing_programs(flow: Flow | None, env: Mapping[str, Any] | None = None) -> Iterator[tuple[str, str]]:
    """Return the programs of a flow's shell steps that are not on their PATH: the problem and the help.

    `env` are the variables that `config.yml` sets.
    """
    for step in flow.steps if flow is not None else ():
        command = step.options.get("command") if step.type == "shell" else None
        if isinstance(command, list):
            words = [str(command[0])] if command else []
        else:
            words = programs_of(command) if isinstance(command, str) and "{{" not in command else []
        layers = (env or {}, flow.env if flow is not None else {}, step.options.get("env") or {})
        path = _path(layers) if words else None
        for word in words if path is not None else ():
            if ("/" in word and not os.path.isabs(word)) or shutil.which(word, path=path):
                continue
            found = shutil.which(word)
            help = f"install {word}"
            if found and found != word:
                folder = os.path.dirname(found)
                add = f"add to env: PATH: {folder}:$PATH"
                help = f"write {found} in the step" if isinstance(command, list) else f"write {found}, or {add}"
            yield f"step {step.name!r}: cron does not find the program {word!r} (its PATH is {path})", help


def _path(layers: Iterable[Mapping[str, Any]]) -> str | None:
    """Return the PATH of a step's programs; None if it is only known when the step runs."""
    path = PATH
    for layer in layers:
        text = layer.get("PATH") if isinstance(layer, dict) else None
        if text is None:
            continue
        if not isinstance(text, str) or "{{" in text:
            return None
        path = text.replace("${PATH}", path).replace("$PATH", path)
    return path
