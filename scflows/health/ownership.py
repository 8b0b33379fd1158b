"""Find state files that their user cannot use, for example after `sudo flows` or a copy by another user."""

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
    is_own: bool  #: whether the affected user runs this command; otherwise root does
    has_closed_mode: bool = False  #: whether the user owns it and only its mode prevents access

    @property
    def message(self) -> str:
        if self.has_closed_mode:
            return f"{self.path} belongs to {self.owner}, but its mode keeps {self.user} from using it"
        return f"{self.path} belongs to {self.owner}, so {self.user} cannot use it"

    @property
    def help(self) -> str:
        """The command that fixes it."""
        if self.has_closed_mode:
            return f"chmod u+rwX {quote(self.path)}"
        deep = "-R " if os.path.isdir(self.path) else ""
        return f"sudo chown {deep}{self.user} {quote(self.path)}"


def files(installation: Installation) -> Iterator[Finding]:
    """Report state files, such as locks and records, that their user cannot use."""
    found = list(foreign_files(installation.settings))
    findings = [Finding(FAIL if each.is_own else WARN, "files", each.message, each.help) for each in found]
    state = quote(installation.settings.state_path)
    yield from some(findings, f"fix all: sudo chown -R {found[0].user} {state}" if found else "")


def foreign_files(settings: Settings) -> Iterator[Foreign]:
    """Return all files in the state folder and next to the logs that their user cannot use."""
    current = os.geteuid()
    for top, is_deep in ((settings.state_path, True), (settings.tasks_path, False)):
        try:
            owner = os.stat(top).st_uid
        except OSError:
            continue
        # Root can use everything, but the owner of the folder cannot use files that root created in it.
        user = owner if current == 0 else current
        if current == 0:
            is_relevant = _has_files_of(top, owner)
        else:
            is_relevant = os.access(top, os.R_OK | os.W_OK | os.X_OK, effective_ids=True)
        if is_relevant:
            yield from _below(top, user, current, is_deep)


def _below(folder: str, user: int, current: int, is_deep: bool) -> Iterator[Foreign]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        try:
            state = entry.stat(follow_symlinks=False)
        except OSError:
            continue  # It has just been removed.
        is_folder = stat.S_ISDIR(state.st_mode)
        if not is_folder and not stat.S_ISREG(state.st_mode) and not stat.S_ISFIFO(state.st_mode):
            continue
        access = os.R_OK | os.W_OK | (os.X_OK if is_folder else 0)
        is_usable = state.st_uid == user if current == 0 else os.access(entry.path, access, effective_ids=True)
        if not is_usable:
            yield Foreign(entry.path, _name(state.st_uid), _name(user), user == current, state.st_uid == user)
        elif is_folder and is_deep:
            yield from _below(entry.path, user, current, is_deep)


def _has_files_of(folder: str, user: int) -> bool:
    """Return True if a user owns a file in a folder, not only the folder, as for a volume of a container."""
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
