"""What a change does to a task, in words: from what to what."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.cron.task import Task

#: The fields that are shown with both values, in this order.
FIELDS = (
    *("flow", "command", "workspace", "source", "timeout", "catch_up", "overlap", "start_within", "end_within"),
    *("priority", "mutex", "max_active_runs", "dry"),
)


def differences(old: Task, new: Task) -> Iterator[str]:
    """Yield what changes, each as `name old → new`."""
    if new.schedule != old.schedule:
        words, new_words = old.schedule.words(), new.schedule.words()
        if words == new_words:
            words, new_words = f"{words} at second {old.schedule.second}", f"second {new.schedule.second}"
        yield f"{words} → {new_words}"
    for name in FIELDS:
        if _shown(old, name) != _shown(new, name):
            yield f"{name} {_shown(old, name)} → {_shown(new, name)}"
    for name in sorted({*old.params, *new.params}):
        before, after = old.params.get(name), new.params.get(name)
        if before != after:
            yield f"{name} {'none' if before is None else before} → {'none' if after is None else after}"
    # Their values may be confidential.
    settings = sorted(name for name, value in {*old.settings.items()} ^ {*new.settings.items()})
    if settings:
        yield f"new values of {', '.join(dict.fromkeys(settings))}"


def _shown(task: Task, name: str) -> str:
    value = getattr(task, name)
    if name == "catch_up" and value == "all":
        return f"all, up to {task.catch_up_cap}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(value) or "none"
    return "none" if value in (None, "") else f"{value:g} s" if isinstance(value, float) else str(value)
