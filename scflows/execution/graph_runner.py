"""Walk a flow whose order is given by `needs`: steps side by side, each as soon as what it needs has ended."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

from scflows.errors import StepError
from scflows.execution.attempt import StepResult
from scflows.flows.graph import Graph
from scflows.history.run import SKIPPED
from scflows.steps import Exit
from scflows.steps.cancellation import CancelScope, Deadline, StepInterrupted
from scflows.steps.thread_pool import StepThreadPool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from scflows.execution.resume import Checkpoint
    from scflows.execution.step_runner import StepRunner
    from scflows.flows.model import StepSpec
    from scflows.history.run import StepRecord
    from scflows.steps import Context


@dataclass
class GraphEnd:
    """How a graph ended."""

    interrupted: Deadline | str | None = None
    failure: str = ""  #: what went wrong first and was not handled
    reason: str = ""  #: of an end on purpose
    is_exit: bool = False
    message: str = ""


def walk_graph(stepper: StepRunner, past: Checkpoint | None = None, lost: StepRecord | None = None) -> GraphEnd:
    """Run the steps of a graph but those that are done; none when a jump among those has ended it.

    `lost` is a step that was over its time and had its process killed: it is settled first.
    """
    walk = _Walk(stepper, past)
    if lost is not None:
        walk.lose(lost)
    return walk.walk()


class _Walk:
    def __init__(self, stepper: StepRunner, past: Checkpoint | None) -> None:
        self.stepper = stepper
        self.end = GraphEnd()
        steps = stepper.sequence
        places = {step.name: place for place, step in enumerate(steps)}
        self.graph = Graph([[places[name] for name in step.needs or () if name in places] for step in steps])
        self.ready = self.graph.first()
        self.running: dict[int, StepRecord] = {}
        self._jumped = False
        if past is None:
            return
        for place in sorted(past.done):
            self.ready += self.graph.ended(place)
        never = set(past.done)
        for place, message in past.failed.items():
            never.update((place, *self.graph.failed(place)))
            self.end.failure = self.end.failure or message
        self.ready = [place for place in dict.fromkeys(self.ready) if place not in never]
        self._jumped = past.is_over or past.exit is not None
        if past.exit is not None:
            self.end.is_exit, self.end.message = True, past.exit

    def lose(self, record: StepRecord) -> None:
        """Settle a step that was lost as the error it is."""
        place = next(each for each, step in enumerate(self.stepper.sequence) if step.name == record.name)
        self.ready = [each for each in self.ready if each != place]
        self.running[place] = record
        self._take(place, StepResult(error=StepError(record.message)))

    def walk(self) -> GraphEnd:
        stepper = self.stepper
        most = stepper.flow.max_parallel or stepper.ctx.settings.max_workers
        try:
            with StepThreadPool(stepper.line, most) as crew:
                while True:
                    self._begin(crew, most)
                    if not self.running:
                        return self.end
                    for place, ended in crew.ended():
                        self._take(place, ended)
        except StepInterrupted as stop:
            self._cut_short(crew.rest(), stop.cause or stepper.line.due() or "")
        return self.end

    def _begin(self, crew: StepThreadPool, most: int) -> None:
        """Start what can start; after a jump or an interruption nothing does."""
        if self._jumped or self.end.interrupted is not None:
            self.ready.clear()
        while self.ready and len(self.running) < most:
            place = self.ready.pop(0)
            spec = self.stepper.sequence[place]
            self.running[place] = self.stepper.started(spec)
            # A copy: what other steps store while this one runs must not change it under its hands.
            data = self.stepper.ctx.data
            seen = {**data, "__errors__": list(data["__errors__"])}
            crew.hand_in(place, partial(self._perform, spec, seen))

    def _perform(self, spec: StepSpec, seen: dict[str, Any], line: CancelScope) -> StepResult:
        ctx: Context = self.stepper.ctx.branch(seen, line)
        return self.stepper.performed(spec, ctx)

    def _take(self, place: int, ended: StepResult | BaseException) -> None:
        stepper, spec = self.stepper, self.stepper.sequence[place]
        if isinstance(ended, BaseException):
            ended = StepResult(error=StepError(f"{type(ended).__name__}: {ended}"))
        jump, message = stepper.settled(spec, place, self.running.pop(place), ended)
        if ended.interrupted is not None:
            self.end.interrupted = self.end.interrupted or ended.interrupted
            self.end.message = self.end.message or message
        elif message:
            self.end.failure = self.end.failure or f"{spec.name}: {message}"
            self._lose(self.graph.failed(place), spec.name)
        else:
            self.ready = sorted([*self.ready, *self.graph.ended(place)])
            if jump is not None:
                self._jump(jump, spec.name)

    def _jump(self, jump: Exit | str, name: str) -> None:
        """The first jump ends the graph once what goes on has ended."""
        if self._jumped:
            return
        self._jumped = True
        if isinstance(jump, Exit) or jump == "__exit__":
            self.end.is_exit = True
            self.end.message = jump.message if isinstance(jump, Exit) else f"jump to __exit__ by {name}"
            self.end.reason = jump.reason if isinstance(jump, Exit) else ""

    def _lose(self, places: Iterable[int], name: str) -> None:
        """Record the steps that are skipped, since one that they need has failed."""
        for place in places:
            spec = self.stepper.sequence[place]
            record = self.stepper.started(spec)
            record.status, record.message = SKIPPED, f"skipped, since {name!r} failed"
            record.ended = time.time()
            if self.stepper.listener is not None:
                self.stepper.listener.step_ended(record)

    def _cut_short(self, ended: list[tuple[int, Any]], cause: Deadline | str) -> None:
        """Settle what was running when the flow was interrupted, also what did not come back in time."""
        for place, each in ended:
            if place in self.running:
                self._take(place, each)
        for place in list(self.running):
            error = StepError("interrupted, and left behind since it did not end")
            self._take(place, StepResult(error=error, interrupted=cause or self.end.interrupted or "cancelled"))
