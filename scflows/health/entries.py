"""Check that crontab, tabfile and task files agree, and that cron can start their lines."""

from __future__ import annotations

import os
from collections import Counter

from scflows.cron.crontab.block import drift
from scflows.cron.crontab.owner import not_ours
from scflows.cron.crontab.recovery import lost_lines
from scflows.errors import Refused
from scflows.health import FAIL, OK, SKIP, WARN, Finding, counted, some

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.health.installation import Installation

#: For more tasks than this, one line for all tasks is better.
MAX_ENTRIES = 300
#: The same for lines with equal times, which cron all starts in the same moment.
MAX_EQUAL_TIMES = 30
#: How many lines of a diff to show.
MAX_DIFF_LINES = 40
REPAIR = "rewrite the block from the task files: flows repair"


def block(installation: Installation) -> Iterator[Finding]:
    """Compare our block in the crontab with the tabfile."""
    if installation.crontab is None or installation.crontab_error is not None:
        return
    lost = lost_lines(installation.raw, installation.settings)
    if lost is not None:
        yield Finding(FAIL, "crontab", str(lost), lost.help or "")
    parts = installation.parts
    lines = installation.tabfile.lines
    foreign = sum(bool(line.strip()) for line in parts.foreign.split(b"\n")) - len(parts.strays)
    note = f"; {counted(foreign, 'other line')} not touched" if foreign else ""
    if parts.strays:
        names = ", ".join(entry.name for entry in parts.strays[:5])
        text = f"{counted(len(parts.strays), 'scflows line')} in the crontab outside the block: {names}"
        yield Finding(WARN, "crontab", text, "move them into the block: flows repair")
    if parts.lines is None and lines:
        number = _count(installation)
        verb = "is" if number == 1 else "are"
        text = f"{counted(number, 'task')} {verb} in the tabfile but missing from the crontab"
        if installation.scheduler is not None:
            yield Finding(SKIP, "crontab", f"{text}: `flows cron run` starts the tasks")
        else:
            yield Finding(FAIL, "crontab", text, REPAIR)
        return
    changed = drift(installation.raw, lines)
    if installation.others:
        found = not_ours(installation.others, installation.settings.state_path)
        yield Finding(FAIL, "crontab", str(found), found.help or "")
    elif changed:
        hidden = len(changed) - MAX_DIFF_LINES
        shown = (*changed[:MAX_DIFF_LINES], *([f"… {hidden} more lines"] if hidden > 0 else []))
        yield Finding(FAIL, "crontab", "the block in the crontab differs from the tabfile", REPAIR, shown)
    else:
        text = counted(_count(installation), "task")
        text = f"one line for {text}" if installation.tabfile.tick else text
        yield Finding(OK, "crontab", f"{text}, same as the tabfile{note}")
    if len(installation.entries) > MAX_ENTRIES:
        text = f"{counted(len(installation.entries), 'task')} with one line each: cron starts them without a limit"
        yield Finding(WARN, "crontab", text, "use one line for all tasks, with a limit: flows repair --one-line")
        return
    times = Counter(entry.fields for entry in installation.entries)
    for fields, number in times.most_common(1):
        if number > MAX_EQUAL_TIMES:
            text = f"{number} lines have the same times, {fields}: cron starts as many processes in the same moment"
            yield Finding(WARN, "crontab", text, "use one line for all tasks, with a limit: flows repair --one-line")


def _count(installation: Installation) -> int:
    """Return how many tasks the tabfile starts."""
    if installation.tabfile.tick:
        return len(installation.scheduled)
    return len(installation.entries) + (len(installation.boot_tasks) if installation.tabfile.boot else 0)


