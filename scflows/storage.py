"""Files written completely or not at all, paths kept inside a root, SQLite files with migrations."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from functools import cache
from itertools import islice

from scflows.errors import StepError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator
    from typing import IO, Any


#: Up to this many files are synced one by one; more are synced together.
MAX_SINGLE_SYNCS = 20
#: Files that are synced together. A command that is killed leaves at most this many temporary files.
BATCH_SIZE = 1000
CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def inside(root: str, path: str) -> str:
    """Return the absolute path of `path` below `root`, with links resolved.

    Raises StepError if `path` leads out of `root` or is not a valid path.
    """
    if not path or "\0" in path:
        raise StepError(f"{path!r} is not a valid path")
    top = os.path.realpath(root)
    full = os.path.realpath(os.path.join(top, path))
    if full != top and not full.startswith(top.rstrip("/") + "/"):
        raise StepError(f"{path!r} leads out of its folder")
    return full


def is_below(path: str, folders: Iterable[str]) -> bool:
    """Return whether `path` (absolute, resolved) is one of `folders` or lies in one."""
    for folder in folders:
        top = os.path.realpath(folder)
        if path == top or path.startswith(top.rstrip("/") + "/"):
            return True
    return False


def open_regular(path: str) -> int:
    """Open a regular file for reading and return its descriptor; never block.

    Raises OSError, also if the file is not a regular file: opening a FIFO blocks, a device may have no end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        os.close(descriptor)
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return descriptor


def file_state(path: str) -> tuple[int, int, int] | None:
    """Return inode, size and modification time of a file, which change when it is written; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def names_in(folder: str, ending: str = "") -> list[str]:
    """Return the names in a folder that end with `ending`, sorted; none if the folder cannot be read."""
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith(ending))
    except OSError:
        return []


def json_names(folder: str) -> list[str]:
    """Return the names of the JSON files in a folder, sorted, without `.json`; temporary files do not count."""
    return [name.removesuffix(".json") for name in names_in(folder, ".json") if not name.startswith(".")]


def discard(path: str) -> None:
    """Remove a file if that is possible."""
    try:
        os.unlink(path)
    except OSError:
        pass


def replace(path: str, content: bytes, mode: int | None = None, durable: bool = True) -> None:
    """Write `content` to `path` atomically: a reader sees the old file or the new one, never a part.

    Without `mode`, an existing file keeps its mode and a new one follows the umask. Missing folders are created.
    `durable` waits until the content is on the disk. Raises OSError; the old file is then unchanged.
    """
    temporary = _write_temporary(path, content, mode, durable)
    try:
        os.replace(temporary, path)
    except BaseException:
        discard(temporary)
        raise


@contextmanager
def replacing(path: str) -> Iterator[IO[bytes]]:
    """Open a new file for writing, which takes the place of `path` once the block has ended without an exception.

    For content too large for `replace`; the same promises. Raises OSError.
    """
    temporary = _write_temporary(path, b"", None, durable=False)
    try:
        with open(temporary, "r+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        discard(temporary)
        raise


def replace_all(files: Iterable[tuple[str, bytes]], mode: int) -> None:
    """Replace many files of one file system as `replace` does, each only once its content is on the disk.

    Raises OSError; some files may then be new and others old.
    """
    remaining = iter(files)
    while batch := list(islice(remaining, BATCH_SIZE)):
        is_small = len(batch) <= MAX_SINGLE_SYNCS
        renames: list[tuple[str, str]] = []
        try:
            for path, content in batch:
                renames.append((_write_temporary(path, content, mode, durable=is_small), path))
            if not is_small:
                _sync_file_system(os.path.dirname(batch[0][0]))
            while renames:
                os.replace(*renames[-1])
                renames.pop()
        except BaseException:
            for temporary, _ in renames:
                discard(temporary)
            raise


def _write_temporary(path: str, content: bytes, mode: int | None, durable: bool) -> str:
    """Write `content` to a new file in the folder of `path` and return its path."""
    folder, name = os.path.split(path)
    if mode is None:
        try:
            mode = os.stat(path).st_mode & 0o7777
        except FileNotFoundError:
            mode = None
    temporary = os.path.join(folder, f".{name[:80]}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        descriptor = os.open(temporary, CREATE_FLAGS, mode or 0o666)
    except FileNotFoundError:
        os.makedirs(folder or ".", exist_ok=True)
        descriptor = os.open(temporary, CREATE_FLAGS, mode or 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
    except BaseException:
        discard(temporary)
        raise
    return temporary


def _sync_file_system(folder: str) -> None:
    """Wait until everything written to a folder's file system is on the disk: one wait instead of thousands."""
    import ctypes

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Python only has `os.sync`, which also waits for every other disk.
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), folder)
    finally:
        os.close(descriptor)


