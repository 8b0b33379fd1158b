"""Stay inside a root; write to a temporary file, then rename."""

from __future__ import annotations

import errno
import os
import stat

from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


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
    folder, name = os.path.split(path)
    if folder:
        os.makedirs(folder, exist_ok=True)
    if mode is None:
        try:
            mode = os.stat(path).st_mode & 0o7777
        except FileNotFoundError:
            mode = None
    temporary = os.path.join(folder, f".{name[:80]}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode or 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        try:
            os.unlink(temporary)
        except OSError:
            pass
        raise