def task_files(installation: Installation) -> Iterator[Finding]:
    """Compare the tabfile with the task files."""
    findings = [Finding(FAIL, "tasks", str(each), each.help or "") for each in installation.task_problems]
    listed = {entry.name for entry in installation.entries}
    # A broken file has been reported already.
    broken = {name for name in listed if any(f"/{name}.json" in str(each) for each in installation.task_problems)}
    for name in sorted(listed - set(installation.tasks) - broken):
        text = f"{name} is in the tabfile but has no task file, so it cannot start"
        findings.append(Finding(FAIL, "tasks", text, f"schedule it again after: flows remove-task {name}"))
    for name, task in installation.tasks.items():
        is_missing = name not in listed and not installation.tabfile.tick and not task.schedule.is_boot
        if task.enabled and is_missing:
            text = f"{name} has a task file but is missing from the tabfile, so nothing starts it"
            findings.append(Finding(FAIL, "tasks", text, REPAIR))
        elif not task.enabled and name in listed:
            text = f"{name} is paused but still in the tabfile"
            findings.append(Finding(WARN, "tasks", text, REPAIR))
    yield from some(findings)
    if not findings and installation.tasks:
        paused = sum(task.is_paused(installation.now) for task in installation.tasks.values())
        yield Finding(OK, "tasks", f"{counted(len(installation.tasks), 'task')}, {paused} paused")


def lines(installation: Installation) -> Iterator[Finding]:
    """Compare the tabfile's lines with those that the tasks would get now."""
    from scflows.cron.crontab.limits import takes_boot_line
    from scflows.cron.crontab.line import boot_line, line, needs_boot, tick_line

    findings = []
    tick = installation.tabfile.tick
    if tick is not None and tick.text != tick_line(tick.python, tick.state):
        text = "the single line for all tasks has been edited"
        findings.append(Finding(WARN, "lines", text, REPAIR, (f"-{tick.text}",)))
    boot = installation.tabfile.boot
    if boot is not None and boot.text != boot_line(boot.python, boot.state):
        text = "the @reboot line has been edited"
        findings.append(Finding(WARN, "lines", text, REPAIR, (f"-{boot.text}",)))
    crontab, boots = installation.crontab, installation.boot_tasks
    lacks_line = boot is None and tick is None and any(map(needs_boot, installation.scheduled))
    if boots and boot is None and installation.scheduler is None:
        text = f"{counted(len(boots), 'task')} to start at boot, e.g. {boots[0].name}, but the @reboot line is missing"
        help = REPAIR if takes_boot_line(crontab) else "this cron does not support @reboot; use: flows cron run"
        findings.append(Finding(FAIL, "lines", text, help))
    elif lacks_line and crontab is not None and takes_boot_line(crontab):
        text = "some tasks have `catch_up`, but the @reboot line is missing"
        findings.append(Finding(WARN, "lines", text, REPAIR))
    for entry in installation.entries:
        task = installation.tasks.get(entry.name)
        if task is None:
            continue
        try:
            expected = line(task, entry.python, entry.state)
        except Refused as error:
            findings.append(Finding(FAIL, "lines", str(error), error.help or ""))
            continue
        if expected != entry.text:
            text = f"the line of {entry.name} differs from its task: it was edited, or the time zone has changed"
            findings.append(Finding(WARN, "lines", text, REPAIR, (f"-{entry.text}", f"+{expected}")))
    yield from some(findings)


def interpreters(installation: Installation) -> Iterator[Finding]:
    """Check that each Python in the lines exists, has scflows and finds the same state folder."""
    from scflows import __version__
    from scflows.health.cron_environment import ask_python

    found = {(entry.python, entry.state) for entry in installation.all_entries}
    for python, state in sorted(found, key=str):
        answer = ask_python(installation.account, python, state)
        expected = installation.settings.state_path
        help = "rewrite the lines for this Python: flows repair"
        if answer.problem:
            yield Finding(FAIL, "python", f"{python}: {answer.problem}", answer.help or help)
        elif os.path.realpath(answer.state) != os.path.realpath(expected):
            text = f"under cron {python} looks for tasks in {answer.state}, but they are in {expected}"
            yield Finding(FAIL, "python", text, help)
        elif answer.version != __version__:
            text = f"{python} has scflows {answer.version}, but this is {__version__}"
            yield Finding(WARN, "python", text, help)
        else:
            yield Finding(OK, "python", f"{python} has scflows {answer.version}, also in cron's environment")
