"""Places: as many runs go on at once as there are places; each is a file that the kernel locks for a run.

A place is free as soon as no process of its run is left, however they ended. Places belong to a state folder, and so
to one user of one machine; where its folder of places is a link to one that several users share, they share the places.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from scflows.locks import is_locked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping

FOLDER = "places"
#: Where those who wait for one are, see `backlog`.
QUEUE_FOLDER = "backlog"
#: The pipe by which whoever hands out turns is told that something has changed.
PIPE = "turn.pipe"
#: By this variable a process is told the descriptor of a place that was taken for it, and how long that took.
PERMIT_VARIABLE = "SCFLOWS_PLACE"

#: How a place is opened: whatever another user put there, nothing is waited for, and no link is followed.
KIND = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
#: So often a file that comes and goes is opened anew.
TRIES = 5


class Permit:
    """A place that is taken."""

    def __init__(self, descriptor: int, waited: float = 0.0) -> None:
        self.descriptor = descriptor
        self.waited = waited  #: seconds until there was one

    def release(self) -> None:
        """Give up this process's hold; the place is free when no child has it any more."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def acquire_permit(state: str, most: int, above: int = 0) -> Permit | None:
    """One of so many places; None when all are taken. Raises OSError for a state folder that cannot be used.

    The first `above` of them are for others, whose turn comes earlier and who may have no more than these.
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
    """Whether `take_place` would have a place right now; also for a run that needs none (`most` is 0), and where places
    cannot be used, since runs go on without."""
    for number in range(above + 1, most + 1):
        try:
            if not is_locked(os.path.join(state, FOLDER, str(number)), os.O_RDONLY | KIND):
                return True
        except OSError:
            return True  # Nobody has had it yet, or it is of no use, and runs go on without.
    return not most


def is_queue_empty(state: str) -> bool:
    """Whether no run waits for its turn: asked at every start, so that most of them need not know more."""
    try:
        with os.scandir(os.path.join(state, QUEUE_FOLDER)) as found:
            return all(each.name[0] == "." for each in found)
    except OSError:
        return True


def wake_worker(state: str) -> None:
    """Tell whoever hands out turns, if somebody does, that a place is free or a run came."""
    try:
        descriptor = os.open(os.path.join(state, PIPE), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(descriptor, b".")
    except OSError:
        pass  # It is full: it was told often enough.
    os.close(descriptor)


def inherited_permit(state: str, environment: MutableMapping[str, str]) -> Permit | None:
    """The place that whoever started this process has taken for it; its variable is taken out."""
    text, _, waited = environment.pop(PERMIT_VARIABLE, "").partition(":")
    try:
        descriptor, seconds = int(text), float(waited)
        lies_in = os.path.dirname(os.readlink(f"/proc/self/fd/{descriptor}"))
        if lies_in != os.path.realpath(os.path.join(state, FOLDER)):
            return None
        # Its child keeps it, the programs of its steps must not.
        os.set_inheritable(descriptor, False)
    except (OSError, ValueError):
        return None
    return Permit(descriptor, seconds)


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
