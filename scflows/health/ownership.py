"""Files of the state that this user cannot use: left behind by `sudo flows`, or by a copy that another user made."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from shlex import quote

from scflows.health import FAIL, WARN, Finding, some

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.health.installation import Installation
    from scflows.settings import Settings


@dataclass(frozen=True)
class Foreign:
    """A file or folder that its user cannot use."""

    path: str
    owner: str
    user: str  #: who should own it
    mine: bool  #: whether it is this user who cannot use it, or root who finds that another one cannot
    closed: bool = False  #: whether it is the user's own, and only its mode is in the way

    @property
    def message(self) -> str:
        if self.closed:
            return f"{self.path} belongs to {self.owner}, and its mode keeps {self.user} from using it"
        return f"{self.path} belongs to {self.owner}: {self.user} cannot use it"

    @property
    def help(self) -> str:
        """The command that mends it."""
        if self.closed:
            return f"chmod u+rwX {quote(self.path)}"
        deep = "-R " if os.path.isdir(self.path) else ""
        return f"sudo chown {deep}{self.user} {quote(self.path)}"


def files(installation: Installation) -> Iterator[Finding]:
    """Files of the state that their user cannot use: a lock, a place or a record that nobody can open."""
    found = list(foreign_files(installation.settings))
    findings = [Finding(FAIL if each.mine else WARN, "files", each.message, each.help) for each in found]
    state = quote(installation.settings.state_path)
    yield from some(findings, f"all at once: sudo chown -R {found[0].user} {state}" if found else "")


def foreign_files(settings: Settings) -> Iterator[Foreign]:
    """All that is in the state folder, and beside the logs, and of no use for its user."""
    me = os.geteuid()
    for top, is_deep in ((settings.state_path, True), (settings.tasks_path, False)):
        try:
            owner = os.stat(top).st_uid
        except OSError:
            continue
        # Root can use all; but what it leaves behind among another user's files, that one cannot.
        user = owner if me == 0 else me
        if me == 0:
            is_worth_it = _has_of(top, owner)
        else:
            is_worth_it = os.access(top, os.R_OK | os.W_OK | os.X_OK, effective_ids=True)
        if is_worth_it:
            yield from _below(top, user, me, is_deep)


def _below(folder: str, user: int, me: int, is_deep: bool) -> Iterator[Foreign]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        try:
            state = entry.stat(follow_symlinks=False)
        except OSError:
            continue  # It was removed meanwhile.
        is_folder = stat.S_ISDIR(state.st_mode)
        if not is_folder and not stat.S_ISREG(state.st_mode) and not stat.S_ISFIFO(state.st_mode):
            continue
        wanted = os.R_OK | os.W_OK | (os.X_OK if is_folder else 0)
        is_usable = state.st_uid == user if me == 0 else os.access(entry.path, wanted, effective_ids=True)
        if not is_usable:
            yield Foreign(entry.path, _name(state.st_uid), _name(user), user == me, state.st_uid == user)
        elif is_folder and is_deep:
            yield from _below(entry.path, user, me, is_deep)


def _has_of(folder: str, user: int) -> bool:
    """Whether anything in a folder is a user's: else the folder alone is, as one that a container was given."""
    try:
        with os.scandir(folder) as found:
            return any(entry.stat(follow_symlinks=False).st_uid == user for entry in found)
    except OSError:
        return False


def _name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
