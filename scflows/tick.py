"""Start what is due: in the foreground, where no cron daemon is; or once, for the crontab's one line for all tasks."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from functools import partial

from scflows.agenda import MADE_UP, Agenda, Slot
from scflows.catch_up import start_arguments
from scflows.cron.index import index_path
from scflows.cron.task import task_settings
from scflows.entrance import CANCEL
from scflows.errors import Refused, ScflowsError
from scflows.heartbeat import Heartbeat, beat, last_beat, only_scheduler, tick_lock
from scflows.history import open_store
from scflows.history.recorder import FAULTS
from scflows.kept_agenda import KeptAgenda
from scflows.lock import is_alive
from scflows.logfile import TaskLog, scheduler_log, timestamp
from scflows.missed import BEHIND, LATE, STOPPED, SUPPLANTED, Missed
from scflows.place import nobody_waits, take_place
from scflows.processes import Processes
from scflows.settings import Settings
from scflows.unanswered import Settled, settle
from scflows.waiting import Waiting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Protocol

    from scflows.cron.task import Task
    from scflows.place import Place

    class World(Protocol):
        """The clock, the signals and the processes; see `Processes`."""

        def now(self) -> float: ...
        def wait(self, seconds: float) -> None: ...
        def signals(self) -> list[int]: ...
        def start(self, arguments: list[str], place: Place | None = None) -> int: ...
        def ended(self) -> list[tuple[int, int]]: ...
        def stop(self, pid: int) -> None: ...


#: Seconds that tasks which run are given before they are asked to stop, and then to do so.
GRACE = 60.0
STOPPING = 15.0
#: The longest wait, in seconds: a machine that slept must not take until the next minute to notice.
NAP = 10.0
#: The same while a slot that is due waits for a place that other processes of ours have.
LOOK_EVERY = 0.25
#: How many missed slots are recorded before the clock is looked at again.
RECORDED_AT_ONCE = 50
#: Seconds after a full minute at which all slots are looked through for those that nobody answered.
LOOK = 20
#: A look that is further ahead than this was planned on another clock.
LONGEST_LOOK = 120
SIGHUP = 1


@dataclass(frozen=True)
class Started:
    """A process of ours and the slot it answers for."""

    slot: Slot
    at: float  #: seconds since the epoch
    is_light: bool = False  #: it takes no place: most of the time it waits for the second of its next slot


def serve(settings: Settings, tell: Callable[[str], None], places: int | None = None, grace: float = GRACE) -> None:
    """Start the tasks of the tabfile at their slots until a signal says to stop. Raises Busy and Refused."""
    lock = only_scheduler(settings)
    try:
        with Processes() as world:
            Scheduler(settings, world, tell, places, grace).run()
    finally:
        lock.release()


def tick(settings: Settings, tell: Callable[[str], None], places: int | None = None) -> None:
    """Start what is due, wait for it, and start what becomes due meanwhile; told is only what goes wrong.

    Does nothing where a scheduler, or a tick from before, is at work: that one starts what is due. Raises Refused.
    """
    with Processes() as world:
        looked = -1
        while int(world.now()) // 60 != looked:
            lock = tick_lock(settings)
            if lock is None:
                return
            try:
                with KeptAgenda(settings, world.now()) as agenda:
                    once = Scheduler(settings, world, _nobody, places, GRACE, tell, agenda)
                    once.run()
            finally:
                lock.release()
            # A tick that came in the moment of our end has left its minute to us.
            if once.is_stopping:
                return
            looked = once.minute


def tick_here(state: str = "") -> None:
    """A tick as cron starts it: with next to no environment, its warnings in the scheduler's log.

    `state` is the state folder, where it is not the default one. Raises Refused.
    """
    given = dict(os.environ)
    if state:
        given["XDG_STATE_HOME"] = os.path.dirname(state)
    settings = Settings("/", given)
    try:
        tick(settings, lambda text: _note(settings, text))
    except sqlite3.Error as error:
        path = index_path(settings)
        raise Refused(f"{path}: cannot be used: {error}", f"see who owns it, or remove it: rm {path}") from error


def _note(settings: Settings, text: str) -> None:
    log = TaskLog(scheduler_log(settings.tasks_path))
    log.warning(text)
    log.close()


class Scheduler:
    """Looks at the clock every minute, starts what is due, and waits for it when told to stop."""

    def __init__(
        self,
        settings: Settings,
        world: World,
        tell: Callable[[str], None],
        places: int | None,
        grace: float = GRACE,
        warn: Callable[[str], None] | None = None,
        agenda: KeptAgenda | None = None,
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
        self._agenda = agenda or Agenda(settings, self._after())
        self._waiting = Waiting()
        self._running: dict[int, Started] = {}
        self._missed = Missed()
        self._owed: list[Slot] = []  #: slots that are made up when nothing else wants the place
        self._look = self._began  #: when to look for slots that nobody answered
        self._limits: dict[tuple[str, ...], tuple[int, float]] = {}  #: see `_limits_of`; read anew each minute
        self._told: tuple[str, ...] = ()  #: the tasks at work, as the heartbeat has them
        self._until: float | None = None  #: when the running tasks are asked to stop, once we are to stop
        self._asked = False
        self._is_crowded = False  #: whether a slot is due for which there is no place
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
            self._reap()
            if int(self.world.now()) // 60 != self.minute:
                self._tick()
            self._fill()
            self._see_to_turns()
            if self._at_work() != self._told:
                self._beat()
            self._record_missed(RECORDED_AT_ONCE)
            self._settle()
        self._record_missed()
        self._beat()
        left = f", {_tasks(len(self._running))} still at work" if self._running else ""
        self.say(f"scheduler {os.getpid()} ended{left}")

    @property
    def is_stopping(self) -> bool:
        """Whether a signal said to stop."""
        return self._until is not None

    def say(self, text: str) -> None:
        self._tell(f"{timestamp(self.world.now())} {text}")

    def warn(self, text: str) -> None:
        self._warn(f"{timestamp(self.world.now())} {text}")

    def _goes_on(self) -> bool:
        if self._until is not None:
            return bool(self._running or self._server()) and not self._is_over()
        return not self._ends_idle or bool(self._running or self._waiting)

    def _after(self) -> float:
        """From where on slots are ours: a scheduler that was away for minutes only makes up for them."""
        before = last_beat(self.settings)
        if before is not None and 0 <= self._began - before.until <= MADE_UP:
            return before.until
        return self._began

    def _tick(self) -> None:
        now = self.world.now()
        before, self.minute = self.minute, int(now) // 60
        if self.minute < before:
            self.warn(f"the clock was set back by {before - self.minute} min; no slot is started again")
        self._limits.clear()
        if self._until is None:
            self._load()
            due, missed = self._agenda.take(now)
            for slot in due:
                self._waiting.add(slot, self._agenda.tasks[slot.name], now)
            if missed:
                self._look = now
            self._fill()
        self._beat()

    def _load(self, always: bool = False) -> None:
        loaded = self._agenda.reload(always)
        if loaded is not None:
            self.say(f"{_tasks(loaded.tasks)} in {self.settings.tabfile}")
            for problem in loaded.problems:
                self.warn(f"cannot schedule {problem}")

    def _fill(self) -> None:
        """Start what waits as long as there are places."""
        self._is_crowded = False
        expired = self._waiting.expired(self.world.now(), lambda name: self._limits_of(name)[1])
        self._missed.add(expired, self._agenda.tasks, LATE)
        self._give_way()
        full = 0  # so many places are taken: a task that has more of them may start all the same
        while self._until is None:
            has_place = not self.places or sum(not each.is_light for each in self._running.values()) < self.places
            if not has_place and self.places:
                full = self.places
            busy = [started.slot.name for started in self._running.values()]
            may = partial(self._may_start, full=full, busy=frozenset(busy)) if full else None
            slot = self._waiting.first(busy, self.world.now(), may)
            if slot is None:
                if not full:
                    self._make_up(busy)
                return
            task = self._agenda.tasks.get(slot.name)
            # A task that is gone was removed or paused while it waited.
            if task is not None:
                has_room, place = self._place(slot, task, self._waiting.since(slot), full)
                if not has_room and slot.name not in busy:
                    self._is_crowded = True
                    full = max(full, self._limits_of(slot.name)[0])
                    continue
                try:
                    if not self._start(slot, task, place):
                        return
                finally:
                    # The child has it, and nobody else.
                    if place is not None:
                        place.release()
            self._waiting.remove(slot)

    def _may_start(self, name: str, full: int, busy: Collection[str]) -> bool:
        """Whether a task needs no place of those that are taken. Of one that runs, the start goes by its `overlap`."""
        return self._is_light(name) or name in busy or self._limits_of(name)[0] > full

    def _give_way(self) -> None:
        """Of slots of one task that wait, all but one are answered, by its `overlap`, as they are under cron."""
        for slot, earlier in self._waiting.overlapping(self.world.now()):
            task = self._agenda.tasks.get(slot.name)
            if task is None or task.command or task.schedule.is_fine or slot not in self._waiting:
                continue
            is_supplanted = task.overlap == CANCEL
            ended = [each for each in earlier if each in self._waiting] if is_supplanted else [slot]
            for each in ended:
                self._waiting.remove(each)
            self._missed.add(ended, self._agenda.tasks, SUPPLANTED if is_supplanted else BEHIND)

    def _is_light(self, name: str) -> bool:
        task = self._agenda.tasks.get(name)
        return task is not None and task.schedule.is_fine

    def _limits_of(self, name: str) -> tuple[int, float]:
        """How many places there are for a task, and how many seconds it may wait for one: as its settings say."""
        task = self._agenda.tasks.get(name)
        mine = self.places or self.settings.max_runs, self.settings.max_wait_seconds
        if task is None:
            return mine
        named = (task.settings.get("MAX_RUNS", ""), task.settings.get("MAX_WAIT_SECONDS", ""))
        key = (task.workspace, *named)
        if key not in self._limits:
            try:
                own = task_settings(task)
                self._limits[key] = self.places or own.max_runs, own.max_wait_seconds
            except ScflowsError:
                self._limits[key] = mine  # Its run is refused, and says why.
        return self._limits[key]

    def _make_up(self, busy: list[str]) -> None:
        """Start the oldest slot that is owed to a task that neither runs nor waits for its turn."""
        if self._owed and not nobody_waits(self.settings.state_path):
            # A run that waits has no process here: it would have the next slot of its task skipped.
            from scflows.backlog import alive

            busy = [*busy, *(ticket.task for ticket in alive(self.settings.state_path))]
        slot = next((slot for slot in self._owed if slot.name not in busy), None)
        if slot is None:
            return
        task = self._agenda.tasks.get(slot.name)
        if task is None:
            self._owed.remove(slot)
            return
        has_room, place = self._place(slot, task, self.world.now())
        arguments = start_arguments(task, slot.due, self.settings.state_path)
        if has_room and self._start(slot, task, place, arguments):
            self._owed.remove(slot)
        if place is not None:
            place.release()

    def _settle(self) -> None:
        """Record the slots that nobody answered; take those to be made up."""
        now = self.world.now()
        # A tick leaves it to whoever ends a run: it has better to do, and its agenda has few tasks.
        if self._ends_idle or self._until is not None or self._missed or self._look - LONGEST_LOOK < now < self._look:
            return
        self._look = (now // 60 + 1) * 60 + LOOK
        at_hand = [*self._waiting.slots(), *(started.slot for started in self._running.values()), *self._owed]
        pending = {
            (slot.name, float(due))
            for slot in at_hand
            for due in (
                self._agenda.tasks[slot.name].schedule.within(slot.due) if self._is_light(slot.name) else [slot.due]
            )
        }
        try:
            store = open_store(self.settings)
            try:
                found = settle(store, self.settings, now, pending, is_scheduler=True)
            finally:
                store.close()
        except FAULTS as error:
            found = Settled(problems=[str(error)])
        for problem in found.problems:
            self.say(f"cannot look for missed slots: {problem}")
        if found.missed:
            self.say(f"slots missed: {len(found.missed)} recorded")
        if found.owed:
            self.say(f"slots to make up: {len(found.owed)}, the first {timestamp(found.owed[0].slot)}")
            self._owed = sorted({*self._owed, *(Slot(int(each.slot), each.task) for each in found.owed)})

    def _place(self, slot: Slot, task: Task, since: float, full: int = 0) -> tuple[bool, Place | None]:
        """Whether there is room for a slot, and the place that it takes, if it takes one.

        It waits `since`; the first `full` places are for slots before it.
        """
        if task.command or task.schedule.is_fine:
            return True, None
        state, most = self.settings.state_path, self._limits_of(task.name)[0]
        try:
            if not nobody_waits(state):
                from scflows.backlog import Ticket, kept_for

                before = Ticket(-task.priority, float(slot.due + task.schedule.second), slot.name, "")
                full = max(full, kept_for(state, self.world.now(), before, most))
            place = take_place(state, most, full)
            if place is not None:
                place.waited = max(0.0, self.world.now() - since)
        except OSError:
            return True, None  # Its run says that it runs beside whatever else runs.
        return place is not None, place

    def _see_to_turns(self) -> None:
        """Have somebody hand out turns, if runs wait and whoever did so died."""
        state = self.settings.state_path
        if self._until is not None or nobody_waits(state):
            return
        from scflows.backlog import HAND_OUT, is_left_alone

        if is_left_alone(state):
            try:
                self.world.start([*HAND_OUT, "--state", state])
            except OSError as error:
                self.say(f"cannot start what waits: {error.strerror}; trying again")

    def _server(self) -> int:
        """The process that hands out turns to those that waited; 0 where none is."""
        try:
            with open(os.path.join(self.settings.state_path, "turn.lock"), encoding="ascii") as file:
                process = file.read().splitlines()[1]
            return int(process.split(":")[2]) if is_alive(process) else 0
        except (OSError, ValueError, IndexError):
            return 0

    def _stop_server(self) -> None:
        pid = self._server()
        if pid:
            self.world.stop(pid)

    def _start(self, slot: Slot, task: Task, place: Place | None, arguments: list[str] | None = None) -> bool:
        flow = [task.flow] if task.flow else []
        usual = ["run", *flow, "--task", slot.name, "--state", self.settings.state_path, "--slot", str(slot.due)]
        try:
            pid = self.world.start(arguments or usual, place)
        except OSError as error:
            self.warn(f"cannot start {slot.name}: {error.strerror}; trying again")
            return False
        self._running[pid] = Started(slot, self.world.now(), task.schedule.is_fine and arguments is None)
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
            # It starts nothing more, and ends when what it has started has ended.
            self._stop_server()
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
            self._stop_server()
        return now >= self._until + STOPPING

    def _pause(self) -> float:
        if self._missed:
            return 0.0
        now = self.world.now()
        ends = [NAP, (int(now) // 60 + 1) * 60 - now, max(1.0, self._look - now)]
        if self._is_crowded or (self._until is not None and not self._running):
            ends.append(LOOK_EVERY)
        following = self._waiting.following(now)
        if following is not None:
            ends.append(following - now)
        if self._until is not None:
            ends.append((self._until + STOPPING if self._asked else self._until) - now)
        return max(0.0, min(ends))

    def _record_missed(self, most: int | None = None) -> None:
        for problem in self._missed.record(self.world.now(), most):
            self.warn(f"cannot record missed slots: {problem}")

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
                self.warn(f"cannot write the heartbeat: {error.strerror}")
            self._is_told = True


def _nobody(text: str) -> None:
    pass


def _tasks(number: int) -> str:
    return f"{number} task" + ("" if number == 1 else "s")


def _named(slot: Slot) -> str:
    return f"{slot.name} (slot {timestamp(slot.due)})"
