"""Restore the state of a run from its journal."""

from __future__ import annotations

from dataclasses import dataclass, field

from scflows.history.run import SUCCESS, StepRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from scflows.execution.journal import Notes, Past
    from scflows.execution.step_runner import StepRunner
    from scflows.settings import Settings


#: How many steps that run again are listed before a run is resumed.
MAX_SENTENCES = 50


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
    journal = runner.journal
    assert journal is not None
    checkpoint = Checkpoint()
    data = runner.ctx.data
    count = 0
    is_finished = False
    notes = _notes(journal)
    has_succeeded = runner.ctx.depth == 0 and any("ended" in note for note in notes)
    for note in notes:
        if "ended" in note:
            checkpoint.ended = note["ended"], note["message"]
            continue
        is_final = note.get("final", False)
        index = len(runner.sequence) if is_final else _index_of(runner, note["at"], note["step"])
        if index is None:
            runner.ctx.log.warning(f"step {note['step']!r} was completed before, but is no longer in the flow")
            continue
        data["__errors__"].extend(note.get("errors", ()))
        if note.get("withheld") and has_succeeded:
            runner.ctx.log.warning(f"the result of step {note['step']!r} contained a secret and was not saved")
        elif note.get("withheld"):
            problem = _run_again(runner, index)
            if problem:
                checkpoint.problem = problem
                return checkpoint
        elif "key" in note:
            data[note["key"]] = note["value"]
        is_finished = is_final and note["done"]
        if killed is not None and not is_final and not note["done"]:
            _restore_undone(checkpoint, note, index)
        elif not is_final:
            checkpoint.done.add(index)
            count += 1
            following = note["next"]
            checkpoint.is_over = checkpoint.is_over or following is None
            checkpoint.following = following if following is None else _following(runner, following, note.get("to"))
    if is_finished and killed is None and _is_complete(runner, checkpoint):
        # The final step has ended after a successful flow, so nothing is left.
        checkpoint.ended = checkpoint.ended or (SUCCESS, "")
    if killed is None:
        _report(runner, checkpoint, count)
    return checkpoint


def _notes(journal: Notes) -> list[dict[str, Any]]:
    from scflows.execution.journal import Journal

    if isinstance(journal, Journal):
        journal.read_past()
        return journal.notes()
    return journal.past.notes if journal.past is not None else []


def _is_complete(runner: StepRunner, checkpoint: Checkpoint) -> bool:
    """Return True if all steps before the final step have completed."""
    if runner.flow.is_graph:
        return len(checkpoint.done) == len(runner.sequence)
    return checkpoint.following is None or checkpoint.following >= len(runner.sequence)


def _report(runner: StepRunner, checkpoint: Checkpoint, count: int) -> None:
    """Log what is not run again, and which steps may have their effect twice."""
    log, past = runner.ctx.log, runner.journal.past if runner.journal is not None else None
    if runner.ctx.depth == 0 or (count and checkpoint.ended is None):
        log.info(f"{count} steps were completed before and are not run again")
    for name in past.started.values() if past is not None and checkpoint.ended is None else ():
        log.warning(
            f"step {name!r} was running when the earlier run stopped; it is run again and may take effect twice"
        )


def steps_to_repeat(settings: Settings, run: str) -> list[str]:
    """Return a sentence for each step that has started, failed or lost its result and that resuming will run again."""
    from scflows.errors import NotFound
    from scflows.execution.journal import latest_successor, read_past

    try:
        past = read_past(settings, latest_successor(settings, run))
    except NotFound:
        return []  # Resuming will say so.
    if any("ended" in note for note in past.notes):
        return []
    sentences = list(_to_repeat(past, ""))
    surplus = len(sentences) - MAX_SENTENCES
    return sentences if surplus <= 0 else [*sentences[:MAX_SENTENCES], f"{surplus} more steps run again, see the log"]


def _to_repeat(past: Past, origin: str) -> Iterator[str]:
    for note in past.notes:
        if note.get("withheld"):
            yield f"step {note['step']!r}{origin} runs again: its result contained a secret and was not saved"
    if any("ended" in note for note in past.notes):
        return
    for name in past.started.values():
        yield f"step {name!r}{origin} runs again: it was running when the run stopped, so it may take effect twice"
    with_children = {place[0] for place in past.children}
    for at, name in past.failed.items():
        if at not in with_children:
            yield f"step {name!r}{origin} runs again: it failed"
    for (_, name, loop_index, _), child in sorted(
        past.children.items(), key=lambda item: (item[0][0], item[0][2] or 0)
    ):
        item = "" if loop_index is None else f", item {loop_index}"
        yield from _to_repeat(child, f" of {name!r}{item}{origin}")


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
    result = runner.perform_step(spec, index, runner.ctx, evaluate=False)
    _, message = runner.finish_step(spec, index, record, result)
    return f"{spec.name}: {message}" if message else ""
