"""Crontab, tabfile and task files say the same, and cron can start what they say."""

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

#: From so many tasks on one line for all of them is the better form.
MANY = 300
#: From so many lines on that start at the same times one line for all is, too: cron starts them in the same moment.
MANY_AT_ONCE = 30
#: How many lines of a diff are shown.
MOST_LINES = 40
WRITE_AGAIN = "to write the block as the tasks say: flows repair"


def block(installation: Installation) -> Iterator[Finding]:
    """Our block in the crontab against the tabfile."""
    if installation.crontab is None or installation.crontab_error is not None:
        return
    lost = lost_lines(installation.raw, installation.settings)
    if lost is not None:
        yield Finding(FAIL, "crontab", str(lost), lost.help or "")
    parts = installation.parts
    lines = installation.tabfile.lines
    foreign = sum(bool(line.strip()) for line in parts.foreign.split(b"\n")) - len(parts.strays)
    beside = f"; {counted(foreign, 'foreign line')} left alone" if foreign else ""
    if parts.strays:
        names = ", ".join(entry.name for entry in parts.strays[:5])
        told = f"{counted(len(parts.strays), 'line')} of ours outside the block in the crontab: {names}"
        yield Finding(WARN, "crontab", told, "take them into the block with: flows repair")
    if parts.lines is None and lines:
        told = f"the crontab has no block of scflows, and the tabfile {counted(len(lines), 'task')}"
        if installation.scheduler is not None:
            yield Finding(SKIP, "crontab", f"{told}: `flows cron run` starts them")
        else:
            yield Finding(FAIL, "crontab", told, WRITE_AGAIN)
        return
    changed = drift(installation.raw, lines)
    if installation.others:
        found = not_ours(installation.others, installation.settings.state_path)
        yield Finding(FAIL, "crontab", str(found), found.help or "")
    elif changed:
        hidden = len(changed) - MOST_LINES
        shown = (*changed[:MOST_LINES], *([f"… {hidden} more lines"] if hidden > 0 else []))
        yield Finding(FAIL, "crontab", "the block in the crontab is not what the tabfile has", WRITE_AGAIN, shown)
    else:
        number = len(installation.entries)
        what = f"one line for {counted(len(installation.scheduled), 'task')}" if installation.tabfile.tick else ""
        yield Finding(OK, "crontab", f"{what or counted(number, 'task')}, same as the tabfile{beside}")
    if len(installation.entries) > MANY:
        told = f"{counted(len(installation.entries), 'task')} with a line each: cron starts them without any bound"
        yield Finding(WARN, "crontab", told, "one line can start them all, so many at once: flows repair --one-line")
        return
    times = Counter(entry.fields for entry in installation.entries)
    for fields, number in times.most_common(1):
        if number > MANY_AT_ONCE:
            told = f"{number} lines start at the same times, {fields}: cron starts as many processes in that moment"
            yield Finding(WARN, "crontab", told, "one line can start them in turn: flows repair --one-line")


def task_files(installation: Installation) -> Iterator[Finding]:
    """The tabfile against the tasks' own files."""
    findings = [Finding(FAIL, "tasks", str(each), each.help or "") for each in installation.task_problems]
    listed = {entry.name for entry in installation.entries}
    # A broken file is told of already.
    broken = {name for name in listed if any(f"/{name}.json" in str(each) for each in installation.task_problems)}
    for name in sorted(listed - set(installation.tasks) - broken):
        told = f"{name} is on the tabfile and has no task file: nothing starts"
        findings.append(Finding(FAIL, "tasks", told, f"flows remove-task {name}; then schedule it again"))
    for name, task in installation.tasks.items():
        if task.enabled and name not in listed and not installation.tabfile.tick:
            told = f"{name} has a task file and is not on the tabfile: nothing starts it"
            findings.append(Finding(FAIL, "tasks", told, WRITE_AGAIN))
        elif not task.enabled and name in listed:
            told = f"{name} is paused and still on the tabfile"
            findings.append(Finding(WARN, "tasks", told, WRITE_AGAIN))
    yield from some(findings)
    if not findings and installation.tasks:
        paused = sum(not task.enabled for task in installation.tasks.values())
        yield Finding(OK, "tasks", f"{counted(len(installation.tasks), 'task')}, {paused} paused")


def lines(installation: Installation) -> Iterator[Finding]:
    """The tabfile's lines against what the tasks would have there."""
    from scflows.cron.crontab.limits import takes_boot_line
    from scflows.cron.crontab.line import boot_line, line, tick_line

    findings = []
    tick = installation.tabfile.tick
    if tick is not None and tick.text != tick_line(tick.python, tick.state):
        told = "the one line for all tasks is not as it was written"
        findings.append(Finding(WARN, "lines", told, WRITE_AGAIN, (f"-{tick.text}",)))
    boot = installation.tabfile.boot
    if boot is not None and boot.text != boot_line(boot.python, boot.state):
        told = "the line that is started with the machine is not as it was written"
        findings.append(Finding(WARN, "lines", told, WRITE_AGAIN, (f"-{boot.text}",)))
    is_owed = any(task.catch_up != "none" for task in installation.scheduled)
    crontab = installation.crontab
    if is_owed and tick is None and boot is None and crontab is not None and takes_boot_line(crontab):
        told = "some tasks catch up, and no line sees to them when the machine has started"
        findings.append(Finding(WARN, "lines", told, WRITE_AGAIN))
    for entry in installation.entries:
        task = installation.tasks.get(entry.name)
        if task is None:
            continue
        try:
            wanted = line(task, entry.python, entry.state)
        except Refused as error:
            findings.append(Finding(FAIL, "lines", str(error), error.help or ""))
            continue
        if wanted != entry.text:
            told = f"the line of {entry.name} is not what its task says: changed by hand, or before a change of zone"
            findings.append(Finding(WARN, "lines", told, WRITE_AGAIN, (f"-{entry.text}", f"+{wanted}")))
    yield from some(findings)


def interpreters(installation: Installation) -> Iterator[Finding]:
    """Each Python that the lines name is there, has scflows, and comes to the same state folder."""
    from scflows import __version__
    from scflows.health.cron_environment import ask_python

    found = {(entry.python, entry.state) for entry in installation.all_entries}
    for python, state in sorted(found, key=str):
        said = ask_python(installation.account, python, state)
        ours = installation.settings.state_path
        again = "write the lines again with the flows command that is to run them: flows repair"
        if said.problem:
            yield Finding(FAIL, "python", f"{python}: {said.problem}", said.help or again)
        elif os.path.realpath(said.state) != os.path.realpath(ours):
            told = f"under cron {python} looks for tasks in {said.state}, and they are in {ours}"
            yield Finding(FAIL, "python", told, again)
        elif said.version != __version__:
            told = f"{python} has scflows {said.version}, and this is {__version__}"
            yield Finding(WARN, "python", told, again)
        else:
            yield Finding(OK, "python", f"{python} has scflows {said.version}, also in cron's environment")
