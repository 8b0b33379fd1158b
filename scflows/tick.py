"""Start what is due, in the foreground: the scheduler for where no cron daemon is."""

from __future__ import annotations

import os
from dataclasses import dataclass

from scflows.agenda import MADE_UP, Agenda, Slot
from scflows.heartbeat import Heartbeat, beat, last_beat, only_scheduler
from scflows.logfile import timestamp
from scflows.missed import ASLEEP, CROWDED, STOPPED, Missed
from scflows.processes import Processes
from scflows.waiting import Waiting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from scflows.cron.task import Task
    from scflows.settings import Settings

    class World(Protocol):
        """The clock, the signals and the processes; see `Processes`."""

        def now(self) -> float: ...
        def wait(self, seconds: float) -> None: ...
        def signals(self) -> list[int]: ...
        def start(self, arguments: list[str]) -> int: ...
        def ended(self) -> list[tuple[int, int]]: ...
        def stop(self, pid: int) -> None: ...


#: Seconds that tasks which run are given before they are asked to stop, and then to do so.
GRACE = 60.0
STOPPING = 15.0
#: The longest wait, in seconds: a machine that slept must not take until the next minute to notice.
NAP = 10.0
#: How many missed slots are recorded before the clock is looked at again.
RECORDED_AT_ONCE = 50
SIGHUP = 1


@dataclass(frozen=True)
class Started:
    """A process of ours and the slot it answers for."""

    slot: Slot
    at: float  #: seconds since the epoch


def usual_places() -> int:
    """How many tasks run side by side unless somebody says otherwise: two for each core, at least two."""
    return max(2, 2 * len(os.sched_getaffinity(0)))


def serve(settings: Settings, tell: Callable[[str], None], places: int | None = None, grace: float = GRACE) -> None:
    """Start the tasks of the tabfile at their slots until a signal says to stop. Raises Busy and Refused."""
    lock = only_scheduler(settings)
    try:
        with Processes() as world:
            Scheduler(settings, world, tell, places or usual_places(), grace).run()
    finally:
        lock.release()


