"""The processes that the scheduler has started, each for a slot, until they end."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.logfile import timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scflows.agenda import Slot
    from scflows.cron.task import Task
    from scflows.place import Place
    from scflows.processes import World


@dataclass(frozen=True)
class Started:
    """A process of ours and the slot it answers for."""

    slot: Slot
    at: float  #: seconds since the epoch
    is_light: bool = False  #: it takes no place: most of the time it waits for the second of its next slot


class Starts:
    """Starts tasks, and knows which of them are at work."""

    def __init__(self, state: str, world: World, say: Callable[[str], None], warn: Callable[[str], None]) -> None:
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

    def start(self, slot: Slot, task: Task, place: Place | None, arguments: list[str] | None = None) -> bool:
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
