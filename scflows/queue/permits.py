"""Permits: as many runs run at the same time as there are permits; each is a file that the kernel locks for a run.

A permit is free as soon as no process of its run is left, however they ended. Permits belong to a state folder, and so
to one user of one machine; where its folder of permits is a link to one that several users share, they share them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from scflows.locks import is_locked

FOLDER = "permits"
#: The folder of the runs that wait, see `entries`.
QUEUE_FOLDER = "queue"
#: How the names of its entries end; other files there mean nothing.
ENTRY_ENDING = ".run"
#: The pipe that wakes the queue worker when something has changed.
PIPE = "worker.pipe"

#: How a permit is opened: without waiting and without following links, whatever another user put there.
KIND = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
#: How often opening a file is retried that others create and remove.
TRIES = 5


class Permit:
    """A permit that is held."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def release(self) -> None:
        """Give up this process's hold; the permit is free when no child has it any more."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def acquire_permit(state: str, most: int, above: int = 0) -> Permit | None:
    """Return one of `most` permits; None when all are held. Raises OSError for a state folder that cannot be used.

    The first `above` of them are for earlier runs, which may have no others.
    """
    folder = os.path.join(state, FOLDER)
    for number in range(above + 1, most + 1):
        descriptor = _open(folder, str(number))
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return Permit(descriptor)
        except BlockingIOError:
            os.close(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
    return None


def has_free_permit(state: str, most: int, above: int = 0) -> bool:
    """Return whether a run could have a permit now; also for one that needs none (`most` is 0), and where permits
    cannot be used, since runs go on without."""
    for number in range(above + 1, most + 1):
        try:
            if not is_locked(os.path.join(state, FOLDER, str(number)), os.O_RDONLY | KIND):
                return True
        except OSError:
            return True  # It was never used, or it cannot be, and runs go on without.
    return not most


def is_queue_empty(state: str) -> bool:
    """Return whether no run waits to start: asked at every start, so that most of them need not know more."""
    try:
        with os.scandir(os.path.join(state, QUEUE_FOLDER)) as found:
            return not any(is_entry(each) for each in found)
    except OSError:
        return True


def is_entry(found: os.DirEntry[str]) -> bool:
    """Return whether a file in the folder of the queue is an entry: opening a pipe would wait forever."""
    return is_entry_name(found.name) and found.is_file(follow_symlinks=False)


def is_entry_name(name: str) -> bool:
    """Return whether it is `RANK_TIME_TASK_RUN.run`; RANK has 4 digits, TIME has 14, or 15 in the far future."""
    numbers = [part if part.isdecimal() and part.isascii() else "" for part in name.split("_", 2)[:2]]
    lengths = [len(number) for number in numbers]
    return name.endswith(ENTRY_ENDING) and name.count("_") > 2 and lengths in ([4, 14], [4, 15])


def wake_worker(state: str) -> None:
    """Wake the queue worker, if there is one: a permit or a lock is free, or a run was enqueued."""
    try:
        descriptor = os.open(os.path.join(state, PIPE), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(descriptor, b".")
    except OSError:
        pass  # It is full, so the worker will wake up.
    os.close(descriptor)


def _open(folder: str, name: str) -> int:
    path = os.path.join(folder, name)
    for _ in range(TRIES):
        try:
            descriptor = os.open(path, os.O_RDWR | KIND)
        except PermissionError:
            # Another user's, in a folder that several share: for the kernel's lock it need not be written.
            descriptor = os.open(path, os.O_RDONLY | KIND)
        except FileNotFoundError:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            try:
                # Without O_EXCL the kernel keeps others' files in a folder such as /tmp from being opened.
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | KIND, 0o644)
            except FileExistsError:
                continue
            os.fchmod(descriptor, 0o644)
            return descriptor
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file", path)
        return descriptor
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)
