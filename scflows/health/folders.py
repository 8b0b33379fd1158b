"""Settings, folders, disk and history of an installation."""

from __future__ import annotations

import os
import re
import sqlite3
import stat

from scflows.errors import ScflowsError, UsageError
from scflows.health import FAIL, OK, SKIP, WARN, Finding, counted, some
from scflows.storage import open_regular

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.health.installation import Installation

#: What shells, compose files, service managers and dotenv read alike.
COMMON_LINE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=[^\s\"'`$#\\]*")
UNCOMMON = (
    ("export ", "`export`, which only shells know"),
    ('"', "a quote, which some take as part of the value"),
    ("'", "a quote, which some take as part of the value"),
    ("$", "a $, which some expand"),
    ("#", "a #, where some begin a comment"),
    ("\\", "a backslash, which some drop"),
    ("`", "a backquote, which shells run"),
)
#: Free space, in bytes, below which runs fail, and below which it is told.
NO_SPACE = 10 * 1024**2
LITTLE_SPACE = 500 * 1024**2
#: How long a writer may hold the history, in seconds, before it is told.
PATIENCE = 2.0
#: Up to this size, in bytes, the whole history is read to see whether it is sound.
READ_WHOLE = 64 * 1024**2


def env_file(installation: Installation) -> Iterator[Finding]:
    """`.env`: private, and of the form that everything reads alike."""
    path = installation.settings.env_file
    try:
        state = os.stat(path)
        with open(open_regular(path), encoding="utf-8") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        yield Finding(SKIP, "settings", f"no .env in {installation.settings.home}: environment and defaults")
        return
    mode = stat.S_IMODE(state.st_mode)
    findings = []
    if mode & 0o077:
        told = f"{path}: mode {mode:04o}: others can read the secrets in it"
        findings.append(Finding(WARN, "settings", told, f"chmod 600 {path}"))
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text and not text.startswith("#") and not COMMON_LINE.fullmatch(text):
            what = next((why for sign, why in UNCOMMON if sign in text), "a blank, which some cut at")
            told = f"{path}:{number}: {what}: compose files and service managers may read it otherwise"
            findings.append(Finding(WARN, "settings", told, "write NAME=value, without quotes, blanks, $ and #"))
    yield from some(findings)
    if not findings:
        yield Finding(OK, "settings", f".env, mode {mode:04o}")


def values(installation: Installation) -> Iterator[Finding]:
    """Settings that cannot be what they are."""
    from scflows.cron.schedule.zones import zone

    settings = installation.settings
    for name, look in (
        ("TIMEZONE", lambda: zone(settings.timezone)),
        ("LOG_LEVEL", lambda: settings.log_level),
        ("FLOW_TIMEOUT_SECONDS", lambda: settings.timeout_seconds),
        ("FLOW_MAX_WORKERS", lambda: settings.max_workers),
        ("MAX_RUNS", lambda: settings.max_runs),
        ("MAX_WAIT_SECONDS", lambda: settings.max_wait_seconds),
    ):
        try:
            look()
        except UsageError as error:
            told = str(error) if name in str(error) else f"{name}: {error}"
            yield Finding(FAIL, "settings", told, error.help or f"set {name} in {settings.env_file}")


def config(installation: Installation) -> Iterator[Finding]:
    """`config.yml`: mistakes in it, and names that nobody knows."""
    from scflows.config import read_config

    settings = installation.settings
    if not os.path.exists(settings.config_file):
        return
    try:
        found = read_config(settings)
    except UsageError as error:
        yield Finding(FAIL, "settings", str(error), error.help or "")
        return
    findings = []
    for warning in found.warnings:
        place = f"{warning.path}:{warning.line}:{warning.column}"
        findings.append(Finding(WARN, "settings", f"{place}: {warning.message}", "see docs/notifications.md"))
    yield from some(findings)
    for hook, path in found.hooks.items():
        from scflows.flows.loader import find_flow

        try:
            find_flow(path, settings)
        except ScflowsError as error:
            yield Finding(FAIL, "settings", f"{hook} in {settings.config_file}: {error}", error.help or "")


def folders(installation: Installation) -> Iterator[Finding]:
    """The folders that runs write to."""
    settings = installation.settings
    paths = {
        "log folder": settings.tasks_path,
        "state folder": settings.state_path,
        "lock folder": settings.lock_path,
        "data folder": settings.data_path,
    }
    bad = 0
    for what, path in paths.items():
        there = _existing(path)
        if not os.path.isdir(there):
            bad += 1
            yield Finding(
                FAIL, "folders", f"{what} {path}: {there} is no folder", f"move it away: mv {there} {there}.old"
            )
        elif not os.access(there, os.W_OK | os.X_OK):
            bad += 1
            yield Finding(
                FAIL, "folders", f"{what} {path}: {there} cannot be written", f"see who owns it: ls -ld {there}"
            )
    if not bad:
        yield Finding(OK, "folders", f"logs {settings.tasks_path}, state {settings.state_path}: writable")


