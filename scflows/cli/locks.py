"""The locks of runs: who holds what, and how to free one."""

from __future__ import annotations

from typing import Annotated

import typer

from scflows.cli import completion
from scflows.cli.output import Output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scflows.locks import Holder


def locks(ctx: typer.Context) -> None:
    """List who runs what, since when; a lock whose holder died means nothing."""
    from scflows.locks import holders

    out: Output = ctx.obj
    found = [_item(holder) for holder in holders(out.settings.lock_path)]
    out.table({"LOCK": "lock", "STATE": "state", "RUN": "run", "PID": "pid", "SINCE": "since"}, found)
    if not found:
        out.hint("no locks: nothing runs")


def clear(
    ctx: typer.Context,
    lock: Annotated[str, typer.Argument(metavar="LOCK", autocompletion=completion.locks)],
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
) -> None:
    """Free a lock: the next run is let in, one that holds it goes on beside it."""
    from scflows.cli.open_history import nearest
    from scflows.errors import NotFound
    from scflows.locks import clear as clear_lock
    from scflows.locks import holders

    out: Output = ctx.obj
    found = {}
    for holder in holders(out.settings.lock_path):
        found[holder.name] = found[_shown(holder.name)] = holder
    if lock not in found:
        raise NotFound(f"there is no lock {lock!r}", nearest(lock, found) or "see them with: flows locks")
    holder = found[lock]
    beside = f", though run {holder.run} still holds it," if holder.alive else ""
    if not out.confirm(1, f"free the lock {lock}{beside}", yes):
        out.say("nothing was freed", {"lock": lock, "cleared": False})
        return
    cleared = clear_lock(out.settings.lock_path, holder.name)
    goes_on = f"; run {holder.run} goes on" if holder.alive else ""
    out.say(f"lock {lock} is free{goes_on} · flows locks", {"lock": lock, "cleared": cleared})


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
    """The lock as people know it: a flow's path for one that stands for a path."""
    return "/" + name.replace("%2F", "/").replace("%25", "%") if "%2F" in name else name
