"""Tabfile and crontab together: what they hold, what they would hold, and writing both or neither."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace as replaced

import scflows
from scflows.cron.crontab.block import live_lines
from scflows.cron.crontab.install import (
    Parts,
    difference,
    drift,
    find_crontab,
    install,
    plan,
    read_and_recover,
    reinstall,
    taken_apart,
)
from scflows.cron.crontab.limits import check_limits, takes_boot_line
from scflows.cron.crontab.line import ALL, BOOT, TICK, boot_line, line, tick_line
from scflows.cron.crontab.owner import check_user, lines_of_others, not_ours, of_others, usual_state
from scflows.cron.crontab.tabfile import Tabfile
from scflows.errors import Busy, Refused, ScflowsError
from scflows.storage import BROKEN, open_regular, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from scflows.cron.crontab.install import Crontab, Installed
    from scflows.cron.lazy_tasks import TaskChanges
    from scflows.settings import Settings

NO_CRONTAB = "there is no crontab program here: the tabfile is written; run its tasks with: flows cron run"


class CrontabEditor:
    """Our block as it is. Hold `file_lock` from making one until `write` has returned.

    Raises Refused for a crontab that may not or cannot be read, or is of another user than the tasks; with `whole`,
    which is for whoever replaces it as a whole, not for one whose marks are no pair.
    """

    def __init__(self, settings: Settings, whole: bool = False, dry_run: bool = False) -> None:
        self.settings = settings
        self.tabfile = Tabfile.read(settings.tabfile)
        #: Whether one line stands for all tasks; kept from command to command.
        self.one_line = self._was_one_line = os.path.exists(self._form_file)
        self.crontab = find_crontab(settings.environment)
        if self.crontab is not None:
            check_user(self.crontab, settings.state_path)
        self.raw = b""
        #: What became of lines that an earlier write lost.
        self.notes: list[str] = []
        if self.crontab is not None:
            self.raw, self.notes = read_and_recover(self.crontab, settings, dry_run)
        try:
            self.parts = taken_apart(self.raw, settings)
        except Refused:
            if not whole:
                raise
            self.parts = Parts(self.raw, None, b"", [])
            self.others = of_others(live_lines(self.raw), settings.state_path)
        else:
            #: Lines in the block, or in the tabfile where there is none, for tasks of another state folder.
            self.others = lines_of_others(self._standing, settings.state_path)
        self._spared = {entry.text for entry in of_others(self.parts.strays, settings.state_path)}
        self.parts = replaced(self.parts, strays=[each for each in self.parts.strays if each.text not in self._spared])
        block = self.parts.lines
        if not self.tabfile.found and block is not None:
            # A cleaned cache is no change by hand.
            self.tabfile = Tabfile.parse("".join(f"{each}\n" for each in block))
            self.tabfile.found = False
            self.is_ours = True
        else:
            self.is_ours = block is not None and block in self._last_written()

    @property
    def _standing(self) -> list[str]:
        """The lines as they are: a block that is gone from the crontab is what the tabfile has of it."""
        return self.tabfile.lines if self.parts.lines is None else self.parts.lines

    def drift(self) -> list[str]:
        """How the crontab's block differs from the tabfile, as a unified diff; empty without a block."""
        if self.parts.lines is None or self.is_ours:
            return []
        return drift(self.raw, self.tabfile.lines)

    def check(self) -> None:
        """Raises Busy, showing the difference, when somebody changed the block by hand."""
        changed = self.drift()
        if changed:
            shown = "\n".join(changed[:40])
            raise Busy(
                f"the block of scflows in the crontab was changed by hand:\n{shown}",
                "write it as the tasks say with: flows repair; or add --overwrite to write it as planned",
            )

    def check_owner(self, planned: Sequence[str]) -> None:
        """Raises Refused for a block that starts tasks of another state folder, or that nobody shall see to any more.

        Unless all of these stay and lines of ours go: so who has both in one block can part them.
        """
        if self.crontab is None:
            left = block_left_alone(self.settings)
            if left is not None:
                raise left
        kept = set(planned)
        if not self.others or (kept.issuperset(entry.text for entry in self.others) and kept.issubset(self._standing)):
            return
        raise not_ours(self.others, self.settings.state_path)

    def lines(self, tasks: TaskChanges, changed: Collection[str]) -> Tabfile:
        """The tabfile for these tasks. Lines of tasks that are not in `changed` stay as they are.

        With `one_line` it is one for all of them.

        So does a line whose task cannot be read: a broken task file must not take a task off the crontab.
        """
        planned = self.tabfile.copy()
        if self.one_line:
            for entry in planned.entries:
                planned.remove(entry.name)
            planned.remove(TICK)
            planned.remove(BOOT)  # A tick sees by itself that it was away.
            if tasks.enabled:
                planned.put(TICK, tick_line(sys.executable, state_for_cron(self.settings)))
            return planned
        known = dict(tasks)
        wanted = {name: task for name, task in known.items() if task.enabled}
        planned.remove(TICK)
        for entry in planned.entries:
            if entry.name not in wanted and (entry.name in known or entry.name in changed):
                planned.remove(entry.name)
        state = state_for_cron(self.settings)
        # After a write that was cut off only the tasks say what is right.
        block = self.parts.lines if self.is_ours else None
        for name, task in wanted.items():
            old = planned.line(name)
            if name in changed or old is None or (block is not None and old not in block):
                planned.put(name, line(task, sys.executable, state))
        old = planned.line(BOOT)
        catching_up = any(task.catch_up != "none" for task in wanted.values()) and takes_boot_line(self.crontab)
        # Whether one catches up whose file cannot be read, nobody knows.
        if not catching_up and (old is None or all(entry.name in known for entry in planned.entries)):
            planned.remove(BOOT)
        elif changed or old is None or (block is not None and old not in block):
            planned.put(BOOT, boot_line(sys.executable, state))
        return planned

    def diff(self, planned: Tabfile) -> list[str]:
        """What would change in the block, as a unified diff."""
        now = self.tabfile.lines if self.crontab is None else self.parts.lines or []
        return difference(now, planned.lines, "crontab", "planned")

    def write(self, planned: Tabfile, changed: Collection[str]) -> list[str]:
        """Write the tabfile, then the crontab; what is to be told about it.

        If the crontab cannot be written the tabfile is put back. Raises Refused, Busy.
        """
        # A second line for all tasks outside of the block is one too many, whoever brought it back.
        drop = {*changed, *ALL}
        if planned.lines:
            check_interpreter()
        if self.crontab is None:
            self._note_form()
            planned.write(self.settings.tabfile)
            return [NO_CRONTAB] if planned.lines and self._is_missed() else []
        crontab = self.crontab
        notes = []
        if self.parts.lines is None and self.tabfile.lines and planned.lines:
            notes.append("the block was missing in the crontab, and is written again")
        done = self._both(planned, lambda: install(crontab, self.raw, planned.lines, self.settings, drop, self._spared))
        return notes + self._told(crontab, done)

    def replace(self, crontab: bytes, planned: Tabfile) -> list[str]:
        """Write a whole crontab, whose block is `planned`, and the tabfile. Raises as `write`."""
        if planned.lines:
            check_interpreter()
        program = self.crontab
        assert program is not None
        return self._told(program, self._both(planned, lambda: reinstall(program, self.raw, crontab, self.settings)))

    def _both(self, planned: Tabfile, write_crontab: Callable[[], Installed]) -> Installed:
        """Tabfile and crontab, or none of them."""
        old = self.tabfile
        self._note_form()
        _keep_clear_of_the_tick(self.settings.tabfile)
        planned.write(self.settings.tabfile)
        try:
            self._note_written(self.parts.lines or [], planned.lines)
            done = write_crontab()
        except ScflowsError:
            if old.found:
                old.write(self.settings.tabfile)
            else:
                os.unlink(self.settings.tabfile)
            self._note_form(self._was_one_line)
            raise
        try:
            self._note_written(planned.lines)
        except Refused:
            pass  # The crontab stands; what was noted before it knows this block too.
        return done

    def _told(self, crontab: Crontab, done: Installed) -> list[str]:
        notes = []
        if done.problem:
            notes.append(f"{crontab.program} failed, and yet the crontab is as it was to be: {done.problem}")
        if done.newline_added:
            notes.append("the last line of the crontab had no newline, without which cron takes none; it has one now")
        if done.changed and crontab.by:
            notes.append(f"this is the crontab of {crontab.user}, not of {crontab.by}")
        return notes

    def refused(self, planned: Tabfile, changed: Collection[str]) -> Refused | None:
        """Why `write` would refuse the crontab, so far as it can be told before."""
        try:
            self.check_owner(planned.lines)
            if self.crontab is None:
                return None
            new = plan(self.raw, planned.lines, {*changed, *ALL}, self._spared)
            check_limits(self.crontab, self.raw, new)
        except Refused as error:
            return error
        return None

    def _is_missed(self) -> bool:
        """Whether nothing starts the tasks, and nobody meant it so."""
        from scflows.cron.scheduler_lock import scheduler

        return self.settings.environment.get("CRONTAB_PROGRAM") != "none" and scheduler(self.settings) is None

    def _last_written(self) -> list[list[str]]:
        """The blocks that may be ours: what was written last, and while it is written what was there before."""
        return _blocks(self._block_file)

    def _note_written(self, *blocks: list[str]) -> None:
        try:
            replace(self._block_file, json.dumps(blocks).encode(), mode=0o600)
        except OSError as error:
            raise Refused(
                f"{self._block_file}: cannot be written: {error.strerror}",
                f"make room, or see who owns {self.settings.state_path}",
            ) from error

    def _note_form(self, one_line: bool | None = None) -> None:
        """Keep whether one line stands for all tasks, for whoever schedules next."""
        wanted = self.one_line if one_line is None else one_line
        try:
            if wanted:
                replace(
                    self._form_file, b"flows tick starts all tasks; see: flows repair --no-one-line\n", durable=False
                )
            elif os.path.exists(self._form_file):
                os.unlink(self._form_file)
        except OSError as error:
            raise Refused(
                f"{self._form_file}: cannot be written: {error.strerror}",
                f"see who owns {self.settings.state_path}: ls -ld",
            ) from error

    @property
    def _form_file(self) -> str:
        return os.path.join(self.settings.state_path, "one-line")

    @property
    def _block_file(self) -> str:
        return _block_file(self.settings)


def block_left_alone(settings: Settings) -> Refused | None:
    """What is wrong with a crontab that shall not be touched, as `CRONTAB_PROGRAM=none` says, and has our block: cron
    goes on with it, whatever becomes of the tasks."""
    if settings.environment.get("CRONTAB_PROGRAM") != "none" or not any(_blocks(_block_file(settings))):
        return None
    return Refused(
        "CRONTAB_PROGRAM=none, and the crontab has our block from before: cron goes on with its lines",
        "take it off first: CRONTAB_PROGRAM=crontab flows clear-tasks; then schedule again; if it is gone already:"
        f" rm {_block_file(settings)}",
    )


def _block_file(settings: Settings) -> str:
    return os.path.join(settings.state_path, "block")


def _blocks(path: str) -> list[list[str]]:
    try:
        with open(open_regular(path), encoding="utf-8") as file:
            blocks = json.load(file)
    except BROKEN:
        return []
    return blocks if isinstance(blocks, list) else []


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
    return None if settings.state_path == usual_state() else settings.state_path


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