def logs(installation: Installation) -> Iterator[Finding]:
    """Logs of tasks that cannot be written: such a run goes on, and nobody reads of it."""
    from scflows.history.task_log import log_path

    findings = []
    for name in installation.tasks:
        path = log_path(installation.settings.tasks_path, name)
        there = path if os.path.lexists(path) else os.path.dirname(path)
        if os.path.lexists(there) and (os.path.isdir(path) or not os.access(there, os.W_OK)):
            findings.append(Finding(FAIL, "logs", f"{path} cannot be written", f"see who owns it: ls -ld {there}"))
    yield from some(findings)


def disk(installation: Installation) -> Iterator[Finding]:
    """Disks that are nearly full."""
    settings = installation.settings
    seen = set()
    least: tuple[int, str] | None = None
    for path in (settings.tasks_path, settings.state_path, settings.data_path):
        there = _existing(path)
        device = os.stat(there).st_dev
        if device in seen:
            continue
        seen.add(device)
        space = os.statvfs(there)
        free = space.f_bavail * space.f_frsize
        least = min(least or (free, there), (free, there))
        if free < NO_SPACE or (space.f_files and not space.f_favail):
            what = _size(free) if free < NO_SPACE else "no inodes"
            yield Finding(
                FAIL, "disk", f"{there}: {what} left: runs cannot be recorded", "make room; see: df -h, df -i"
            )
        elif free < LITTLE_SPACE:
            yield Finding(WARN, "disk", f"{there}: {_size(free)} left", "make room, or: flows runs prune")
    if least and least[0] >= LITTLE_SPACE:
        yield Finding(OK, "disk", f"{_size(least[0])} free at {least[1]}")


def history(installation: Installation) -> Iterator[Finding]:
    """A history that is broken, locked, or made by a later version."""
    from scflows.history.rows import MIGRATIONS
    from scflows.history.sqlite import advice
    from scflows.storage import sqlite_path

    settings = installation.settings
    try:
        path = sqlite_path(settings.database_url, settings.home)
    except ScflowsError as error:
        yield Finding(FAIL, "history", str(error), error.help or "")
        return
    if not os.path.exists(path):
        yield Finding(SKIP, "history", f"none yet; it will be {path}")
        return
    if not os.path.isfile(path):
        yield Finding(FAIL, "history", f"{path} is not a regular file", f"move it away: mv {path} {path}.old")
        return
    if not os.access(path, os.R_OK | os.W_OK) or not os.access(os.path.dirname(path), os.W_OK):
        yield Finding(FAIL, "history", f"{path} cannot be written", f"see who owns it: ls -l {path}")
        return
    connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            yield Finding(FAIL, "history", f"{path} was made by a later version of scflows", "install that version")
            return
        size = os.path.getsize(path)
        told = connection.execute("PRAGMA quick_check(1)").fetchone()[0] if size <= READ_WHOLE else "ok"
        if told != "ok":
            yield Finding(
                FAIL, "history", f"{path} is damaged: {told}", advice(path, sqlite3.DatabaseError("malformed"))
            )
            return
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
        yield Finding(OK, "history", f"{path}, {_size(size)}")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            told = f"{path}: another program holds it for more than {PATIENCE:g} s; runs wait for it"
            yield Finding(WARN, "history", told, f"see who: fuser {path}")
        else:
            yield Finding(FAIL, "history", f"{path}: {error}", advice(path, error))
    except sqlite3.DatabaseError as error:
        yield Finding(FAIL, "history", f"{path} is damaged: {error}", advice(path, error))
    finally:
        connection.close()


def pending(installation: Installation) -> Iterator[Finding]:
    """Records of runs that could not be written into the history."""
    from scflows.history.recorder import pending_folder

    folder = pending_folder(installation.settings)
    names = [name for name in _listed(folder) if not name.startswith(".")]
    waiting = [name for name in names if name.endswith(".json")]
    broken = [name for name in names if name.endswith(".broken")]
    if waiting:
        told = f"{counted(len(waiting), 'record')} of runs could not be written into the history"
        yield Finding(WARN, "history", told, "the next look takes them in: flows history")
    if broken:
        told = f"{counted(len(broken), 'record')} of runs in {folder} cannot be read"
        yield Finding(WARN, "history", told, f"look at them, then: rm {folder}/*.broken")


def _existing(path: str) -> str:
    """The path, or what is there of it."""
    while not os.path.lexists(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return path


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _size(number: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return ""
