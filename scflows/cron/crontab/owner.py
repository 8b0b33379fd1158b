"""Whose a line of ours is: a user has one crontab, and may have several state folders, each with tasks of its own."""

from __future__ import annotations

import os

from scflows.cron.crontab.line import parse_line
from scflows.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scflows.cron.crontab.line import CrontabEntry
    from scflows.cron.crontab.program import Crontab

#: So many names are told.
TOLD = 5


def usual_state() -> str:
    """The state folder that a line without `--state` leads to."""
    import pwd

    try:
        home = pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        home = ""
    return os.path.join(home, ".local", "state", "scflows")


def of_others(entries: Iterable[CrontabEntry | None], state_path: str) -> list[CrontabEntry]:
    """The lines that start a task of another state folder than this.

    One whose task is not there starts nothing, as after a state folder was moved; so it is nobody's.
    """
    ours = os.path.realpath(state_path)
    found = []
    for entry in entries:
        if entry is None:
            continue
        state = entry.state or usual_state()
        if state != state_path and os.path.realpath(state) != ours and _is_there(state, entry):
            found.append(entry)
    return found


def lines_of_others(lines: Iterable[str], state_path: str) -> list[CrontabEntry]:
    """`of_others` for the lines of a block, of which most are plainly ours and need not be taken apart."""
    if state_path == usual_state():
        unlike = [line for line in lines if " --state " in line]
    else:
        sign = f" --state {state_path} # "
        unlike = [line for line in lines if sign not in line]
    return of_others(map(parse_line, unlike), state_path)


def check_user(crontab: Crontab, state_path: str) -> None:
    """Raises Refused where sudo made this the crontab of another user than the one whose tasks these are."""
    if crontab.by is None:
        return
    import pwd

    from scflows.storage import is_below

    try:
        them = pwd.getpwnam(crontab.by)
    except KeyError:
        return
    try:
        is_theirs = os.stat(state_path).st_uid == them.pw_uid
    except OSError:
        is_theirs = False
    homes = [them.pw_dir] if them.pw_dir.strip("/") else []
    if is_theirs or is_below(os.path.realpath(state_path), homes):
        raise Refused(
            f"the tasks in {state_path} are those of {crontab.by}; under sudo they would go onto the crontab of"
            f" {crontab.user}",
            f"run it without sudo; or for tasks of {crontab.user}: sudo -H",
        )


def not_ours(entries: Sequence[CrontabEntry], state_path: str) -> Refused:
    """Why a block with these lines of other state folders is left alone."""
    state = entries[0].state or usual_state()
    names = ", ".join(entry.name if entry.is_task else "all" for entry in entries[:TOLD])
    hidden = len(entries) - TOLD
    more = f" and {hidden} more" if hidden > 0 else ""
    variable = f"XDG_STATE_HOME={os.path.dirname(state)}"
    return Refused(
        f"the block in the crontab starts tasks of another state folder, {state}: {names}{more};"
        f" this one is {state_path}",
        f"change those with: {variable} flows; or give them up before: {variable} flows clear-tasks; one crontab is for"
        " the tasks of one state folder",
    )


def _is_there(state: str, entry: CrontabEntry) -> bool:
    folder = os.path.join(state, "tasks")
    if entry.is_task:
        return os.path.exists(os.path.join(folder, f"{entry.name}.json"))
    try:
        return any(each.endswith(".json") for each in os.listdir(folder))
    except OSError:
        return False
