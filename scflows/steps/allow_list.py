"""The permission to run programs: which flow files may use `shell` and `python` steps."""

from __future__ import annotations

import os

from scflows.errors import StepError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.settings import Settings

WRITABLE_BY_GROUP = 0o020
WRITABLE_BY_OTHERS = 0o002


def require(step_type: str, settings: Settings, file: str, shown: str = "") -> None:
    """Raise StepError unless `config.yml` allows the step type or `file` can be changed by its owner alone.

    `file` is the flow file, or a file that the flow names as `shown`. If it belongs to the user who runs it and no
    other user may write it, running it grants no access that the user does not already have.
    """
    if is_own(file) or step_type in _allowed(settings):
        return
    where = f"with {shown}" if shown else "in this flow"
    raise StepError(
        f"{step_type!r} steps are not allowed {where}: the file belongs to another user or others may write it; "
        f"take ownership (chown, chmod go-w), or allow them in {os.path.basename(settings.config_file)}: "
        f"`allow: [{step_type}]`"
    )


def is_own(path: str) -> bool:
    """Return True if a file belongs to the current user and no other user may write it."""
    try:
        status = os.stat(path)
    except OSError:
        return False
    if status.st_uid != os.geteuid() or status.st_mode & WRITABLE_BY_OTHERS:
        return False
    return not status.st_mode & WRITABLE_BY_GROUP or _is_private_group(status.st_gid, status.st_uid)


def _is_private_group(group: int, user: int) -> bool:
    """Return True if a group has the user as its only member; on such systems the umask makes files group-writable."""
    import grp
    import pwd

    try:
        account = pwd.getpwuid(user)
        found = grp.getgrgid(group)
    except KeyError:
        return False
    has_same_name = account.pw_gid == group and found.gr_name == account.pw_name
    return has_same_name and all(member == account.pw_name for member in found.gr_mem)


def _allowed(settings: Settings) -> tuple[str, ...]:
    from scflows.config import read_config

    try:
        return read_config(settings).allow
    except UsageError as error:
        # The message contains the absolute path of the file, which errors of a flow never show.
        raise StepError(str(error).replace(settings.config_file, os.path.basename(settings.config_file))) from error
