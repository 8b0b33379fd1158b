"""Stay inside a root; write to a temporary file, then rename."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from itertools import islice

from scflows.errors import StepError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


#: Up to so many files the disk is waited for one by one.
FEW = 20
#: So many are waited for together: a command that is killed leaves no more than these beside their places.
AT_ONCE = 1000
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def inside(root: str, path: str) -> str:
    """The absolute path of `path` below `root`, links resolved.

    Raises StepError, naming `path` as it was written, when it leaves `root`, or cannot be a path.
    """
    if not path or "\0" in path:
        raise StepError(f"{path!r} is no path")
    top = os.path.realpath(root)
    full = os.path.realpath(os.path.join(top, path))
    if full != top and not full.startswith(top.rstrip("/") + "/"):
        raise StepError(f"{path!r} leads out of its folder")
    return full


def is_below(path: str, folders: Iterable[str]) -> bool:
    """Whether `path` (absolute, resolved) is one of `folders` or lies in one."""
    for folder in folders:
        top = os.path.realpath(folder)
        if path == top or path.startswith(top.rstrip("/") + "/"):
            return True
    return False


def open_regular(path: str) -> int:
    """A descriptor to read a regular file; never waits.

    Raises OSError, also for what is none: a FIFO would be waited for, a device may have no end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        os.close(descriptor)
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        raise OSError(errno.EINVAL, "it is no regular file", path)
    return descriptor


def replace(path: str, content: bytes, mode: int | None = None, durable: bool = True) -> None:
    """Put `content` at `path` in one move: a reader sees the old file or the new one, never half.

    `mode` is that of the new file; without it a file that exists keeps its own, a new one follows the
    umask. Folders are made. `durable` waits for the disk. Raises OSError; then the old file is untouched.
    """
    temporary = _written_aside(path, content, mode, durable)
    try:
        os.replace(temporary, path)
    except BaseException:
        _discard(temporary)
        raise


def replace_all(files: Iterable[tuple[str, bytes]], mode: int) -> None:
    """Put many files of one file system in place as `replace` does, each in one move and none before the disk has it.

    Raises OSError; then some are the new ones.
    """
    left = iter(files)
    while some := list(islice(left, AT_ONCE)):
        is_few = len(some) <= FEW
        aside: list[tuple[str, str]] = []
        try:
            for path, content in some:
                aside.append((_written_aside(path, content, mode, durable=is_few), path))
            if not is_few:
                _wait_for_disk(os.path.dirname(some[0][0]))
            while aside:
                os.replace(*aside[-1])
                aside.pop()
        except BaseException:
            for temporary, _ in aside:
                _discard(temporary)
            raise


def _written_aside(path: str, content: bytes, mode: int | None, durable: bool) -> str:
    """The path of a new file beside `path` that holds `content`."""
    folder, name = os.path.split(path)
    if mode is None:
        try:
            mode = os.stat(path).st_mode & 0o7777
        except FileNotFoundError:
            mode = None
    temporary = os.path.join(folder, f".{name[:80]}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        descriptor = os.open(temporary, NEW, mode or 0o666)
    except FileNotFoundError:
        os.makedirs(folder or ".", exist_ok=True)
        descriptor = os.open(temporary, NEW, mode or 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
    except BaseException:
        _discard(temporary)
        raise
    return temporary


def _discard(temporary: str) -> None:
    try:
        os.unlink(temporary)
    except OSError:
        pass


def _wait_for_disk(folder: str) -> None:
    """Return once all that was written to a folder's file system is on the disk: one wait in place of thousands."""
    import ctypes

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Python has `os.sync` alone, which waits for all other disks too.
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), folder)
    finally:
        os.close(descriptor)


#: Seconds since the epoch, or of a duration, are less than this: the year 5138.
MOST_SECONDS = 1e11
#: What reading such a file raises when it is broken: one nested too deeply, too.
BROKEN = (OSError, ValueError, TypeError, KeyError, RecursionError)


