"""Apply the fixes that are safe without asking the user."""

from __future__ import annotations

import os
import stat

from scflows.errors import ScflowsError
from scflows.health import WARN, Finding, counted
from scflows.history.store import FAULTS
from scflows.storage import names_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scflows.health.installation import Installation

FIXED = "fixed"
#: A fix that a dry run would apply.
WOULD = "would"
#: Seconds after which a temporary file of a dead process can be removed.
LEFT_BEHIND_SECONDS = 60
#: Folders of the state whose files must be private.
PRIVATE = ("tasks", "crontab-backups")


def repair(installation: Installation, dry_run: bool) -> list[Finding]:
    """Apply all safe fixes, or with `dry_run` only return them. A fix that fails is itself a finding."""
    found: list[Finding] = []
    for part in (_folders, _modes, _left_behind, _locks, _crontab, _pending):
        try:
            found.extend(part(installation, dry_run))
        except FAULTS as error:
            help = error.help if isinstance(error, ScflowsError) else None
            found.append(Finding(WARN, part.__name__.strip("_"), f"not fixed: {error}", help or ""))
    return found


def _folders(installation: Installation, dry_run: bool) -> Iterator[Finding]:
    settings = installation.settings
    for path in (settings.tasks_path, settings.state_path, settings.lock_path, settings.data_path):
        if not os.path.lexists(path):
            is_private = path in (settings.state_path, settings.lock_path)
            yield _done("folders", f"create {path}", dry_run, lambda p=path, m=is_private: _make(p, m))  # type: ignore[misc]


def _make(path: str, is_private: bool) -> None:
    os.makedirs(path, mode=0o700 if is_private else 0o777, exist_ok=True)


def _modes(installation: Installation, dry_run: bool) -> Iterator[Finding]:
    """Make files private that may contain secrets."""
    settings = installation.settings
    paths = [settings.env_file, settings.secrets_path]
    for name in PRIVATE:
        folder = os.path.join(settings.state_path, name)
        paths += [os.path.join(folder, each) for each in names_in(folder)]
    for path in paths:
        try:
            state = os.stat(path)
        except OSError:
            continue
        mode = stat.S_IMODE(state.st_mode)
        if stat.S_ISREG(state.st_mode) and mode & 0o077 and state.st_uid == os.geteuid():
            private = mode & 0o700
            action = f"make {path} private: mode {mode:04o} → {private:04o}"
            yield _done("modes", action, dry_run, lambda p=path, m=private: os.chmod(p, m))  # type: ignore[misc]


def _left_behind(installation: Installation, dry_run: bool) -> Iterator[Finding]:
    """Remove temporary files of processes that were killed before they could rename them."""
    settings = installation.settings
    paths = [
        os.path.join(folder, name)
        for folder in (settings.tasks_path, settings.state_path, *(f"{settings.state_path}/{each}" for each in PRIVATE))
        for name in names_in(folder)
        if _is_left_behind(folder, name, installation.now)
    ]
    if paths:
        action = f"remove {counted(len(paths), 'half-written file')}, for example {paths[0]}"
        yield _done("leftovers", action, dry_run, lambda: _remove(paths))


def _remove(paths: list[str]) -> None:
    for path in paths:
        os.unlink(path)


def _is_left_behind(folder: str, name: str, now: float) -> bool:
    parts = name.split(".")
    if not (name.startswith(".") and name.endswith(".tmp") and len(parts) > 4 and parts[-3].isdigit()):
        return False
    try:
        age = now - os.lstat(os.path.join(folder, name)).st_mtime
    except OSError:
        return False
    # If other users' processes are hidden, one hour is enough for any writer.
    return age > 3600 or (age > LEFT_BEHIND_SECONDS and not os.path.exists(f"/proc/{parts[-3]}"))


def _locks(installation: Installation, dry_run: bool) -> Iterator[Finding]:
    from scflows.locks import Lock, holders

    folder = installation.settings.lock_path
    dead = [holder.name for holder in holders(folder) if not holder.alive]

    def remove() -> None:
        for name in dead:
            lock = Lock(folder, name)
            if lock.acquire("check"):
                lock.release()

    if dead:
        yield _done("locks", f"remove {counted(len(dead), 'lock')} of dead runs", dry_run, remove)


def _crontab(installation: Installation, dry_run: bool) -> Iterator[Finding]:
    from scflows.planner.planner import planning

    with planning(installation.settings, dry_run) as planner:
        plan = planner.plan_repair()
        editor = planner.editor
        is_sound = editor.tabfile.lines == plan.tabfile.lines and not editor.parts.strays
        if editor.crontab is not None and (editor.parts.lines or []) != plan.tabfile.lines:
            is_sound = False
        if is_sound and not planner.unfinished.names:
            return
        strays = ", ".join(dict.fromkeys(entry.name for entry in editor.parts.strays))
        action = "rewrite tabfile and crontab from the task files"
        action += f"; move lines into the block: {strays}" if strays else ""
        done = _done("crontab", action, dry_run, lambda: planner.write(plan, overwrite=True))
    yield Finding(done.level, done.topic, done.text, done.help, tuple(plan.diff))
    for note in plan.notes:
        yield Finding(WARN, "crontab", note)


def _pending(installation: Installation, dry_run: bool) -> Iterator[Finding]:
    from scflows.history.recorder import claims_folder
    from scflows.scheduler.reconcile import open_reconciled_history

    waiting = names_in(claims_folder(installation.settings), ".json")
    if waiting:
        action = f"add {counted(len(waiting), 'record')} of runs to the history"
        yield _done("history", action, dry_run, lambda: open_reconciled_history(installation.settings).close())


def _done(topic: str, action: str, dry_run: bool, apply: Callable[[], object]) -> Finding:
    if dry_run:
        return Finding(WOULD, topic, action)
    apply()
    return Finding(FIXED, topic, action)
