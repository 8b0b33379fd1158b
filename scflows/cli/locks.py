"""Show which runs hold locks; release one."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from scflows.cli import completion
from scflows.cli.output import Output
from scflows.cli.parameters import Yes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.locks import Holder


def locks(ctx: typer.Context) -> None:
    """List locks and the runs that hold them. A lock whose holder died has no effect."""
    from scflows.locks import holders

    out: Output = ctx.obj
    found = [_item(holder) for holder in holders(out.settings.lock_path)]
    out.table(
        {"LOCK": "lock", "STATE": "state", "RUN": "run", "PID": "pid", "SINCE": "since"}, found, less=("pid", "since")
    )
    if not found:
        out.hint("No locks: nothing is running.")


def clear(
    ctx: typer.Context,
    lock: Annotated[
        str, typer.Argument(metavar="LOCK", help="A lock, as `flows locks` lists it.", autocompletion=completion.locks)
    ],
    yes: Yes = False,
) -> None:
    """Release a lock.

    The next run can then start, even if the holder of the lock is still running.
    """
    from scflows.cli.open_history import nearest
    from scflows.errors import NotFound
    from scflows.locks import clear as clear_lock
    from scflows.locks import holders

    out: Output = ctx.obj
    found = {}
    for holder in holders(out.settings.lock_path):
        found[holder.name] = found[_shown(holder.name)] = holder
    if lock not in found:
        raise NotFound(f"lock {lock!r} not found", nearest(lock, found) or "list locks with: flows locks")
    holder = found[lock]
    warning = f", although run {holder.run} still holds it" if holder.alive else ""
    if not out.confirm(1, f"release the lock {lock}{warning}", yes):
        out.say("No lock was released.", {"lock": lock, "cleared": False})
        return
    cleared = clear_lock(out.settings.lock_path, holder.name)
    note = f"; run {holder.run} continues" if holder.alive else ""
    out.say(f"Released lock {lock}{note} · flows locks", {"lock": lock, "cleared": cleared})


def _item(holder: Holder) -> dict[str, Any]:
    from scflows.cli.times import Moment, Status

    return {
        "lock": _shown(holder.name),
        "state": Status("held" if holder.alive else "left behind"),
        "alive": holder.alive,
        "run": holder.run,
        "pid": str(holder.pid or ""),
        "since": Moment(holder.since, seconds=True),
    }


def _shown(name: str) -> str:
    """Return the name to show for a lock: the flow's path if the lock is named after one."""
    return "/" + name.replace("%2F", "/").replace("%3A", ":").replace("%25", "%") if "%2F" in name else name