#: Times and durations in state files are below this; as seconds since the epoch it is the year 5138.
MAX_SECONDS = 1e11
#: What reading a state file raises if it is malformed, edited by hand, or truncated by a full disk.
BROKEN = (OSError, ValueError, TypeError, KeyError, RecursionError)


def checked_seconds(value: Any) -> float:
    """Return a time or a duration in seconds. Raises ValueError for any other value, for example NaN."""
    # `type`, because a bool is an int for `isinstance`.
    if type(value) not in (int, float) or not 0 <= value < MAX_SECONDS:
        raise ValueError(f"{value!r} is not a number of seconds")
    return float(value)


def checked_number(value: Any) -> int:
    """Return a non-negative integer. Raises ValueError for any other value."""
    if type(value) is not int or not 0 <= value < MAX_SECONDS:
        raise ValueError(f"{value!r} is not a non-negative integer")
    return value


def checked_text(value: Any) -> str:
    """Return a text. Raises ValueError for any other value."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text")
    return value


#: How long a writer waits for another, in seconds. Cron starts many runs in the same second.
BUSY_SECONDS = 60.0
SQLITE = "sqlite:///"


def sqlite_path(url: str, home: str) -> str:
    """Return the path in an SQLite URL; a relative one (three slashes) is relative to `home`.

    Raises UsageError for any other URL.
    """
    if not url.startswith(SQLITE) or len(url) == len(SQLITE):
        kind = url.partition(":")[0]
        raise UsageError(
            f"the history cannot be stored in {kind!r}: SCFLOWS_DATABASE_URL must start with {SQLITE}",
            "unset SCFLOWS_DATABASE_URL and SQLALCHEMY_DATABASE_URI to store it in the state folder",
        )
    return os.path.join(home, url.removeprefix(SQLITE).partition("?")[0])


def connect(path: str, migrations: tuple[str, ...]) -> sqlite3.Connection:
    """Open an SQLite database, migrated to the newest version, in autocommit: the caller begins transactions.

    Raises sqlite3.Error or OSError if it cannot be opened, UsageError if a later version of scflows created it.
    """
    import sqlite3

    if not _file_exists(path):
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, factory=connection_class())
    try:
        connection.execute("PRAGMA synchronous=NORMAL")
        if _version(connection) != len(migrations):
            _migrate(connection, path, migrations)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_read_only(path: str) -> sqlite3.Connection:
    """Open an SQLite database for reading, even in a folder that is not writable.

    Raises sqlite3.Error or OSError.
    """
    import sqlite3
    from urllib.parse import quote

    _file_exists(path)
    # Without write access to the folder SQLite cannot use the write-ahead log: only the main file is read.
    for mode in ("mode=ro", "mode=ro&immutable=1"):
        name = f"file:{quote(path)}?{mode}"
        connection = sqlite3.connect(name, uri=True, timeout=5, isolation_level=None, factory=connection_class())
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


@cache
def connection_class() -> type[sqlite3.Connection]:
    """Return the class of connections whose errors are those of `sqlite3`.

    If the schema is damaged, the message of SQLite may have bytes that are not UTF-8, which Python reports instead.
    """
    import sqlite3

    class Connection(sqlite3.Connection):
        def execute(self, *given: Any) -> sqlite3.Cursor:
            try:
                return super().execute(*given)
            except UnicodeDecodeError as error:
                damaged = sqlite3.DatabaseError("malformed: its schema has bytes that are not UTF-8")
                damaged.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
                raise damaged from error

    return Connection


def _file_exists(path: str) -> bool:
    """Return whether the file exists. Raises OSError if it is not a regular file: opening a FIFO could block."""
    try:
        kind = os.stat(path).st_mode
    except OSError:
        return False
    if not stat.S_ISREG(kind):
        raise OSError(errno.EINVAL, "not a regular file", path)
    return True


def _migrate(connection: sqlite3.Connection, path: str, migrations: tuple[str, ...]) -> None:
    from scflows.locks import locked

    # Unlike other statements, the change to WAL fails if the database is busy, so a lock of our own guards it.
    with locked(path + ".migration"):
        version = _version(connection)
        if version > len(migrations):
            raise UsageError(
                f"{path} was created by a later version of scflows (schema {version}, known {len(migrations)})",
                "install that version, or set SCFLOWS_DATABASE_URL to another file",
            )
        if version == len(migrations):
            return
        os.chmod(path, 0o600)
        if version == 0:
            # Lets the file shrink a few pages at a time; it has no effect after the first table.
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("PRAGMA journal_mode=WAL")
        for number, script in enumerate(migrations[version:], version + 1):
            connection.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version={number}; COMMIT;")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def redacted_url(url: str) -> str:
    """Return a database URL without its credentials, for messages."""
    scheme, separator, rest = url.partition("://")
    if scheme == "sqlite" or "@" not in rest:
        return url
    return f"{scheme}{separator}***@{rest.rpartition('@')[2]}"
