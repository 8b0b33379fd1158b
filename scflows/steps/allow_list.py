"""Which flows may run programs of their own: step types that must be allowed."""

from __future__ import annotations

import os

from scflows.errors import StepError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.settings import Settings

WRITABLE_BY_GROUP = 0o020
WRITABLE_BY_OTHERS = 0o002


def require(step_type: str, settings: Settings, file: str, shown: str = "") -> None:
    """Raises StepError unless `config.yml` allows the step type, or the file is safely the user's own.

    It is the flow's file, or one that the flow names as `shown`. Who can write it decides what runs: a file that
    belongs to the user who runs it, and that nobody else may write, gives nobody anything they cannot do already.
    """
    if is_own(file) or step_type in _allowed(settings):
        return
    where = f"with {shown}" if shown else "in this flow"
    raise StepError(
        f"{step_type!r} steps are not allowed {where}: its file belongs to somebody else, or others may "
        f"write it; make it yours (chown, chmod go-w), or allow them in {os.path.basename(settings.config_file)}: "
        f"`allow: [{step_type}]`"
    )


def is_own(path: str) -> bool:
    """Whether a file belongs to the user who runs this and nobody else may write it."""
    try:
        status = os.stat(path)
    except OSError:
        return False
    if status.st_uid != os.geteuid() or status.st_mode & WRITABLE_BY_OTHERS:
        return False
    return not status.st_mode & WRITABLE_BY_GROUP or _is_private_group(status.st_gid, status.st_uid)


def _is_private_group(group: int, user: int) -> bool:
    """Whether a group is the user's own one: where every user has one, the umask lets it write all files."""
    import grp
    import pwd

    try:
        person = pwd.getpwuid(user)
        found = grp.getgrgid(group)
    except KeyError:
        return False
    named_alike = person.pw_gid == group and found.gr_name == person.pw_name
    return named_alike and all(member == person.pw_name for member in found.gr_mem)


def _allowed(settings: Settings) -> tuple[str, ...]:
    from scflows.config import read_config

    try:
        return read_config(settings).allow
    except UsageError as error:
        # The message names the file by its whole path, which a flow's errors never do.
        raise StepError(str(error).replace(settings.config_file, os.path.basename(settings.config_file))) from error
