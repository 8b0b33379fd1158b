"""What the stand-in does wrong when it is told to."""

from __future__ import annotations

import threading
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: `status`: that status, as JSON or with `text` as plain text · `slow`: wait first · `cut`: half of the body, then
#: nothing · `not-json`: a page with status 200 · `drop`: close the connection without a word.
HOWS = ("status", "slow", "cut", "not-json", "drop")


@dataclass
class Fault:
    """One thing to do wrong, and to which requests."""

    path: str  #: what the path, with its query, has in it
    how: str = "status"  #: one of HOWS
    method: str = ""  #: only this one
    status: int = 500
    text: str = ""
    retry_after: str = ""  #: a header of that value
    location: str = ""  #: where it leads, with a status such as 302
    seconds: float = 1.0  #: of `slow`
    skip: int = 0  #: leave so many requests alone first
    times: int | None = None  #: how often; None: always

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> Fault:
        """Raises ValueError or TypeError for what is none."""
        fault = cls(**given)
        if fault.how not in HOWS:
            raise ValueError(f"how is one of {', '.join(HOWS)}")
        return fault


class Faults:
    """All that is to go wrong; the first that fits is taken."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """The fault for a request, counted as used."""
        with self._lock:
            for fault in self._faults:
                if fault.path not in path or fault.method not in ("", method) or fault.times == 0:
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None


class RateLimit:
    """So many requests a minute from an address; a request of a researcher or an admin lifts it for five minutes."""

    def __init__(self, limit: int | None, window: float = 60.0, lifted: float = 300.0) -> None:
        self.limit = limit  #: None: as many as you like
        self.window = window  #: seconds
        self.lifted = lifted  #: seconds
        self._since = 0.0
        self._count = 0
        self._free_until = float("-inf")
        self._lock = threading.Lock()

    def refuses(self, is_known: bool, clock: float) -> bool:
        """Whether a request is one too many; `clock` in seconds, `is_known` for researchers and admins."""
        with self._lock:
            if self.limit is None or clock < self._free_until:
                return False
            if clock - self._since >= self.window:
                self._since, self._count = clock, 0
            self._count += 1
            if self._count > self.limit:
                return True
            if is_known:
                self._free_until = clock + self.lifted
            return False
