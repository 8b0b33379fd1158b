"""The loop of `flows cron run`: it looks at the clock every minute, enqueues what is due, until a signal says to stop.

The queue worker, a process of its own, starts what is enqueued.
"""

from __future__ import annotations

import os
import signal

from scflows.cron.schedule.schedule import STARTABLE
from scflows.cron.scheduler_lock import Heartbeat, last_heartbeat, write_heartbeat
from scflows.history.store import FAULTS, open_store
from scflows.history.task_log import timestamp
from scflows.locks import is_alive
from scflows.queue.permits import is_queue_empty
from scflows.queue.worker_process import WORKER_COMMAND, needs_worker, worker_lock
from scflows.scheduler.due_slots import DueSlots, Slot
from scflows.scheduler.missed.detection import MissedSlots, record_missed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scflows.scheduler.process_host import Host
    from scflows.settings import Settings

#: After a request to stop, seconds until runs get SIGTERM, and seconds that they then have.
GRACE = 60.0
STOPPING = 15.0
#: The longest wait, in seconds: a machine that slept must not take until the next minute to notice.
NAP = 10.0
#: The same while the worker ends.
LOOK_EVERY = 0.25
#: Seconds after a full minute at which missed slots are looked for.
LOOK = 20
#: A look that is further ahead than this was planned on another clock.
LONGEST_LOOK = 120


