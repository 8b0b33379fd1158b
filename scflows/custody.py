"""Tabfile and crontab together: what they hold, what they would hold, and writing both or neither."""

from __future__ import annotations

import os
import sys
import time

import scflows
from scflows.cron.install import difference, drift, find_crontab, install, split
from scflows.cron.line import line
from scflows.cron.tabfile import Tabfile
from scflows.errors import Busy, Refused, ScflowsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from scflows.cron.task import Task
    from scflows.settings import Settings

NO_CRONTAB = "there is no crontab program here: the tabfile is written; run its tasks with: flows cron run"


class Custody:
    """Our block as it is. Hold `file_lock` from making one until `write` has returned.

    Raises Refused for a crontab that may not or cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tabfile = Tabfile.read(settings.tabfile)
        self.crontab = find_crontab(settings.environment)
        self.raw = b"" if self.crontab is None else self.crontab.read()
        self.parts = split(self.raw)

    @property
    def has_crontab(self) -> bool:
        """Whether there is a crontab program."""
        return self.crontab is not None

    def drift(self) -> list[str]:
        """How the crontab's block differs from the tabfile, as a unified diff; empty without a block."""
        if self.parts.lines is None:
            return []
        return drift(self.raw, self.tabfile.lines)

    def check(self) -> None:
        """Raises Busy, showing the difference, when somebody changed the block by hand."""
        changed = self.drift()
        if changed:
            shown = "\n".join(changed[:40])
            raise Busy(
                f"the block of scflows in the crontab was changed by hand:\n{shown}",
                "see: flows check; add --overwrite to write the block as planned",
            )

    def lines(self, tasks: Iterable[Task], changed: Collection[str]) -> Tabfile:
        """The tabfile for these tasks. Lines of tasks that are not in `changed` stay as they are.

        So does a line whose task cannot be read: a broken task file must not take a task off the crontab.
        """
        known = {task.name: task for task in tasks}
        wanted = {name: task for name, task in known.items() if task.enabled}
        planned = Tabfile.parse(self.tabfile.render())
        for entry in planned.entries:
            if entry.name not in wanted and (entry.name in known or entry.name in changed):
                planned.remove(entry.name)
        state = state_for_cron(self.settings)
        for name, task in wanted.items():
            if name in changed or planned.line(name) is None:
                planned.put(name, line(task, sys.executable, state))
        return planned

    def diff(self, planned: Tabfile) -> list[str]:
        """What would change in the block, as a unified diff."""
        now = self.parts.lines if self.crontab is not None and self.parts.lines is not None else None
        return difference(self.tabfile.lines if now is None else now, planned.lines, "crontab", "planned")

    def write(self, planned: Tabfile, changed: Collection[str]) -> list[str]:
        """Write the tabfile, then the crontab; what is to be told about it.

        If the crontab cannot be written the tabfile is put back. Raises Refused, Busy.
        """
        if planned.lines:
            check_interpreter()
        old = self.tabfile
        _keep_clear_of_the_tick(self.settings.tabfile)
        planned.write(self.settings.tabfile)
        if self.crontab is None:
            return [NO_CRONTAB] if planned.lines else []
        try:
            done = install(self.crontab, self.raw, planned.lines, self.settings, drop=changed)
        except ScflowsError:
            if old.found:
                old.write(self.settings.tabfile)
            else:
                os.unlink(self.settings.tabfile)
            raise
        notes = []
        if done.newline_added:
            notes.append("the last line of the crontab had no newline, without which cron takes none; it has one now")
        if done.changed and self.crontab.by:
            notes.append(f"this is the crontab of {self.crontab.user}, not of {self.crontab.by}")
        return notes


def _keep_clear_of_the_tick(tabfile: str) -> None:
    """Wait for the next second if this is the second write in the one in which cron may just have looked.

    Debian's cron looks at the start of each minute, and takes a change of the same second for the one it has
    read; a second write would then go unseen until somebody changes the crontab again.
    """
    try:
        last = os.stat(tabfile).st_mtime
    except OSError:
        return
    now = time.time()
    if now % 60 < 3 and int(last) == int(now):
        time.sleep(1 - now % 1)


def state_for_cron(settings: Settings) -> str | None:
    """The state folder, where what cron gives to a command would lead to another one; else None."""
    import pwd

    try:
        home = pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        home = ""
    usual = os.path.join(home, ".local", "state", "scflows")
    return None if settings.state_path == usual else settings.state_path


def check_interpreter() -> None:
    """Raises Refused when cron could not start what the lines say: scflows is not installed for this Python."""
    if f"{os.sep}site-packages{os.sep}" in scflows.__file__:
        return
    import subprocess

    done = subprocess.run(
        [sys.executable, "-P", "-c", "import scflows.cli"], cwd="/", env={}, capture_output=True, check=False
    )
    if done.returncode != 0:
        raise Refused(
            f"cron could not start scflows: it is not installed for {sys.executable}",
            f"install it there: {sys.executable} -m pip install {os.path.dirname(os.path.dirname(scflows.__file__))}",
        )
