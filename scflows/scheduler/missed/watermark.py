"""The watermark, a file of the state: all slots up to a time are accounted for, except some older open ones."""

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

#: A clock that was ahead by more than this many seconds was wrong: a watermark from then is ignored, unless the clock
#: leaps there again.
SET_BACK = 3 * 3600.0
#: How many watermarks from before such a clock are kept.
FORMER = 5


@dataclass
class Watermark:
    """The content of the file."""

    until: float = 0.0
    open: dict[str, list[float]] = field(default_factory=dict)
    behind: dict[str, float] = field(default_factory=dict)  #: the tasks for which `until` is another one
    again: float = 0.0  #: before this time another look is not worth its cost
    #: Watermarks from before the clock was set back, the newest last: if that was wrong, they are valid again.
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
    """Return the watermark that is valid now. If there is none that can be read, it starts from the runs of `store`."""
    try:
        with open(_path(settings), encoding="utf-8") as file:
            values = json.load(file)
        account = Watermark.stated(values)
    except (*BROKEN, AttributeError):
        # If there were runs before the first watermark, older slots may have had runs that were pruned.
        known = any(run.trigger in ("cron", "scheduler") for run in store.find(Query(limit=50)))
        return Watermark(until=now - OVERDUE if known else 0.0)
    if account.until > now + SET_BACK:
        former, account.former = account.former, []
        return Watermark(until=now - OVERDUE, former=[*former, account][-FORMER:])
    account = _by_now(account, now)
    account.again = min(account.again, now + 3600)
    return account


def _by_now(account: Watermark, now: float) -> Watermark:
    """Return the watermark for this clock: one from before it was set back, if it leapt forward past that time again.

    Then the clock was wrong in between, as that of a machine that starts with an empty battery.
    """
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
    """Write the watermark. Raises OSError."""
    replace(_path(settings), json.dumps(account.to_dict()).encode() + b"\n", durable=False)
