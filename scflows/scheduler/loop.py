"""The loop of the scheduler: it looks at the clock every minute, starts what is due, and hears when it is to stop."""

from __future__ import annotations

import os

from scflows.cron.schedule.schedule import STARTABLE
from scflows.cron.scheduler_lock import Heartbeat, last_heartbeat, write_heartbeat
from scflows.history.task_log import timestamp
from scflows.scheduler.capacity import Capacity
from scflows.scheduler.child_runs import ChildRuns, WorkerProcess
from scflows.scheduler.dispatcher import Dispatcher
from scflows.scheduler.due_slots import DueSlots
from scflows.scheduler.missed.catch_up_queue import CatchUpQueue
from scflows.scheduler.missed.skipped import SkippedSlots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scflows.scheduler.indexed_due_slots import IndexedDueSlots
    from scflows.scheduler.process_host import Host
    from scflows.settings import Settings

#: Seconds that tasks which run are given before they are asked to stop, and then to do so.
GRACE = 60.0
STOPPING = 15.0
#: The longest wait, in seconds: a machine that slept must not take until the next minute to notice.
NAP = 10.0
#: The same while a slot that is due waits for a place that other processes of ours have.
LOOK_EVERY = 0.25
#: How many missed slots are recorded before the clock is looked at again.
RECORDED_AT_ONCE = 50
SIGHUP = 1


class Scheduler:
    """Looks at the clock every minute, starts what is due, and waits for it when told to stop."""

    def __init__(
        self,
        settings: Settings,
        world: Host,
        tell: Callable[[str], None],
        places: int | None,
        grace: float = GRACE,
        warn: Callable[[str], None] | None = None,
        agenda: IndexedDueSlots | None = None,
    ) -> None:
        """Without `places` each task has as many as its own settings say.

        `warn` is told what goes wrong, else `tell`. With a kept `agenda` it ends as soon as nothing is at work.
        """
        self.settings = settings
        self.world = world
        self.places = places
        self.grace = grace
        self._tell = tell
        self._warn = warn or tell
        self._ends_idle = agenda is not None
        self._began = world.now()
        self.minute = int(self._began) // 60  #: the last one that was looked at
        self._agenda = agenda or DueSlots(settings, self._after())
        self._missed = SkippedSlots()
        self._starts = ChildRuns(settings.state_path, world, self.say, self.warn)
        self._capacity = Capacity(settings, self._agenda, places)
        self._arrears = CatchUpQueue(settings, self._agenda, self._capacity, self._starts, self.say)
        self._arrears.next_look = self._began
        self._dispatch = Dispatcher(world, self._agenda, self._capacity, self._starts, self._arrears, self._missed)
        self._turns = WorkerProcess(settings.state_path, world, self.say)
        self._told: tuple[str, ...] = ()  #: the tasks at work, as the heartbeat has them
        self._until: float | None = None  #: when the running tasks are asked to stop, once we are to stop
        self._asked = False
        self._is_told = False

    def run(self) -> None:
        """Until a signal says to stop, and what was started has ended."""
        self.say(f"scheduler {os.getpid()} started, {_tasks(self.places or self.settings.max_runs)} side by side")
        self._load(always=True)
        self._tick()
        while self._goes_on():
            self.world.wait(self._pause())
            for number in self.world.signals():
                self._hear(number)
            self._starts.reap()
            if int(self.world.now()) // 60 != self.minute:
                self._tick()
            self._dispatch.fill()
            if not self.is_stopping:
                self._turns.see_to()
            if self._at_work() != self._told:
                self._beat()
            self._record_missed(RECORDED_AT_ONCE)
            self._look_back()
        self._record_missed()
        self._beat()
        left = f", {_tasks(len(self._starts))} still at work" if self._starts else ""
        self.say(f"scheduler {os.getpid()} ended{left}")

    @property
    def is_stopping(self) -> bool:
        """Whether a signal said to stop."""
        return self._until is not None

    @property
    def is_mute(self) -> bool:
        """Whether nobody can read which slots were handed out: the heartbeat cannot be written."""
        return self._is_told

    def say(self, text: str) -> None:
        self._tell(f"{timestamp(self.world.now())} {text}")

    def warn(self, text: str) -> None:
        self._warn(f"{timestamp(self.world.now())} {text}")

    def _goes_on(self) -> bool:
        if self._until is not None:
            return bool(self._starts or self._turns.pid) and not self._is_over()
        return not self._ends_idle or bool(self._starts or self._dispatch.waiting)

    def _after(self) -> float:
        """From where on slots are ours: a scheduler that was away for minutes only makes up for them."""
        before = last_heartbeat(self.settings)
        if before is not None and 0 <= self._began - before.until <= STARTABLE:
            return before.until
        return self._began

    def _tick(self) -> None:
        now = self.world.now()
        before, self.minute = self.minute, int(now) // 60
        if self.minute < before:
            self.warn(f"the clock was set back by {before - self.minute} min; no slot is started again")
        self._capacity.forget()
        if self._until is None:
            self._load()
            due, missed = self._agenda.take(now)
            self._dispatch.add(due, now)
            if missed:
                self._arrears.next_look = now
            self._dispatch.fill()
        self._beat()

    def _load(self, always: bool = False) -> None:
        loaded = self._agenda.reload(always)
        if loaded is not None:
            self.say(f"{_tasks(loaded.tasks)} in {self.settings.tabfile}")
            for problem in loaded.problems:
                self.warn(f"cannot schedule {problem}")

    def _look_back(self) -> None:
        """Look for slots that nobody answered."""
        # A tick leaves it to whoever ends a run: it has better to do, and its agenda has few tasks.
        if not self._ends_idle and self._until is None and not self._missed:
            self._arrears.look(self.world.now(), self._dispatch.waiting.slots())

    def _hear(self, number: int) -> None:
        if number == SIGHUP:
            self._load(always=True)
        elif self._until is None:
            self._until = self.world.now() + self.grace
            self._dispatch.stop()
            # It starts nothing more, and ends when what it has started has ended.
            self._turns.stop()
            self.say(f"told to stop; {_tasks(len(self._starts))} at work may go on for {self.grace:g} s")
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
            self.say(f"asking {_tasks(len(self._starts))} to stop")
            self._starts.stop()
            self._turns.stop()
        return now >= self._until + STOPPING

    def _pause(self) -> float:
        if self._missed:
            return 0.0
        now = self.world.now()
        ends = [NAP, (int(now) // 60 + 1) * 60 - now, max(1.0, self._arrears.next_look - now)]
        if self._dispatch.is_crowded or (self._until is not None and not self._starts):
            ends.append(LOOK_EVERY)
        following = self._dispatch.waiting.following(now)
        if following is not None:
            ends.append(following - now)
        if self._until is not None:
            ends.append((self._until + STOPPING if self._asked else self._until) - now)
        return max(0.0, min(ends))

    def _record_missed(self, most: int | None = None) -> None:
        for problem in self._missed.record(self.world.now(), most):
            self.warn(f"cannot record missed slots: {problem}")

    def _at_work(self) -> tuple[str, ...]:
        return tuple(sorted(self._starts.tasks))

    def _beat(self) -> None:
        running = self._told = self._at_work()
        now, until = self.world.now(), float(self._agenda.until)
        try:
            write_heartbeat(self.settings, Heartbeat(os.getpid(), now, until, running, len(self._dispatch.waiting)))
            self._is_told = False
        except OSError as error:
            if not self._is_told:
                self.warn(f"cannot write the heartbeat: {error.strerror}")
            self._is_told = True


def _tasks(number: int) -> str:
    return f"{number} task" + ("" if number == 1 else "s")
