"""Restore the state of a run from its journal."""

from __future__ import annotations

from dataclasses import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scflows.execution.step_runner import StepRunner
    from scflows.history.run import StepRecord


@dataclass
class Checkpoint:
    """The state of a flow according to the journal."""

    following: int | None = 0  #: index of the next step in file order
    done: set[int] = field(default_factory=set)  #: indexes of the completed steps
    failed: dict[int, str] = field(default_factory=dict)  #: of the same run: indexes of failed steps, with messages
    exit: str | None = None  #: of the same run: the message of a step that ended the flow while others were running
    is_over: bool = False  #: whether a completed step jumped to the end
    ended: tuple[str, str] | None = None  #: (status, message) of a flow that has ended successfully
    problem: str = ""  #: why the run cannot be resumed


def restore(runner: StepRunner, killed: StepRecord | None = None) -> Checkpoint:
    """Put the results of completed steps into the data and return where to continue.

    With `killed` the journal is of the same run, whose process was killed for that step. A step whose result was
    withheld because it contained a secret is run again.
    """
    assert runner.journal is not None
    checkpoint = Checkpoint()
    data = runner.ctx.data
    count = 0
    for note in runner.journal.notes():
        if "ended" in note:
            checkpoint.ended = note["ended"], note["message"]
            continue
        is_final = note.get("final", False)
        index = len(runner.sequence) if is_final else _index_of(runner, note["at"], note["step"])
        if index is None:
            runner.ctx.log.warning(f"step {note['step']!r} was completed before, but is no longer in the flow")
            continue
        data["__errors__"].extend(note.get("errors", ()))
        if note.get("withheld"):
            problem = _run_again(runner, index)
            if problem:
                checkpoint.problem = problem
                return checkpoint
        elif "key" in note:
            data[note["key"]] = note["value"]
        if killed is not None and not is_final and not note["done"]:
            _restore_undone(checkpoint, note, index)
        elif not is_final:
            checkpoint.done.add(index)
            count += 1
            following = note["next"]
            checkpoint.is_over = checkpoint.is_over or following is None
            checkpoint.following = following if following is None else _following(runner, following, note.get("to"))
    if killed is None:
        runner.ctx.log.info(f"{count} steps were completed before and are not run again")
    return checkpoint


def _restore_undone(checkpoint: Checkpoint, note: dict[str, Any], index: int) -> None:
    """Restore a step of a graph that failed or ended the flow."""
    errors = note.get("errors", ())
    if errors and errors[-1].get("step") == note["step"] and "ignored" not in errors[-1]:
        checkpoint.failed[index] = f"{note['step']}: {errors[-1]['error']['message']}"
        return
    value = note.get("value")
    message = value.get("message") if isinstance(value, dict) else None
    checkpoint.exit = message if isinstance(message, str) else f"jump to __exit__ by {note['step']}"
    checkpoint.done.add(index)


def _index_of(runner: StepRunner, at: int, name: str) -> int | None:
    """Return the current index of a step, because the flow may have changed."""
    steps = runner.sequence
    if at < len(steps) and steps[at].name == name:
        return at
    return next((index for index, step in enumerate(steps) if step.name == name), None)


def _following(runner: StepRunner, at: int, name: Any) -> int | None:
    if name is None:
        return len(runner.sequence)
    index = _index_of(runner, at, name)
    return at if index is None else index


def _run_again(runner: StepRunner, index: int) -> str:
    spec = runner.final if index == len(runner.sequence) else runner.sequence[index]
    if spec is None:
        return ""
    runner.ctx.log.info(f"step {spec.name!r} is run again: its result contained a secret and was not saved")
    record = runner.start_step(spec)
    result = runner.perform_step(spec, runner.ctx, evaluate=False)
    _, message = runner.finish_step(spec, index, record, result)
    return f"{spec.name}: {message}" if message else ""
