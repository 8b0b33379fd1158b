"""Go on where the notes of an earlier run end."""

from __future__ import annotations

from dataclasses import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scflows.execution.step_runner import StepRunner
    from scflows.history.run import StepRecord


@dataclass
class Checkpoint:
    """What an earlier run has done."""

    following: int | None = 0  #: where the order of the file goes on
    done: set[int] = field(default_factory=set)  #: the places of the steps that are done
    failed: dict[int, str] = field(
        default_factory=dict
    )  #: of this run itself: the places of those that failed, and why
    exit: str | None = None  #: of this run itself: the message of a step that ended it early, while others went on
    is_over: bool = False  #: whether a step that is done jumped to the end
    ended: tuple[str, str] | None = None  #: (status, message) of a flow that ended well
    problem: str = ""  #: why it cannot be gone on from


def restore(stepper: StepRunner, lost: StepRecord | None = None) -> Checkpoint:
    """Put the results of the steps that are done into the data, and tell where to go on.

    `lost` says that the notes are of this very run, whose first process was killed for that step.
    A step whose result was withheld, since it held a secret, is run again in its place.
    """
    assert stepper.journal is not None
    past = Checkpoint()
    data = stepper.ctx.data
    kept = 0
    for note in stepper.journal.past():
        if "ended" in note:
            past.ended = note["ended"], note["message"]
            continue
        is_final = note.get("final", False)
        place = len(stepper.sequence) if is_final else _place(stepper, note["at"], note["step"])
        if place is None:
            stepper.ctx.log.warning(f"step {note['step']!r} was done before, and is not in the flow any more")
            continue
        data["__errors__"].extend(note.get("errors", ()))
        if note.get("withheld"):
            problem = _again(stepper, place)
            if problem:
                past.problem = problem
                return past
        elif "key" in note:
            data[note["key"]] = note["value"]
        if lost is not None and not is_final and not note["done"]:
            _undone(past, note, place)
        elif not is_final:
            past.done.add(place)
            kept += 1
            following = note["next"]
            past.is_over = past.is_over or following is None
            past.following = following if following is None else _following(stepper, following, note.get("to"))
    if lost is None:
        stepper.ctx.log.info(f"{kept} steps were done before, and are not run again")
    return past


def _undone(past: Checkpoint, note: dict[str, Any], place: int) -> None:
    """A step of a graph after which nothing more starts, or nothing of what needs it."""
    errors = note.get("errors", ())
    if errors and errors[-1].get("step") == note["step"] and "ignored" not in errors[-1]:
        past.failed[place] = f"{note['step']}: {errors[-1]['error']['message']}"
        return
    value = note.get("value")
    told = value.get("message") if isinstance(value, dict) else None
    past.exit = told if isinstance(told, str) else f"jump to __exit__ by {note['step']}"
    past.done.add(place)


def _place(stepper: StepRunner, at: int, name: str) -> int | None:
    """Where a step stands now; the flow may have been changed since."""
    steps = stepper.sequence
    if at < len(steps) and steps[at].name == name:
        return at
    return next((place for place, step in enumerate(steps) if step.name == name), None)


def _following(stepper: StepRunner, at: int, name: Any) -> int | None:
    if name is None:
        return len(stepper.sequence)
    place = _place(stepper, at, name)
    return at if place is None else place


def _again(stepper: StepRunner, place: int) -> str:
    spec = stepper.final if place == len(stepper.sequence) else stepper.sequence[place]
    if spec is None:
        return ""
    stepper.ctx.log.info(f"step {spec.name!r} is run again: its result held a secret, and was not kept")
    record = stepper.started(spec)
    ended = stepper.performed(spec, stepper.ctx, evaluate=False)
    _, message = stepper.settled(spec, place, record, ended)
    return f"{spec.name}: {message}" if message else ""
