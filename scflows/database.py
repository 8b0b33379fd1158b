"""A connection to the database that a URL names, its tables brought up to date."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat

from scflows.errors import UsageError

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
