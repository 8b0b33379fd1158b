"""Check settings, folders, disks and history."""

from __future__ import annotations

import os
import re
import sqlite3
import stat

from scflows.errors import ScflowsError, UsageError
from scflows.health import FAIL, OK, SKIP, WARN, Finding, counted, some
from scflows.storage import names_in, open_regular

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.health.installation import Installation

#: The format that shells, Compose, systemd and dotenv read in the same way.
COMMON_LINE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=[^\s\"'`$#\\]*")
UNCOMMON = (
    ("export ", "`export` is only known to shells"),
    ('"', "some programs treat the quote as part of the value"),
    ("'", "some programs treat the quote as part of the value"),
    ("$", "some programs expand the $"),
    ("#", "some programs start a comment at the #"),
    ("\\", "some programs drop the backslash"),
    ("`", "shells run the text in backquotes"),
)
#: Free space, in bytes, below which runs fail, and below which a warning is given.
NO_SPACE = 10 * 1024**2
LITTLE_SPACE = 500 * 1024**2
#: How long another program may lock the history, in seconds, before a warning is given.
LOCK_SECONDS = 2.0
#: The largest history, in bytes, that is checked completely.
MAX_CHECKED = 64 * 1024**2


def env_file(installation: Installation) -> Iterator[Finding]:
    """Check that `.env` is private and in the common format."""
    path = installation.settings.env_file
    try:
        state = os.stat(path)
        with open(open_regular(path), encoding="utf-8") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        yield Finding(SKIP, "settings", f"no .env in {installation.settings.home}: using environment and defaults")
        return
    mode = stat.S_IMODE(state.st_mode)
    findings = []
    if mode & 0o077:
        text = f"{path}: other users can read the secrets in it (mode {mode:04o})"
        findings.append(Finding(WARN, "settings", text, f"chmod 600 {path}"))
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text and not text.startswith("#") and not COMMON_LINE.fullmatch(text):
            why = next((why for sign, why in UNCOMMON if sign in text), "some programs end the value at the space")
            message = f"{path}:{number}: {why}, so Compose and systemd may read another value"
            findings.append(Finding(WARN, "settings", message, "write NAME=value, without quotes, spaces, $ and #"))
    yield from some(findings)
    if not findings:
        yield Finding(OK, "settings", f".env, mode {mode:04o}")


def values(installation: Installation) -> Iterator[Finding]:
    """Report settings with invalid values."""
    from scflows.cron.schedule.zones import zone

    settings = installation.settings
    for name, read in (
        ("TIMEZONE", lambda: zone(settings.timezone)),
        ("LOG_LEVEL", lambda: settings.log_level),
        ("FLOW_TIMEOUT_SECONDS", lambda: settings.timeout_seconds),
        ("FLOW_MAX_WORKERS", lambda: settings.max_workers),
        ("MAX_RUNS", lambda: settings.max_runs),
        ("MAX_WAIT_SECONDS", lambda: settings.max_wait_seconds),
    ):
        try:
            read()
        except UsageError as error:
            text = str(error) if name in str(error) else f"{name}: {error}"
            yield Finding(FAIL, "settings", text, error.help or f"set {name} in {settings.env_file}")


def names(installation: Installation) -> Iterator[Finding]:
    """Report misspelt names in `.env` and `config.yml`, other mistakes in `config.yml`, and hooks without a flow."""
    from scflows.health.workspace_files import file_mistakes

    findings = []
    for mistake in file_mistakes(installation.settings):
        place = f"{mistake.path}:{mistake.line}:{mistake.column}" if mistake.line else mistake.path
        level = FAIL if mistake.severity == "error" else WARN
        help = "see: flows config" if mistake.path == installation.settings.env_file else "see docs/notifications.md"
        findings.append(Finding(level, "settings", f"{place}: {mistake.message}", help))
    yield from some(findings)


def folders(installation: Installation) -> Iterator[Finding]:
    """Check that the folders of runs are writable."""
    settings = installation.settings
    paths = {
        "log folder": settings.tasks_path,
        "state folder": settings.state_path,
        "lock folder": settings.lock_path,
        "data folder": settings.data_path,
    }
    failures = 0
    for title, path in paths.items():
        existing = _existing(path)
        if not os.path.isdir(existing):
            failures += 1
            text = f"{title} {path}: {existing} is not a directory"
            yield Finding(FAIL, "folders", text, f"move it away: mv {existing} {existing}.old")
        elif not os.access(existing, os.W_OK | os.X_OK):
            failures += 1
            text = f"{title} {path}: {existing} is not writable"
            yield Finding(FAIL, "folders", text, f"show the owner: ls -ld {existing}")
    if not failures:
        yield Finding(OK, "folders", f"logs {settings.tasks_path}, state {settings.state_path}: writable")


