"""The owner of a line: a user has one crontab, but may have several state folders with their own tasks."""

from __future__ import annotations

import os

from scflows.cron.crontab.line import CrontabEntry, parse_line
from scflows.errors import Refused
from scflows.storage import is_below, names_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scflows.cron.crontab.program import Crontab

#: How many names a message lists.
LISTED = 5


def usual_state() -> str:
    """Return the state folder of a line without `--state`."""
    import pwd

    try:
        home = pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        home = ""
    return os.path.join(home, ".local", "state", "scflows")


def of_others(entries: Iterable[CrontabEntry | None], state_path: str) -> list[CrontabEntry]:
    """Return the lines that start a task of another state folder.

    A line whose task does not exist, for example because its state folder was moved, has no owner.
    """
    own_path = os.path.realpath(state_path)
    foreign = []
    for entry in entries:
        if entry is None:
            continue
        state = entry.state or usual_state()
        if state != state_path and os.path.realpath(state) != own_path and _is_there(state, entry):
            foreign.append(entry)
    return foreign


def lines_of_others(lines: Iterable[str], state_path: str) -> list[CrontabEntry]:
    """Return `of_others` for the lines of a block; most are obviously our own and need not be parsed."""
    if state_path == usual_state():
        candidates = [line for line in lines if " --state " in line]
    else:
        own = f" --state {state_path} # "
        candidates = [line for line in lines if own not in line]
    return of_others(map(parse_line, candidates), state_path)


def check_user(crontab: Crontab, state_path: str) -> None:
    """Raise Refused if, because of sudo, the crontab belongs to another user than the tasks."""
    if crontab.by is None:
        return
    import pwd

    try:
        caller = pwd.getpwnam(crontab.by)
    except KeyError:
        return
    try:
        is_owner = os.stat(state_path).st_uid == caller.pw_uid
    except OSError:
        is_owner = False
    homes = [caller.pw_dir] if caller.pw_dir.strip("/") else []
    if is_owner or is_below(os.path.realpath(state_path), homes):
        raise Refused(
            f"the tasks in {state_path} belong to {crontab.by}, but under sudo they would be written to the crontab of"
            f" {crontab.user}",
            f"run it without sudo, or for tasks of {crontab.user} with: sudo -H",
        )


def not_ours(entries: Sequence[CrontabEntry], state_path: str) -> Refused:
    """Return the error for a block that has lines of another state folder."""
    state = entries[0].state or usual_state()
    names = ", ".join(entry.name if entry.is_task else "all" for entry in entries[:LISTED])
    hidden = len(entries) - LISTED
    more = f" and {hidden} more" if hidden > 0 else ""
    variable = f"XDG_STATE_HOME={os.path.dirname(state)}"
    return Refused(
        f"the block in the crontab starts tasks of another state folder, {state}: {names}{more};"
        f" the current one is {state_path}",
        f"change those tasks with: {variable} flows; or remove them first: {variable} flows clear-tasks; a crontab can"
        " only have the tasks of one state folder",
    )


def _is_there(state: str, entry: CrontabEntry) -> bool:
    folder = os.path.join(state, "tasks")
    if entry.is_task:
        return os.path.exists(os.path.join(folder, f"{entry.name}.json"))
    return bool(names_in(folder, ".json"))
