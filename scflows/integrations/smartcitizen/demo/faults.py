"""The faults that the mock injects."""

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
    """A fault, and the requests it applies to."""

    path: str  #: a part of the path with its query
    how: str = "status"  #: one of HOWS
    method: str = ""  #: only this one
    status: int = 500
    text: str = ""
    retry_after: str = ""  #: a header of that value
    location: str = ""  #: where it leads, with a status such as 302
    seconds: float = 1.0  #: of `slow`
    skip: int = 0  #: the number of requests to skip first
    times: int | None = None  #: how often; None: always

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> Fault:
        """Return a fault. Raises ValueError or TypeError."""
        fault = cls(**given)
        if fault.how not in HOWS:
            raise ValueError(f"how is one of {', '.join(HOWS)}")
        return fault


class Faults:
    """The list of faults; the first match applies."""

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
        """Return the fault for a request and count it as used."""
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
    """A limit of requests per minute; a request of a researcher or an admin lifts it for five minutes."""

    def __init__(self, limit: int | None, window: float = 60.0, lifted: float = 300.0) -> None:
        self.limit = limit  #: None: no limit
        self.window = window  #: seconds
        self.lifted = lifted  #: seconds
        self._since = 0.0
        self._count = 0
        self._free_until = float("-inf")
        self._lock = threading.Lock()

    def refuses(self, is_known: bool, clock: float) -> bool:
        """Return True if a request exceeds the limit; `clock` in seconds, `is_known` for researchers and admins."""
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
