"""Run a flow whose order is given by `needs`: steps in parallel, each as soon as the steps it needs have completed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

from scflows.errors import StepError
from scflows.execution.attempt import StepResult
from scflows.flows.graph import Graph
from scflows.history.run import SKIPPED, StepRecord
from scflows.steps import Context, Exit
from scflows.steps.cancellation import CancelScope, Deadline, StepInterrupted
from scflows.steps.thread_pool import StepThreadPool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from scflows.execution.resume import Checkpoint
    from scflows.execution.step_runner import StepRunner


@dataclass
class GraphEnd:
    """The result of a graph."""

    interrupted: Deadline | str | None = None
    failure: str = ""  #: the first error that was not handled
    reason: str = ""  #: of an exit
    is_exit: bool = False
    message: str = ""


def walk_graph(runner: StepRunner, checkpoint: Checkpoint | None = None, killed: StepRecord | None = None) -> GraphEnd:
    """Run the remaining steps of a graph; none if one of the completed steps has ended it with a jump.

    `killed` is a step that exceeded its limit and whose process was killed; it is recorded first.
    """
    walk = _Walk(runner, checkpoint)
    if killed is not None:
        walk.record_killed(killed)
    return walk.walk()


class _Walk:
    def __init__(self, runner: StepRunner, checkpoint: Checkpoint | None) -> None:
        self.runner = runner
        self.end = GraphEnd()
        steps = runner.sequence
        indexes = {step.name: index for index, step in enumerate(steps)}
        self.graph = Graph([[indexes[name] for name in step.needs or () if name in indexes] for step in steps])
        self.ready = self.graph.first()
        self.running: dict[int, StepRecord] = {}
        self._jumped = False
        if checkpoint is None:
            return
        for index in sorted(checkpoint.done):
            self.ready += self.graph.ended(index)
        excluded = set(checkpoint.done)
        for index, message in checkpoint.failed.items():
            excluded.update((index, *self.graph.failed(index)))
            self.end.failure = self.end.failure or message
        self.ready = [index for index in dict.fromkeys(self.ready) if index not in excluded]
        self._jumped = checkpoint.is_over or checkpoint.exit is not None
        if checkpoint.exit is not None:
            self.end.is_exit, self.end.message = True, checkpoint.exit

    def record_killed(self, record: StepRecord) -> None:
        """Record a killed step as failed."""
        index = next(each for each, step in enumerate(self.runner.sequence) if step.name == record.name)
        self.ready = [each for each in self.ready if each != index]
        self.running[index] = record
        self._finish(index, StepResult(error=StepError(record.message)))

    def walk(self) -> GraphEnd:
        runner = self.runner
        max_threads = runner.flow.max_parallel or runner.ctx.settings.max_workers
        try:
            with StepThreadPool(runner.scope, max_threads) as pool:
                while True:
                    self._start_ready(pool, max_threads)
                    if not self.running:
                        return self.end
                    for index, result in pool.completed():
                        self._finish(index, result)
        except StepInterrupted as stop:
            self._finish_interrupted(pool.remaining(), stop.cause or runner.scope.pending_cause() or "")
        return self.end

    def _start_ready(self, pool: StepThreadPool, max_threads: int) -> None:
        """Start the steps that are ready; none after a jump or an interruption."""
        if self._jumped or self.end.interrupted is not None:
            self.ready.clear()
        while self.ready and len(self.running) < max_threads:
            index = self.ready.pop(0)
            spec = self.runner.sequence[index]
            self.running[index] = self.runner.start_step(spec)
            # A copy, so that results stored by other steps do not change the data while this step runs.
            data = self.runner.ctx.data
            snapshot = {**data, "__errors__": list(data["__errors__"])}
            pool.submit(index, partial(self._run_step, index, snapshot))

    def _run_step(self, index: int, snapshot: dict[str, Any], scope: CancelScope) -> StepResult:
        ctx: Context = self.runner.ctx.branch(snapshot, scope)
        return self.runner.perform_step(self.runner.sequence[index], index, ctx)

    def _finish(self, index: int, result: StepResult | BaseException) -> None:
        runner, spec = self.runner, self.runner.sequence[index]
        if isinstance(result, BaseException):
            result = StepResult(error=StepError(f"{type(result).__name__}: {result}"))
        jump, message = runner.finish_step(spec, index, self.running.pop(index), result)
        if result.interrupted is not None:
            self.end.interrupted = self.end.interrupted or result.interrupted
            self.end.message = self.end.message or message
        elif message:
            self.end.failure = self.end.failure or f"{spec.name}: {message}"
            self._skip(self.graph.failed(index), spec.name)
        else:
            self.ready = sorted([*self.ready, *self.graph.ended(index)])
            if jump is not None:
                self._jump(jump, spec.name)

    def _jump(self, jump: Exit | str, name: str) -> None:
        """End the graph after its running steps; only the first jump counts."""
        if self._jumped:
            return
        self._jumped = True
        if isinstance(jump, Exit) or jump == "__exit__":
            self.end.is_exit = True
            self.end.message = jump.message if isinstance(jump, Exit) else f"jump to __exit__ by {name}"
            self.end.reason = jump.reason if isinstance(jump, Exit) else ""

    def _skip(self, indexes: Iterable[int], name: str) -> None:
        """Record the steps that are skipped because one that they need has failed."""
        for index in indexes:
            spec = self.runner.sequence[index]
            record = self.runner.start_step(spec)
            record.status, record.message = SKIPPED, f"skipped: {name!r} failed"
            record.ended = time.time()
            if self.runner.listener is not None:
                self.runner.listener.step_ended(record)

    def _finish_interrupted(self, results: list[tuple[int, Any]], cause: Deadline | str) -> None:
        """Record the steps that were running when the flow was interrupted, even if they have not ended."""
        for index, each in results:
            if index in self.running:
                self._finish(index, each)
        for index in list(self.running):
            error = StepError("interrupted, and abandoned because it did not end")
            self._finish(index, StepResult(error=error, interrupted=cause or self.end.interrupted or "cancelled"))
