"""The limits of steps and child flows, as the parent process watches over them.

A library in C may never let the clock of its own process interrupt it.
"""

from __future__ import annotations

from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@dataclass
class KilledStep:
    """A step whose process was ended, since it did not heed its limit."""

    step: str  #: its name; for what a child flow did, that of the step of the run's own flow
    message: str  #: what its error says


@dataclass
class _Limit:
    step: str
    what: str  #: whose limit it is: `step`, `flow`
    name: str
    seconds: float
    ends: float  #: by the monotonic clock, which all processes share; some time to react is part of it


class StepLimits:
    """Those that hold just now. A child tells of them as `bound`, and as `unbound` when what they bound has ended."""

    def __init__(self, grace: float) -> None:
        """`grace`: seconds that a child has to react by itself."""
        self._grace = grace
        self._held: dict[int, _Limit] = {}

    def bound(self, values: dict[str, Any]) -> None:
        ends = values["ends"] + self._grace
        self._held[values["number"]] = _Limit(values["step"], values["what"], values["name"], values["seconds"], ends)

    def unbound(self, values: dict[str, Any]) -> None:
        self._held.pop(values["number"], None)

    def not_before(self, moment: float) -> None:
        """Give those that hold time until then: a final step has begun, with a time of its own."""
        for each in self._held.values():
            each.ends = max(each.ends, moment)

    def next(self) -> float | None:
        """When the first of them is over; None without any."""
        return min((each.ends for each in self._held.values()), default=None)

    def lost(self, now: float) -> KilledStep | None:
        """The step that is over its time; of several limits the outermost is the one that tells."""
        for each in self._held.values():
            if now >= each.ends:
                inner = "" if (each.what, each.name) == ("step", each.step) else f"{each.what} {each.name!r} in it "
                return KilledStep(each.step, f"{inner}took longer than {each.seconds:g} s, and its process was killed")
        return None
