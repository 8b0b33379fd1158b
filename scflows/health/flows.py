"""Check the flows of tasks: they exist, are valid, and cron finds the programs they run."""

from __future__ import annotations

import os
import shutil

from scflows.errors import FlowError, ScflowsError
from scflows.health import FAIL, OK, WARN, Finding, counted, some
from scflows.health.cron_environment import PATH, environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

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
        findings += [Finding(FAIL, "PATH", f"{task.name}: {text}", help) for text, help in missing_programs(flow)]
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


def load(installation: Installation, task: Task) -> Flow | None:
    """Load the flow of a task as cron would; None for a task that is a command. Raise ScflowsError."""
    from scflows.flows.loader import find_flow, load_flow

    settings = _settings(installation, task)
    if not task.flow:
        return None
    return load_flow(find_flow(task.flow, settings), settings, cache=False)


def missing_programs(flow: Flow | None) -> Iterator[tuple[str, str]]:
    """Return the programs of a flow's shell steps that are not on cron's PATH: the problem and the help."""
    for step in flow.steps if flow is not None else ():
        command = step.options.get("command") if step.type == "shell" else None
        word = str(command[0]) if isinstance(command, list) and command else ""
        if not word or ("/" in word and not os.path.isabs(word)) or shutil.which(word, path=PATH):
            continue
        found = shutil.which(word)
        help = f"write {found} in the step" if found and found != word else f"install {word}"
        yield f"step {step.name!r}: cron does not find the program {word!r} (its PATH is {PATH})", help