class Scheduler:
    """Looks at the clock every minute, starts what is due, and waits for it when told to stop."""

    def __init__(
        self, settings: Settings, world: World, tell: Callable[[str], None], places: int, grace: float = GRACE
    ) -> None:
        self.settings = settings
        self.world = world
        self.places = places
        self.grace = grace
        self._tell = tell
        self._began = world.now()
        self._minute = int(self._began) // 60  #: the last one that was looked at
        self._agenda = Agenda(settings, self._after())
        self._waiting = Waiting()
        self._running: dict[int, Started] = {}
        self._missed = Missed()
        self._told: tuple[str, ...] = ()  #: the tasks at work, as the heartbeat has them
        self._until: float | None = None  #: when the running tasks are asked to stop, once we are to stop
        self._asked = False
        self._is_told = False

    def run(self) -> None:
        """Until a signal says to stop, and what was started has ended."""
        self.say(f"scheduler {os.getpid()} started, {_tasks(self.places)} side by side")
        self._load(always=True)
        self._tick()
        while self._until is None or (self._running and not self._is_over()):
            self.world.wait(self._pause())
            for number in self.world.signals():
                self._hear(number)
            self._reap()
            if int(self.world.now()) // 60 != self._minute:
                self._tick()
            self._fill()
            if self._at_work() != self._told:
                self._beat()
            self._record_missed(RECORDED_AT_ONCE)
        self._record_missed()
        self._beat()
        left = f", {_tasks(len(self._running))} still at work" if self._running else ""
        self.say(f"scheduler {os.getpid()} ended{left}")

    def say(self, text: str) -> None:
        self._tell(f"{timestamp(self.world.now())} {text}")

    def _after(self) -> float:
        """From where on slots are ours: a scheduler that was away for minutes only makes up for them."""
        before = last_beat(self.settings)
        if before is not None and 0 <= self._began - before.until <= MADE_UP:
            return before.until
        return self._began

    def _tick(self) -> None:
        now = self.world.now()
        before, self._minute = self._minute, int(now) // 60
        if self._minute < before:
            self.say(f"the clock was set back by {before - self._minute} min; no slot is started again")
        if self._until is None:
            self._load()
            due, missed = self._agenda.take(now)
            for slot in due:
                given_up = self._waiting.add(slot)
                if given_up is not None:
                    self._missed.add([given_up], self._agenda.tasks, CROWDED)
            if missed:
                self.say(f"slots missed: {len(missed)}, the first {timestamp(missed[0].due)}")
            self._missed.add(missed, self._agenda.tasks, ASLEEP)
            self._fill()
        self._beat()

    def _load(self, always: bool = False) -> None:
        loaded = self._agenda.reload(always)
        if loaded is not None:
            self.say(f"{_tasks(loaded.tasks)} in {self.settings.tabfile}")
            for problem in loaded.problems:
                self.say(f"cannot schedule {problem}")

    def _fill(self) -> None:
        """Start what waits as long as there are places."""
        while self._until is None and len(self._running) < self.places:
            slot = self._waiting.first(started.slot.name for started in self._running.values())
            if slot is None:
                return
            task = self._agenda.tasks.get(slot.name)
            # A task that is gone was removed or paused while it waited.
            if task is not None and not self._start(slot, task):
                return
            self._waiting.remove(slot)

    def _start(self, slot: Slot, task: Task) -> bool:
        flow = [task.flow] if task.flow else []
        arguments = ["run", *flow, "--task", slot.name, "--state", self.settings.state_path]
        try:
            pid = self.world.start([*arguments, "--slot", str(slot.due)])
        except OSError as error:
            self.say(f"cannot start {slot.name}: {error.strerror}; trying again")
            return False
        self._running[pid] = Started(slot, self.world.now())
        self.say(f"started {_named(slot)}")
        return True

    def _reap(self) -> None:
        for pid, status in self.world.ended():
            started = self._running.pop(pid, None)
            if started is not None:
                took = self.world.now() - started.at
                how = f"status {status}" if status >= 0 else f"killed by signal {-status}"
                self.say(f"ended {_named(started.slot)}: {how} after {took:.1f} s")

    def _hear(self, number: int) -> None:
        if number == SIGHUP:
            self._load(always=True)
        elif self._until is None:
            self._until = self.world.now() + self.grace
            self._missed.add(self._waiting.clear(), self._agenda.tasks, STOPPED)
            self.say(f"told to stop; {_tasks(len(self._running))} at work may go on for {self.grace:g} s")
        else:
            self._until = min(self._until, self.world.now())

    def _is_over(self) -> bool:
        """Whether no more time is given to the tasks that run; asks them to stop when it is time."""
        assert self._until is not None
        now = self.world.now()
        if now < self._until:
            return False
        if not self._asked:
            self._asked = True
            self.say(f"asking {_tasks(len(self._running))} to stop")
            for pid in self._running:
                self.world.stop(pid)
        return now >= self._until + STOPPING

    def _pause(self) -> float:
        if self._missed:
            return 0.0
        now = self.world.now()
        ends = [NAP, (int(now) // 60 + 1) * 60 - now]
        if self._until is not None:
            ends.append((self._until + STOPPING if self._asked else self._until) - now)
        return max(0.0, min(ends))

    def _record_missed(self, most: int | None = None) -> None:
        for problem in self._missed.record(self.world.now(), most):
            self.say(f"cannot record missed slots: {problem}")

    def _at_work(self) -> tuple[str, ...]:
        return tuple(sorted(started.slot.name for started in self._running.values()))

    def _beat(self) -> None:
        running = self._told = self._at_work()
        now, until = self.world.now(), float(self._agenda.until)
        try:
            beat(self.settings, Heartbeat(os.getpid(), now, until, running, len(self._waiting)))
            self._is_told = False
        except OSError as error:
            if not self._is_told:
                self.say(f"cannot write the heartbeat: {error.strerror}")
            self._is_told = True


def _tasks(number: int) -> str:
    return f"{number} task" + ("" if number == 1 else "s")


def _named(slot: Slot) -> str:
    return f"{slot.name} (slot {timestamp(slot.due)})"
