"""Up to when all slots are accounted for, and which older ones somebody is still to answer: a file of the state."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field

from scflows.cron.schedule.schedule import OVERDUE
from scflows.history.contract import Query
from scflows.storage import BROKEN, checked_seconds, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scflows.history.contract import RunStore
    from scflows.settings import Settings

#: A clock that was ahead by more than so many seconds was wrong: what was accounted for then counts no more, unless it
#: leaps there again.
SET_BACK = 3 * 3600.0
#: So many accounts from before such a clock are kept.
FORMER = 5


@dataclass
class Watermark:
    """What the file of the state says."""

    until: float = 0.0
    open: dict[str, list[float]] = field(default_factory=dict)
    behind: dict[str, float] = field(default_factory=dict)  #: the tasks for which `until` is another one
    again: float = 0.0  #: before this time a further look is not worth its while
    #: What it said when the clock was set back, the newest last: should that have been wrong, it holds again.
    former: list[Watermark] = field(default_factory=list)

    @classmethod
    def stated(cls, values: Any) -> Watermark:
        """From JSON values. Raises one of `BROKEN`, and AttributeError."""
        return cls(
            checked_seconds(values["until"]),
            {name: [checked_seconds(slot) for slot in slots] for name, slots in values["open"].items()},
            {name: checked_seconds(until) for name, until in values["behind"].items()},
            checked_seconds(values.get("again", 0.0)),
            [cls.stated(each) for each in values.get("former", ())],
        )

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {**self.__dict__, "former": [each.to_dict() for each in self.former]}


def _path(settings: Settings) -> str:
    return os.path.join(settings.state_path, "watermark")


def read_watermark(settings: Settings, now: float, store: RunStore) -> Watermark:
    """What holds now. Where there is no account, or none that can be read, it begins by what `store` knows of runs."""
    try:
        with open(_path(settings), encoding="utf-8") as file:
            values = json.load(file)
        account = Watermark.stated(values)
    except (*BROKEN, AttributeError):
        # Where runs were started before anybody kept account, older slots may have been answered and pruned.
        known = any(run.trigger in ("cron", "scheduler") for run in store.find(Query(limit=50)))
        return Watermark(until=now - OVERDUE if known else 0.0)
    if account.until > now + SET_BACK:
        former, account.former = account.former, []
        return Watermark(until=now - OVERDUE, former=[*former, account][-FORMER:])
    account = _by_now(account, now)
    account.again = min(account.again, now + 3600)
    return account


def _by_now(account: Watermark, now: float) -> Watermark:
    """The account that holds by this clock: one from before it was set back, where it has gone forward over that in one
    leap. Then it was wrong in between, as that of a machine that starts with an empty battery."""
    passed = [each for each in account.former if each.until <= now]
    if not passed:
        return account
    account.former = [each for each in account.former if each not in passed]
    latest = max(passed, key=lambda each: each.until)
    if latest.until <= account.until or now - account.until <= SET_BACK:
        return account
    for name, slots in account.open.items():
        latest.open[name] = sorted({*latest.open.get(name, ()), *slots})
    latest.former = account.former
    return latest


def write_watermark(settings: Settings, account: Watermark) -> None:
    """Keep an account. Raises OSError."""
    replace(_path(settings), json.dumps(account.to_dict()).encode() + b"\n", durable=False)
