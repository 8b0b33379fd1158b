"""Try things as cron would: run one task or flow, or have each interpreter load all its tasks."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field

from scflows import command_line
from scflows.errors import FlowError, ScflowsError, UsageError
from scflows.health import FAIL, OK, Finding, counted, some
from scflows.health.cron_environment import PROBE_SECONDS, as_cron
from scflows.health.flows import missing_programs
from scflows.history.run import CHECK, SKIPPED, Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.cron.task import Task
    from scflows.health.installation import Installation
    from scflows.history.contract import Query
    from scflows.settings import Settings


@dataclass
class Trial:
    """The result of a task or flow that was run as cron would."""

    command: str  #: the argument of `/bin/sh -c`
    code: int = 0  #: the exit code
    run: Run | None = None  #: its record, if it has one
    log: str = ""  #: what it wrote to its log
    output: str = ""  #: what it printed; cron would mail it
    missing: list[str] = field(default_factory=list)  #: programs that cron's environment lacks


def try_out(installation: Installation, name: str) -> Trial:
    """Run a task or flow as cron would. Raise NotFound or FlowError if there is neither.

    It is a real run, and it starts immediately. The run of a task has no slot, so that cron's slots stay free.
    """
    settings = installation.settings
    is_path = "/" in name or name.endswith((".yml", ".yaml"))
    if not is_path and os.path.exists(os.path.join(settings.state_path, "tasks", f"{name}.json")):
        return _try_task(installation, name)
    return _try_flow(installation, name)


def start_all(installation: Installation) -> list[Finding]:
    """Have each interpreter in the tabfile load its tasks and their flows in cron's environment.

    Nothing is run.
    """
    findings = []
    for python, state in sorted({(entry.python, entry.state) for entry in installation.all_entries}, key=str):
        words = [python, "-P", "-m", "scflows.health.cron_trial", state or ""]
        try:
            result = as_cron(installation.account, "exec " + shlex.join(words), PROBE_SECONDS)
        except subprocess.TimeoutExpired:
            findings.append(Finding(FAIL, "as-cron", f"{python} did not answer within {PROBE_SECONDS} s"))
            continue
        if result.code != 0:
            last = (result.errors.strip().splitlines() or [f"exit code {result.code}"])[-1]
            findings.append(Finding(FAIL, "as-cron", f"{python}: {last}", "flows check"))
            continue
        names = _started_by(installation, python, state)
        answers = {each: (problem, help) for each, problem, help in json.loads(result.output)}
        failures = [
            Finding(FAIL, "as-cron", f"{each}: {answers[each][0]}", answers[each][1])
            for each in sorted(names & set(answers))
            if answers[each][0]
        ]
        failures += [
            Finding(FAIL, "as-cron", f"{each}: {python} does not find this task")
            for each in sorted(names - set(answers))
        ]
        findings += some(failures)
        if not failures:
            findings.append(Finding(OK, "as-cron", f"{python} can start {counted(len(names), 'task')}"))
    return findings


def _started_by(installation: Installation, python: str, state: str | None) -> set[str]:
    """Return the tasks that crontab lines with this interpreter and state folder start."""
    names = {entry.name for entry in installation.entries if (entry.python, entry.state) == (python, state)}
    tick = installation.tabfile.tick
    if tick is not None and (tick.python, tick.state) == (python, state):
        names.update(task.name for task in installation.scheduled)
    return names


def loaded_tasks(state: str) -> list[tuple[str, str, str]]:
    """Load each task that this process finds in its environment; return name, problem and help."""
    from scflows.cron.task import TaskStore
    from scflows.settings import Settings

    environment = dict(os.environ)
    if state:
        environment["XDG_STATE_HOME"] = os.path.dirname(state)
    tasks, problems = TaskStore(Settings("/", environment)).read_all()
    results = []
    for task in tasks:
        try:
            _load(task)
            results.append((task.name, "", ""))
        except FlowError as error:
            results.append((task.name, str(error.mistakes[0]), error.help or ""))
        except ScflowsError as error:
            results.append((task.name, str(error), error.help or ""))
    for problem in problems:
        name = os.path.basename(str(problem).partition(".json")[0])
        results.append((name, str(problem), problem.help or ""))
    return results


def _load(task: Task) -> None:
    from scflows.cron.task import task_settings
    from scflows.flows.loader import find_flow, load_flow

    settings = task_settings(task)
    if task.flow:
        load_flow(find_flow(task.flow, settings), settings, cache=False)


def _try_task(installation: Installation, name: str) -> Trial:
    from scflows.cron.crontab.editor import state_for_cron
    from scflows.cron.crontab.line import line
    from scflows.cron.task import TaskStore, task_settings
    from scflows.history.contract import Query

    task = TaskStore(installation.settings).read(name)
    if task.is_paused(installation.now):
        raise UsageError(f"task {name!r} is paused, so cron would not start it", f"flows enable {name}")
    text = installation.tabfile.line(name) or line(task, sys.executable, state_for_cron(installation.settings))
    # Without a slot, because slots are cron's.
    query = Query(task=name, since=installation.now - 1, limit=10)
    return _tried(installation, task_settings(task), name, _command(text, name), query, task.flow, CHECK)


def _try_flow(installation: Installation, path: str) -> Trial:
    from scflows.cron.task import task_name
    from scflows.flows.loader import find_flow, load_flow
    from scflows.history.contract import Query

    settings = installation.settings
    flow = find_flow(path, settings)
    load_flow(flow, settings, cache=False)
    # The settings that a task of this flow would remember.
    variables = [f"{key}={shlex.quote(value)}" for key, value in settings.remembered().items()]
    words = command_line("run", flow.file, "--home", settings.home, "--quiet")
    command = " ".join([*variables, shlex.join(words)])
    query = Query(task=task_name(flow.file, flow.folder), since=installation.now - 1, limit=1)
    return _tried(installation, settings, query.task or "", command, query, flow.file)


def _tried(
    installation: Installation,
    settings: Settings,
    name: str,
    command: str,
    query: Query,
    flow: str,
    trigger: str = "manual",
) -> Trial:
    from scflows.history.store import ask
    from scflows.history.task_log import log_path

    log = log_path(settings.tasks_path, name)
    before = os.path.getsize(log) if os.path.exists(log) else 0
    result = as_cron(installation.account, command)
    trial = Trial(command, result.code, output=result.output + result.errors)
    try:
        with open(log, "rb") as file:
            file.seek(before)
            trial.log = file.read().decode("utf-8", "replace")
    except OSError:
        pass  # The run itself has printed an error.
    # If the history cannot be read, the log shows the outcome.
    runs = ask(settings, lambda store: store.find(query), [])
    trial.run = next((run for run in runs if run.trigger == trigger), None)
    if trial.run is not None and trial.run.log not in ("", log):
        # A run of a task that may run several times at the same time has its own log.
        try:
            with open(trial.run.log, "rb") as file:
                trial.log = file.read().decode("utf-8", "replace")
        except OSError:
            pass
    if flow and (result.code or trial.run is None) and not (trial.run is not None and trial.run.status == SKIPPED):
        trial.missing = _missing_programs(flow, settings)
    return trial


def _missing_programs(path: str, settings: Settings) -> list[str]:
    from scflows.config import read_config
    from scflows.flows.loader import find_flow, load_flow

    try:
        flow = load_flow(find_flow(path, settings), settings, cache=False)
        env = read_config(settings).env
    except ScflowsError:
        return []
    return [f"{problem}: {help}" for problem, help in missing_programs(flow, env)]


def _command(text: str, name: str) -> str:
    """Return the command of a crontab line (after five fields or an @name), for a trial run."""
    words = text.split(None, 1 if text.startswith("@") else 5)
    command = words[-1].removesuffix(f" # {name}")
    from scflows.cron.crontab.line import parse_line

    entry = parse_line(text)
    if entry is not None and entry.second:
        command = command.partition("exec ")[2]  # A trial does not wait for its second.
    return f"{command} --trigger {CHECK} # {name}"


if __name__ == "__main__":
    sys.stdout.write(json.dumps(loaded_tasks(sys.argv[1])))
