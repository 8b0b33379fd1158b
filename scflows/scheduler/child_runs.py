"""The processes that the scheduler has started, each for a slot, until they end."""

from __future__ import annotations

import os
from dataclasses import dataclass

from scflows.history.task_log import timestamp
from scflows.locks import is_alive
from scflows.queue.permits import is_queue_empty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scflows.cron.task import Task
    from scflows.queue.permits import Permit
    from scflows.scheduler.due_slots import Slot
    from scflows.scheduler.process_host import Host


@dataclass(frozen=True)
class Started:
    """A process of ours and the slot it answers for."""

    slot: Slot
    at: float  #: seconds since the epoch
    is_light: bool = False  #: it takes no place: most of the time it waits for the second of its next slot


class ChildRuns:
    """Starts tasks, and knows which of them are at work."""

    def __init__(self, state: str, world: Host, say: Callable[[str], None], warn: Callable[[str], None]) -> None:
        self._state = state
        self._world = world
        self._say = say
        self._warn = warn
        self._running: dict[int, Started] = {}

    def __len__(self) -> int:
        return len(self._running)

    @property
    def slots(self) -> list[Slot]:
        """The slots of those at work."""
        return [started.slot for started in self._running.values()]

    @property
    def tasks(self) -> list[str]:
        """Their tasks."""
        return [slot.name for slot in self.slots]

    @property
    def places(self) -> int:
        """How many of them take a place."""
        return sum(not started.is_light for started in self._running.values())

    def start(self, slot: Slot, task: Task, place: Permit | None, arguments: list[str] | None = None) -> bool:
        """Start a task for a slot, by `arguments` if there are any; False, and said, when that cannot be."""
        flow = [task.flow] if task.flow else []
        usual = ["run", *flow, "--task", slot.name, "--state", self._state, "--slot", str(slot.due)]
        try:
            pid = self._world.start(arguments or usual, place)
        except OSError as error:
            self._warn(f"cannot start {slot.name}: {error.strerror}; trying again")
            return False
        self._running[pid] = Started(slot, self._world.now(), task.schedule.is_fine and arguments is None)
        self._say(f"started {_named(slot)}")
        return True

    def reap(self) -> None:
        """Say of those that ended how they did."""
        for pid, status in self._world.ended():
            started = self._running.pop(pid, None)
            if started is not None:
                took = self._world.now() - started.at
                how = f"status {status}" if status >= 0 else f"killed by signal {-status}"
                self._say(f"ended {_named(started.slot)}: {how} after {took:.1f} s")

    def stop(self) -> None:
        """Ask all of them to stop."""
        for pid in self._running:
            self._world.stop(pid)


def _named(slot: Slot) -> str:
    return f"{slot.name} (slot {timestamp(slot.due)})"


class WorkerProcess:
    """Whoever hands out turns for a state folder, if somebody does."""

    def __init__(self, state: str, world: Host, say: Callable[[str], None]) -> None:
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
        if is_queue_empty(self._state):
            return
        from scflows.queue.files import WORKER_COMMAND, needs_worker

        if needs_worker(self._state):
            try:
                self._world.start([*WORKER_COMMAND, "--state", self._state])
            except OSError as error:
                self._say(f"cannot start what waits: {error.strerror}; trying again")

    def stop(self) -> None:
        """Have it start nothing more; told so again, it has those end that it started."""
        pid = self.pid
        if pid:
            self._world.stop(pid)
