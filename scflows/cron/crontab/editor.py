"""The crontab editor: compares tabfile and crontab, and writes both or neither."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace as replaced

import scflows
from scflows.cron.crontab.block import Parts, difference, drift, live_lines, plan
from scflows.cron.crontab.install import Installed, install, reinstall, split_or_advise
from scflows.cron.crontab.limits import check_limits, takes_boot_line
from scflows.cron.crontab.line import ALL, BOOT, TICK, boot_line, line, needs_boot, tick_line
from scflows.cron.crontab.owner import check_user, lines_of_others, not_ours, of_others, usual_state
from scflows.cron.crontab.program import Crontab, find_crontab
from scflows.cron.crontab.recovery import read_and_recover
from scflows.cron.crontab.tabfile import Tabfile
from scflows.cron.crontab.variables import MAILTO, variables
from scflows.cron.machine_zone import keep_zone
from scflows.errors import Busy, Refused, ScflowsError
from scflows.storage import BROKEN, open_regular, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from scflows.cron.lazy_tasks import TaskChanges
    from scflows.settings import Settings

NO_CRONTAB = "there is no crontab program, so only the tabfile was written; run its tasks with: flows cron run"


class CrontabEditor:
    """An editor for our block. Hold `file_lock` from its creation until `write` has returned.

    Raises Refused if the crontab cannot be read, belongs to another user than the tasks, or its marks do not match.
    With `whole`, for callers that replace the whole crontab, the marks need not match.
    """

    def __init__(self, settings: Settings, whole: bool = False, dry_run: bool = False) -> None:
        self.settings = settings
        self.tabfile = Tabfile.read(settings.tabfile)
        #: Whether one line stands for all tasks; stored for later commands.
        self.one_line = self._was_one_line = os.path.exists(self._form_file)
        self.crontab = find_crontab(settings.environment)
        if self.crontab is not None:
            check_user(self.crontab, settings.state_path)
        self.raw = b""
        #: What happened to lines that an earlier write lost.
        self.notes: list[str] = []
        if self.crontab is not None:
            self.raw, self.notes = read_and_recover(self.crontab, settings, dry_run)
        try:
            self.parts = split_or_advise(self.raw, settings)
        except Refused:
            if not whole:
                raise
            self.parts = Parts(self.raw, None, b"", [])
            self.others = of_others(live_lines(self.raw), settings.state_path)
        else:
            #: Lines for tasks of another state folder, in the block or, if there is none, in the tabfile.
            self.others = lines_of_others(self._current_lines, settings.state_path)
        self._spared = {entry.text for entry in of_others(self.parts.strays, settings.state_path)}
        self.parts = replaced(self.parts, strays=[each for each in self.parts.strays if each.text not in self._spared])
        block = self.parts.lines
        if not self.tabfile.found and block is not None:
            # A cleared cache, from which the tabfile is missing, does not mean that the block was changed.
            self.tabfile = Tabfile.parse("".join(f"{each}\n" for each in block))
            self.tabfile.found = False
            self.is_ours = True
        else:
            self.is_ours = block is not None and block in _written_blocks(settings)

    @property
    def _current_lines(self) -> list[str]:
        """The lines of the block; if the crontab has none, those of the tabfile."""
        return self.tabfile.lines if self.parts.lines is None else self.parts.lines

    def drift(self) -> list[str]:
        """Return how the crontab's block differs from the tabfile, as a unified diff; empty without a block."""
        if self.parts.lines is None or self.is_ours:
            return []
        return drift(self.raw, self.tabfile.lines)

    def check(self) -> None:
        """Raise Busy with the difference if the block was changed by hand."""
        changed = self.drift()
        if changed:
            shown = "\n".join(changed[:40])
            raise Busy(
                f"the block of scflows in the crontab was changed by hand:\n{shown}",
                "rewrite it from the task files: flows repair; or add --overwrite to replace it as planned",
            )

    def check_owner(self, planned: Sequence[str]) -> None:
        """Raise Refused if the block starts tasks of another state folder, or `CRONTAB_PROGRAM=none` abandoned it.

        Removing our own lines from a block that also has lines of another state folder is allowed.
        """
        if self.crontab is None:
            abandoned = abandoned_block(self.settings)
            if abandoned is not None:
                raise abandoned
        remaining = set(planned)
        keeps_others = remaining.issuperset(entry.text for entry in self.others)
        if not self.others or (keeps_others and remaining.issubset(self._current_lines)):
            return
        raise not_ours(self.others, self.settings.state_path)

    def lines(self, tasks: TaskChanges, changed: Collection[str]) -> Tabfile:
        """Return the tabfile for these tasks; with `one_line` it has a single line for all of them.

        The lines of tasks that are not in `changed` stay the same, and so do those of tasks that cannot be read: a
        damaged task file must not remove a task from the crontab.
        """
        planned = self.tabfile.copy()
        if self.one_line:
            for entry in planned.entries:
                planned.remove(entry.name)
            planned.remove(TICK)
            # A tick notices missed slots itself.
            if not self._has_boot_task(tasks, changed) or not takes_boot_line(self.crontab):
                planned.remove(BOOT)
            elif changed or planned.line(BOOT) is None:
                planned.put(BOOT, boot_line(sys.executable, state_for_cron(self.settings)))
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
        # After an interrupted write, only the task files are reliable.
        block = self.parts.lines if self.is_ours else None
        for name, task in wanted.items():
            old = planned.line(name)
            if task.schedule.is_boot:
                planned.remove(name)  # The line of all boot tasks starts it.
                continue
            if name in changed or old is None or (block is not None and old not in block):
                planned.put(name, line(task, sys.executable, state))
        old = planned.line(BOOT)
        needs_boot_line = any(needs_boot(task) for task in wanted.values()) and takes_boot_line(self.crontab)
        # Keep the line if a task cannot be read, since that task may catch up.
        if not needs_boot_line and (old is None or all(entry.name in known for entry in planned.entries)):
            planned.remove(BOOT)
        elif changed or old is None or (block is not None and old not in block):
            planned.put(BOOT, boot_line(sys.executable, state))
        return planned

    def _has_boot_task(self, tasks: TaskChanges, changed: Collection[str]) -> bool:
        """Return whether a task starts at boot; with one line for all tasks, few of them are read."""
        if self._was_one_line and self.tabfile.found and self.tabfile.line(BOOT) is None:
            candidates = [tasks[name] for name in changed if name in tasks]
        else:
            candidates = list(tasks.values())
        return any(task.enabled and task.schedule.is_boot for task in candidates)

    def diff(self, planned: Tabfile) -> list[str]:
        """Return what would change in the block, as a unified diff."""
        now = self.tabfile.lines if self.crontab is None else self.parts.lines or []
        return difference(now, planned.lines, "crontab", "planned")

    def write(self, planned: Tabfile, changed: Collection[str]) -> list[str]:
        """Write the tabfile, then the crontab; return notes for the user.

        If the crontab cannot be written, the tabfile is restored. Raises Refused, Busy.
        """
        # Also remove lines for all tasks that are outside the block.
        drop = {*changed, *ALL}
        if planned.lines:
            check_interpreter()
        if self.crontab is None:
            self._note_form()
            planned.write(self.settings.tabfile)
            return [NO_CRONTAB] if planned.lines and self._lacks_scheduler() else []
        crontab = self.crontab
        notes = []
        if self.parts.lines is None and self.tabfile.lines and planned.lines:
            notes.append("the block was missing from the crontab and was written again")
        moved = [each.written for each in variables(self.parts.before) if each.name != MAILTO]
        done = self._write_both(
            planned, lambda: install(crontab, self.raw, planned.lines, self.settings, drop, self._spared)
        )
        if moved and done.changed and planned.lines and self.parts.lines is not None:
            notes.append(f"the block was moved above {', '.join(moved)}, which applied to its lines too")
        return notes + self._notes(crontab, done)

    def replace(self, crontab: bytes, planned: Tabfile) -> list[str]:
        """Write a whole crontab, whose block is `planned`, and the tabfile. Raises the same as `write`."""
        if planned.lines:
            check_interpreter()
        program = self.crontab
        assert program is not None
        return self._notes(
            program, self._write_both(planned, lambda: reinstall(program, self.raw, crontab, self.settings))
        )

    def _write_both(self, planned: Tabfile, write_crontab: Callable[[], Installed]) -> Installed:
        """Write both the tabfile and the crontab, or neither."""
        old = self.tabfile
        self._note_form()
        _wait_for_next_second(self.settings.tabfile)
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
            pass  # The crontab is written, and the note from before the write includes this block.
        return done

    def _notes(self, crontab: Crontab, done: Installed) -> list[str]:
        notes = []
        if done.problem:
            notes.append(f"{crontab.program} failed, but the crontab was written: {done.problem}")
        if done.newline_added:
            notes.append("the last line of the crontab had no newline, which cron requires; it was added")
        if done.changed and crontab.by:
            notes.append(f"this is the crontab of {crontab.user}, not of {crontab.by}")
        return notes

    def refused(self, planned: Tabfile, changed: Collection[str]) -> Refused | None:
        """Return why `write` would refuse the crontab, as far as that can be checked before; otherwise None."""
        try:
            self.check_owner(planned.lines)
            if self.crontab is None:
                return None
            new = plan(self.raw, planned.lines, {*changed, *ALL}, self._spared)
            check_limits(self.crontab, self.raw, new)
        except Refused as error:
            return error
        return None

    def _lacks_scheduler(self) -> bool:
        """Return whether nothing starts the tasks, and the user did not ask for that."""
        from scflows.cron.scheduler_lock import scheduler

        return self.settings.environment.get("CRONTAB_PROGRAM") != "none" and scheduler(self.settings) is None

    def _note_written(self, *blocks: list[str]) -> None:
        path = _block_file(self.settings)
        try:
            replace(path, json.dumps(blocks).encode(), mode=0o600)
        except OSError as error:
            raise Refused(
                f"{path}: cannot be written: {error.strerror}",
                f"free disk space, or check the owner of {self.settings.state_path}",
            ) from error

    def _note_form(self, one_line: bool | None = None) -> None:
        """Store whether one line stands for all tasks, and the zone of the lines, for later commands."""
        wanted = self.one_line if one_line is None else one_line
        try:
            keep_zone(self.settings)
            if wanted:
                replace(
                    self._form_file, b"flows tick starts all tasks; see: flows repair --no-one-line\n", durable=False
                )
            elif os.path.exists(self._form_file):
                os.unlink(self._form_file)
        except OSError as error:
            raise Refused(
                f"{error.filename or self._form_file}: cannot be written: {error.strerror}",
                f"check the owner: ls -ld {self.settings.state_path}",
            ) from error

    @property
    def _form_file(self) -> str:
        return os.path.join(self.settings.state_path, "crontab-one-line")