class Scheduler:
    """The loop: enqueues what is due each minute; after a request to stop, waits for the runs."""

    def __init__(
        self,
        settings: Settings,
        host: Host,
        report: Callable[[str], None],
        most: int | None,
        grace: float = GRACE,
        warn: Callable[[str], None] | None = None,
        due_slots: DueSlots | None = None,
    ) -> None:
        """Without `most`, each task has as many permits as its own settings say. `warn` gets problems."""
        self.settings = settings
        self.host = host
        self.most = most
        self.grace = grace
        self._report = report
        self._warn = warn or report
        self._began = host.now()
        self.minute = int(self._began) // 60  #: the last one that was looked at
        self._due_slots = due_slots or DueSlots(settings, self._after())
        self._next_look = self._began  #: when to look for missed slots
        self._until: float | None = None  #: when the runs will be asked to stop; None until a signal says to stop
        self._is_asked = False
        self._is_mute = False

    def run(self) -> None:
        """Enqueue until a signal says to stop, then wait until the runs have ended."""
        self.say(f"scheduler {os.getpid()} started, MAX_RUNS {self.most or self.settings.max_runs}")
        self._load(always=True)
        self._start_boot_tasks()
        self._tick()
        self.ensure_worker()
        while not (self.is_stopping and (not self._worker() or self._is_over())):
            self.host.wait(self._pause())
            for number in self.host.signals():
                self._hear(number)
            self.host.ended()
            if int(self.host.now()) // 60 != self.minute:
                self._tick()
            if not self.is_stopping:
                self.ensure_worker()
                self._look_back()
        self._beat()
        self.say(f"scheduler {os.getpid()} ended{', some runs are still running' if self._worker() else ''}")

    def tick(self) -> None:
        """Look at the clock once, and enqueue what is due."""
        self._load()
        self._tick()

    @property
    def is_stopping(self) -> bool:
        """Whether a signal said to stop."""
        return self._until is not None

    @property
    def is_mute(self) -> bool:
        """Whether no other scheduler can read which slots were enqueued: the heartbeat cannot be written."""
        return self._is_mute

    def say(self, text: str) -> None:
        self._report(f"{timestamp(self.host.now(), self.settings.timezone)} {text}")

    def warn(self, text: str) -> None:
        self._warn(f"{timestamp(self.host.now(), self.settings.timezone)} {text}")

    def _after(self) -> float:
        """From where on slots are ours: a scheduler that was away for minutes only enqueues those, too."""
        before = last_heartbeat(self.settings)
        if before is not None and 0 <= self._began - before.until <= STARTABLE:
            return before.until
        return self._began

    def _tick(self) -> None:
        now = self.host.now()
        before, self.minute = self.minute, int(now) // 60
        if self.minute < before:
            self.warn(f"the clock was set back by {before - self.minute} min; no slot is started again")
        if self._until is None:
            if self.minute != before:
                self._load()
            due, missed = self._due_slots.take(now)
            if due:
                self._enqueue(due, now)
            self._due_slots.keep()
            if missed:
                self._next_look = now
        self._beat()

    def _enqueue(self, due: list[Slot], now: float) -> None:
        from scflows.scheduler.slot_queue import SlotQueue

        with SlotQueue(self.settings, self.most) as queue:
            failed = queue.add_due(due, self._due_slots.tasks, now)
        for slot in failed:
            self._start_directly(slot)

    def _start_directly(self, slot: Slot) -> None:
        """Start a slot in a process of its own, as a crontab line does: the queue cannot be written."""
        task = self._due_slots.tasks[slot.name]
        flow = [task.flow] if task.flow else []
        arguments = ["run", *flow, "--task", slot.name, "--state", self.settings.state_path, "--slot", str(slot.due)]
        try:
            self.host.start(arguments)
        except OSError as error:
            self.warn(f"cannot start {slot.name}: {error.strerror}")

    def _start_boot_tasks(self) -> None:
        from scflows.scheduler.boot_tasks import start_boot_tasks

        count = start_boot_tasks(self.settings, self.host, self.warn, self.most)
        if count:
            self.say(f"{_tasks(count)} started for this boot")

    def _load(self, always: bool = False) -> None:
        loaded = self._due_slots.reload(always)
        if loaded is not None:
            self.say(f"{_tasks(loaded.tasks)} in {self.settings.tabfile}")
            for problem in loaded.problems:
                self.warn(f"cannot schedule {problem}")

    def _look_back(self) -> None:
        """Look for missed slots, once a minute; enqueue those that are caught up."""
        now = self.host.now()
        if self._next_look - LONGEST_LOOK < now < self._next_look:
            return
        self._next_look = (now // 60 + 1) * 60 + LOOK
        try:
            store = open_store(self.settings)
            try:
                found = record_missed(store, self.settings, now, is_scheduler=True)
            finally:
                store.close()
        except FAULTS as error:
            found = MissedSlots(problems=[str(error)])
        for problem in found.problems:
            self.say(f"cannot look for missed slots: {problem}")
        if found.missed:
            self.say(f"slots missed: {len(found.missed)} recorded")
        if found.to_catch_up:
            from scflows.scheduler.slot_queue import enqueue_catch_up

            first = timestamp(found.to_catch_up[0].slot, self.settings.timezone)
            self.say(f"slots to catch up: {len(found.to_catch_up)}, the first {first}")
            enqueue_catch_up(self.settings, found.to_catch_up, self._due_slots.tasks.values(), now)
            self.ensure_worker()

    def ensure_worker(self) -> None:
        """Start a queue worker, if runs wait and there is none."""
        if is_queue_empty(self.settings.state_path) or not needs_worker(self.settings.state_path):
            return
        try:
            self.host.start([*WORKER_COMMAND, "--state", self.settings.state_path, "--say"])
        except OSError as error:
            self.say(f"cannot start the queue worker: {error.strerror}; trying again")

    def _worker(self) -> int:
        """Return the process of the queue worker; 0 where there is none."""
        found = worker_lock(self.settings.state_path).holder()
        return found.pid if found is not None and is_alive(found.process) else 0

    def _stop_worker(self, number: int) -> None:
        """Have the worker start nothing more; on SIGINT it also stops what it started."""
        pid = self._worker()
        if pid:
            self.host.stop(pid, number)

    def _hear(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._load(always=True)
        elif self._until is None:
            self._until = self.host.now() + self.grace
            self._stop_worker(signal.SIGTERM)
            self.say(f"stopping; runs have {self.grace:g} s to end, queued runs stay in the queue")
        else:
            self._until = min(self._until, self.host.now())

    def _is_over(self) -> bool:
        """Return whether the runs get no more time; ask them to stop when it is time."""
        assert self._until is not None
        now = self.host.now()
        if now < self._until:
            return False
        if not self._is_asked:
            self._is_asked = True
            self.say("asking the runs to stop")
            # Another signal than before: of two that are the same, the kernel may deliver one.
            self._stop_worker(signal.SIGINT)
        return now >= self._until + STOPPING

    def _pause(self) -> float:
        now = self.host.now()
        ends = [NAP, (int(now) // 60 + 1) * 60 - now, max(1.0, self._next_look - now)]
        if self._until is not None:
            ends += [LOOK_EVERY, (self._until + STOPPING if self._is_asked else self._until) - now]
        return max(0.0, min(ends))

    def _beat(self) -> None:
        try:
            write_heartbeat(self.settings, Heartbeat(os.getpid(), self.host.now(), float(self._due_slots.until)))
            self._is_mute = False
        except OSError as error:
            if not self._is_mute:
                self.warn(f"cannot write the heartbeat: {error.strerror}")
            self._is_mute = True


def _tasks(number: int) -> str:
    return f"{number} task" + ("" if number == 1 else "s")
