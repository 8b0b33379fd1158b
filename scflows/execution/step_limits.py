"""The time limits of steps and child flows, as enforced by the parent process.

A C library may never let the watchdog of its own process interrupt it.
"""

from __future__ import annotations

from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@dataclass
class KilledStep:
    """A step whose process was killed because it exceeded its limit."""

    step: str  #: its name; inside a child flow, the name of the step of the top-level flow
    message: str  #: of its error


@dataclass
class _Limit:
    step: str
    kind: str  #: what is limited: `step`, `flow`
    name: str
    seconds: float
    ends: float  #: by the monotonic clock, which all processes share; includes the grace period


class StepLimits:
    """The current limits, as reported by the child."""

    def __init__(self, grace: float) -> None:
        """Give the child `grace` seconds to react by itself."""
        self._grace = grace
        self._limits: dict[int, _Limit] = {}

    def add(self, values: dict[str, Any]) -> None:
        ends = values["ends"] + self._grace
        self._limits[values["number"]] = _Limit(values["step"], values["kind"], values["name"], values["seconds"], ends)

    def remove(self, values: dict[str, Any]) -> None:
        self._limits.pop(values["number"], None)

    def extend_to(self, moment: float) -> None:
        """Extend the current limits at least until then, because a final step with its own limit has started."""
        for each in self._limits.values():
            each.ends = max(each.ends, moment)

    def next(self) -> float | None:
        """Return when the next limit passes; None if there is none."""
        return min((each.ends for each in self._limits.values()), default=None)

    def exceeded(self, now: float) -> KilledStep | None:
        """Return the step that has exceeded its limit; if several limits have passed, the outermost one counts."""
        for each in self._limits.values():
            if now >= each.ends:
                inner = "" if (each.kind, each.name) == ("step", each.step) else f"{each.kind} {each.name!r} in it "
                return KilledStep(each.step, f"{inner}took longer than {each.seconds:g} s and its process was killed")
        return None