def abandoned_block(settings: Settings) -> Refused | None:
    """Return the error if the crontab has our block although `CRONTAB_PROGRAM=none` says not to use it.

    Cron would continue to start the tasks in it, even if they change.
    """
    if settings.environment.get("CRONTAB_PROGRAM") != "none" or not any(_written_blocks(settings)):
        return None
    return Refused(
        "CRONTAB_PROGRAM=none, but the crontab still has our block, so cron continues to start its lines",
        "remove it first: CRONTAB_PROGRAM=crontab flows clear-tasks; then schedule again; if it is already removed:"
        f" rm {_block_file(settings)}",
    )


def _block_file(settings: Settings) -> str:
    return os.path.join(settings.state_path, "crontab-block")


def _written_blocks(settings: Settings) -> list[list[str]]:
    """Return the blocks that may be ours: the last written one, and during a write also the one before."""
    try:
        with open(open_regular(_block_file(settings)), encoding="utf-8") as file:
            blocks = json.load(file)
    except BROKEN:
        return []
    return blocks if isinstance(blocks, list) else []


def _wait_for_next_second(tabfile: str) -> None:
    """Wait for the next second if cron may have read the crontab within the current one, after an earlier write.

    Debian's cron checks the modification time at the start of each minute, in seconds. A second write in the same
    second would remain unnoticed until the crontab changes again.
    """
    try:
        last = os.stat(tabfile).st_mtime
    except OSError:
        return
    now = time.time()
    if now % 60 < 3 and int(last) == int(now):
        time.sleep(1 - now % 1)


def state_for_cron(settings: Settings) -> str | None:
    """Return the state folder if cron's environment would lead to another one; otherwise None."""
    return None if settings.state_path == usual_state() else settings.state_path


def check_interpreter() -> None:
    """Raise Refused if cron could not run the lines, because scflows is not installed for this Python."""
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
