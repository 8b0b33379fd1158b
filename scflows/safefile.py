"""Stay inside a root; write to a temporary file, then rename."""

from __future__ import annotations

import errno
import os
import stat
from itertools import islice

from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

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
