"""Try it as cron would: run one task or flow, or have each interpreter read all tasks it is to start."""

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
from scflows.health.cron_environment import PATIENCE, as_cron
from scflows.health.flows import lacking
from scflows.history.run import CHECK, SKIPPED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.cron.task import Task
    from scflows.health.installation import Installation
    from scflows.history.contract import Query
    from scflows.history.run import Run
    from scflows.settings import Settings


@dataclass
class Trial:
    """What became of a task or flow that was run as cron would."""

    command: str  #: what `/bin/sh -c` was given
    code: int = 0  #: the exit status
    run: Run | None = None  #: its record, when it came as far as that
    log: str = ""  #: what it wrote into its log
    said: str = ""  #: what it printed; cron would send it by mail
    lacking: list[str] = field(default_factory=list)  #: what cron's environment did not have


def try_out(installation: Installation, name: str) -> Trial:
    """Run a task, else a flow, as cron would. Raises NotFound or FlowError when there is neither.

    It is a real run, and begins at once. A task answers for a slot that is none of cron's, so that it takes none away.
    """
    settings = installation.settings
    is_path = "/" in name or name.endswith((".yml", ".yaml"))
    if not is_path and os.path.exists(os.path.join(settings.state_path, "tasks", f"{name}.json")):
        return _try_task(installation, name)
    return _try_flow(installation, name)


def start_all(installation: Installation) -> list[Finding]:
    """Have each interpreter that the tabfile names read its tasks and their flows in cron's environment.

    Nothing is run.
    """
    findings = []
    for python, state in sorted({(entry.python, entry.state) for entry in installation.all_entries}, key=str):
        words = [python, "-P", "-m", "scflows.health.cron_trial", state or ""]
        try:
            said = as_cron(installation.account, "exec " + shlex.join(words), PATIENCE)
        except subprocess.TimeoutExpired:
            findings.append(Finding(FAIL, "as-cron", f"{python} did not answer within {PATIENCE} s"))
            continue
        if said.code != 0:
            last = (said.errors.strip().splitlines() or [f"ended with {said.code}"])[-1]
            findings.append(Finding(FAIL, "as-cron", f"{python}: {last}", "see: flows check"))
            continue
        names = _started_by(installation, python, state)
        answers = {each: (problem, help) for each, problem, help in json.loads(said.output)}
        bad = [
            Finding(FAIL, "as-cron", f"{each}: {answers[each][0]}", answers[each][1])
            for each in sorted(names & set(answers))
            if answers[each][0]
        ]
        bad += [Finding(FAIL, "as-cron", f"{each}: it finds no such task") for each in sorted(names - set(answers))]
        findings += some(bad)
        if not bad:
            findings.append(Finding(OK, "as-cron", f"{python} can start {counted(len(names), 'task')}"))
    return findings


def _started_by(installation: Installation, python: str, state: str | None) -> set[str]:
    """The tasks that lines with this interpreter and state folder start."""
    names = {entry.name for entry in installation.entries if (entry.python, entry.state) == (python, state)}
    tick = installation.tabfile.tick
    if tick is not None and (tick.python, tick.state) == (python, state):
        names.update(task.name for task in installation.scheduled)
    return names


def tell_tasks(state: str) -> list[tuple[str, str, str]]:
    """Each task that this process, in its environment, can find: name, what is wrong with it, what to do."""
    from scflows.cron.task import TaskStore
    from scflows.settings import Settings

    environment = dict(os.environ)
    if state:
        environment["XDG_STATE_HOME"] = os.path.dirname(state)
    tasks, problems = TaskStore(Settings("/", environment)).read_all()
    told = []
    for task in tasks:
        try:
            _load(task)
            told.append((task.name, "", ""))
        except FlowError as error:
            told.append((task.name, str(error.mistakes[0]), error.help or ""))
        except ScflowsError as error:
            told.append((task.name, str(error), error.help or ""))
    for problem in problems:
        name = os.path.basename(str(problem).partition(".json")[0])
        told.append((name, str(problem), problem.help or ""))
    return told


def _load(task: Task) -> None:
    from scflows.cron.task import task_settings
    from scflows.flows.loader import find_flow, load_flow

    settings = task_settings(task)
    if task.flow:
        load_flow(find_flow(task.flow, settings), settings, keep=False)


def _try_task(installation: Installation, name: str) -> Trial:
    from scflows.cron.crontab.editor import state_for_cron
    from scflows.cron.crontab.line import line
    from scflows.cron.task import TaskStore, task_settings
    from scflows.history.contract import Query

    task = TaskStore(installation.settings).read(name)
    if not task.enabled:
        raise UsageError(f"the task {name!r} is paused, and cron would not start it", f"flows enable {name}")
    text = installation.tabfile.line(name) or line(task, sys.executable, state_for_cron(installation.settings))
    # For no slot: those are cron's.
    wanted = Query(task=name, since=installation.now - 1, limit=10)
    return _tried(installation, task_settings(task), name, _command(text, name), wanted, task.flow, CHECK)


def _try_flow(installation: Installation, path: str) -> Trial:
    from scflows.cron.task import task_name
    from scflows.flows.loader import find_flow, load_flow
    from scflows.history.contract import Query

    settings = installation.settings
    where = find_flow(path, settings)
    load_flow(where, settings, keep=False)
    # What a task of this flow would remember of the settings.
    given = [f"{key}={shlex.quote(value)}" for key, value in settings.remembered().items()]
    words = command_line("run", where.file, "--home", settings.home, "--quiet")
    command = " ".join([*given, shlex.join(words)])
    wanted = Query(task=task_name(where.file, where.folder), since=installation.now - 1, limit=1)
    return _tried(installation, settings, wanted.task or "", command, wanted, where.file)


def _tried(
    installation: Installation,
    settings: Settings,
    name: str,
    command: str,
    wanted: Query,
    flow: str,
    trigger: str = "manual",
) -> Trial:
    from scflows.history.store import ask
    from scflows.history.task_log import log_path

    log = log_path(settings.tasks_path, name)
    before = os.path.getsize(log) if os.path.exists(log) else 0
    ended = as_cron(installation.account, command)
    trial = Trial(command, ended.code, said=ended.output + ended.errors)
    try:
        with open(log, "rb") as file:
            file.seek(before)
            trial.log = file.read().decode("utf-8", "replace")
    except OSError:
        pass  # It has said so itself, where cron would send a mail.
    # If the history cannot be read, the log shows how it ended.
    runs = ask(settings, lambda store: store.find(wanted), [])
    trial.run = next((run for run in runs if run.trigger == trigger), None)
    if flow and (ended.code or trial.run is None) and not (trial.run is not None and trial.run.status == SKIPPED):
        trial.lacking = _lacking(flow, settings)
    return trial


def _lacking(path: str, settings: Settings) -> list[str]:
    from scflows.flows.loader import find_flow, load_flow

    try:
        flow = load_flow(find_flow(path, settings), settings, keep=False)
    except ScflowsError:
        return []
    return [f"{told}: {help}" for told, help in lacking(flow)]


def _command(text: str, name: str) -> str:
    """The command of a crontab line, which begins with five fields or an @name, to try it out."""
    words = text.split(None, 1 if text.startswith("@") else 5)
    return f"{words[-1].removesuffix(f' # {name}')} --trigger {CHECK} # {name}"


if __name__ == "__main__":
    sys.stdout.write(json.dumps(tell_tasks(sys.argv[1])))