def stated_seconds(value: Any) -> float:
    """A time or a duration, in seconds. Raises ValueError for what can be none, such as NaN."""
    # A bool is no number here.
    if type(value) not in (int, float) or not 0 <= value < MOST_SECONDS:
        raise ValueError(f"{value!r} is no number of seconds")
    return float(value)


def stated_number(value: Any) -> int:
    """A whole number that is not negative. Raises ValueError for what is none."""
    if type(value) is not int or not 0 <= value < MOST_SECONDS:
        raise ValueError(f"{value!r} is no whole number")
    return value


def stated_text(value: Any) -> str:
    """A text. Raises ValueError for what is none."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


#: How long a writer waits for another, in seconds: cron starts many runs in the same second.
BUSY_SECONDS = 60.0
SQLITE = "sqlite:///"


def sqlite_path(url: str, home: str) -> str:
    """The file that an SQLite URL names; a relative one (three slashes) lies in `home`.

    Raises UsageError for another kind of URL.
    """
    if not url.startswith(SQLITE) or len(url) == len(SQLITE):
        kind = url.partition(":")[0]
        raise UsageError(
            f"the history cannot be kept in {kind!r}: SCFLOWS_DATABASE_URL must begin with {SQLITE}",
            "unset SCFLOWS_DATABASE_URL and SQLALCHEMY_DATABASE_URI to keep it in the state folder",
        )
    return os.path.join(home, url.removeprefix(SQLITE).partition("?")[0])


def connect(path: str, migrations: tuple[str, ...]) -> sqlite3.Connection:
    """An open SQLite database at the newest of `migrations`; in autocommit, the caller begins transactions.

    Raises sqlite3.Error or OSError when it cannot be opened, UsageError when it was made by a later version.
    """
    is_new = not _is_there(path)
    if is_new:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous=NORMAL")
        if _version(connection) != len(migrations):
            _migrate(connection, path, migrations)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_to_read(path: str) -> sqlite3.Connection:
    """An open SQLite database that is only read, also where nothing can be written beside it.

    Raises sqlite3.Error or OSError.
    """
    from urllib.parse import quote

    _is_there(path)
    # Without write access to the folder the log of changes cannot be followed: the file alone is read.
    for mode in ("mode=ro", "mode=ro&immutable=1"):
        connection = sqlite3.connect(f"file:{quote(path)}?{mode}", uri=True, timeout=5, isolation_level=None)
        try:
            connection.execute("SELECT 1 FROM runs LIMIT 1").fetchall()
            return connection
        except sqlite3.OperationalError:
            connection.close()
            if "immutable" in mode:
                raise
        except BaseException:
            connection.close()
            raise
    raise AssertionError


def _is_there(path: str) -> bool:
    """Whether there is a file. Raises OSError for what is none: opening a FIFO would wait, perhaps for ever."""
    try:
        kind = os.stat(path).st_mode
    except OSError:
        return False
    if not stat.S_ISREG(kind):
        raise OSError(errno.EINVAL, "it is no regular file", path)
    return True


def _migrate(connection: sqlite3.Connection, path: str, migrations: tuple[str, ...]) -> None:
    # Changing to WAL does not wait for a busy database as other statements do: one at a time, by a lock of our own.
    import fcntl

    descriptor = os.open(path + ".migration", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        version = _version(connection)
        if version > len(migrations):
            raise UsageError(
                f"{path} was made by a later version of scflows (tables {version}, known {len(migrations)})",
                "install that version, or set SCFLOWS_DATABASE_URL to another file",
            )
        if version == len(migrations):
            return
        os.chmod(path, 0o600)
        if version == 0:
            # Before the first table, or it has no effect: the file can then be made smaller a few pages at a time.
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("PRAGMA journal_mode=WAL")
        for number, script in enumerate(migrations[version:], version + 1):
            connection.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version={number}; COMMIT;")
    finally:
        os.close(descriptor)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def shown_url(url: str) -> str:
    """A database's URL as messages may show it: without its login."""
    scheme, separator, rest = url.partition("://")
    if scheme == "sqlite" or "@" not in rest:
        return url
    return f"{scheme}{separator}***@{rest.rpartition('@')[2]}"