def logs(installation: Installation) -> Iterator[Finding]:
    """Report task logs that are not writable. Runs continue without a log."""
    from scflows.history.task_log import log_path

    findings = []
    for name in installation.tasks:
        path = log_path(installation.settings.tasks_path, name)
        existing = path if os.path.lexists(path) else os.path.dirname(path)
        if os.path.lexists(existing) and (os.path.isdir(path) or not os.access(existing, os.W_OK)):
            findings.append(Finding(FAIL, "logs", f"{path} is not writable", f"show the owner: ls -ld {existing}"))
    yield from some(findings)


def disk(installation: Installation) -> Iterator[Finding]:
    """Report disks that are nearly full."""
    settings = installation.settings
    seen = set()
    least: tuple[int, str] | None = None
    for path in (settings.tasks_path, settings.state_path, settings.data_path):
        existing = _existing(path)
        device = os.stat(existing).st_dev
        if device in seen:
            continue
        seen.add(device)
        space = os.statvfs(existing)
        free = space.f_bavail * space.f_frsize
        least = min(least or (free, existing), (free, existing))
        if free < NO_SPACE or (space.f_files and not space.f_favail):
            left = _size(free) if free < NO_SPACE else "no inodes"
            text = f"{existing}: {left} left, so runs cannot be recorded"
            yield Finding(FAIL, "disk", text, "free some space; show usage: df -h, df -i")
        elif free < LITTLE_SPACE:
            yield Finding(WARN, "disk", f"{existing}: {_size(free)} left", "free some space: flows runs prune")
    if least and least[0] >= LITTLE_SPACE:
        yield Finding(OK, "disk", f"{_size(least[0])} free at {least[1]}")


def history(installation: Installation) -> Iterator[Finding]:
    """Check that the history is not damaged, locked, or of a later version."""
    from scflows.history.rows import MIGRATIONS
    from scflows.history.sqlite import advice
    from scflows.storage import connection_class, sqlite_path

    settings = installation.settings
    try:
        path = sqlite_path(settings.database_url, settings.home)
    except ScflowsError as error:
        yield Finding(FAIL, "history", str(error), error.help or "")
        return
    if not os.path.exists(path):
        yield Finding(SKIP, "history", f"none yet; it will be created as {path}")
        return
    if not os.path.isfile(path):
        yield Finding(FAIL, "history", f"{path} is not a regular file", f"move it away: mv {path} {path}.old")
        return
    if not os.access(path, os.R_OK | os.W_OK) or not os.access(os.path.dirname(path), os.W_OK):
        yield Finding(FAIL, "history", f"{path} is not writable", f"show the owner: ls -l {path}")
        return
    connection = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None, factory=connection_class())
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            yield Finding(FAIL, "history", f"{path} was created by a later version of scflows", "install that version")
            return
        size = os.path.getsize(path)
        result = connection.execute("PRAGMA quick_check(1)").fetchone()[0] if size <= MAX_CHECKED else "ok"
        if result != "ok":
            yield Finding(
                FAIL, "history", f"{path} is damaged: {result}", advice(path, sqlite3.DatabaseError("malformed"))
            )
            return
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
        yield Finding(OK, "history", f"{path}, {_size(size)}")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            text = f"{path}: another program has locked it for more than {LOCK_SECONDS:g} s; runs wait for it"
            yield Finding(WARN, "history", text, f"show the program: fuser {path}")
        else:
            yield Finding(FAIL, "history", f"{path}: {error}", advice(path, error))
    except sqlite3.DatabaseError as error:
        yield Finding(FAIL, "history", f"{path} is damaged: {error}", advice(path, error))
    finally:
        connection.close()


def pending(installation: Installation) -> Iterator[Finding]:
    """Report records of runs that could not be written to the history."""
    from scflows.history.recorder import claims_folder

    folder = claims_folder(installation.settings)
    names = [name for name in names_in(folder) if not name.startswith(".")]
    waiting = [name for name in names if name.endswith(".json")]
    broken = [name for name in names if name.endswith(".broken")]
    if waiting:
        text = f"{counted(len(waiting), 'record')} of runs could not be written to the history"
        yield Finding(WARN, "history", text, "add them: flows history")
    if broken:
        text = f"{counted(len(broken), 'record')} of runs in {folder} cannot be read"
        yield Finding(WARN, "history", text, f"inspect them, then: rm {folder}/*.broken")


def _existing(path: str) -> str:
    """Return the longest existing part of a path."""
    while not os.path.lexists(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return path


def _size(number: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return ""
