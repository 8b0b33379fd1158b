"""The process that hands out turns, as the scheduler sees it: started where it is missing, stopped with the others."""

from __future__ import annotations

import os

from scflows.lock import is_alive
from scflows.place import nobody_waits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scflows.processes import World


class TurnServer:
    """Whoever hands out turns for a state folder, if somebody does."""

    def __init__(self, state: str, world: World, say: Callable[[str], None]) -> None:
        self._state = state
        self._world = world
        self._say = say

    @property
    def pid(self) -> int:
        """Its process; 0 where there is none."""
        try:
            with open(os.path.join(self._state, "turn.lock"), encoding="ascii") as file:
                process = file.read().splitlines()[1]
            return int(process.split(":")[2]) if is_alive(process) else 0
        except (OSError, ValueError, IndexError):
            return 0

    def see_to(self) -> None:
        """Have somebody hand out turns, if runs wait and whoever did so died."""
        if nobody_waits(self._state):
            return
        from scflows.backlog import HAND_OUT, is_left_alone

        if is_left_alone(self._state):
            try:
                self._world.start([*HAND_OUT, "--state", self._state])
            except OSError as error:
                self._say(f"cannot start what waits: {error.strerror}; trying again")

    def stop(self) -> None:
        """Have it start nothing more; told so again, it has those end that it started."""
        pid = self.pid
        if pid:
            self._world.stop(pid)
