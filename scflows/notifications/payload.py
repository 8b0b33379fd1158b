"""Which hooks to call after a run, and their input."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.history.run import BAD, GOOD, Run
from scflows.history.run_values import log_tail, run_values, time_formatter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from scflows.history.contract import RunStore
    from scflows.notifications.incidents import Incident
    from scflows.settings import Settings


#: The kinds of incidents in words.
INCIDENTS = {"late": "is late", "missed": "was missed", "too_long": "takes too long"}


@dataclass(frozen=True)
class HookCall:
    """A hook to call."""

    hook: str  #: `on_failure`, `on_success` or `on_recovery`
    path: str  #: path of the flow, as written
    shared: bool  #: whether it comes from the settings, not from the flow


def hooks_to_call(
    run: Run, previous: Run | None, own: Mapping[str, str], shared: Mapping[str, str], has_incident: bool = False
) -> list[HookCall]:
    """Return the hooks to call for a run, given the previous one.

    A flow's own `on_failure` is called for each failure, that of the settings only for the first in a row.
    `has_incident`: a problem of the task was reported before the run ended; its recovery is reported separately.
    """
    was_bad = previous is not None and previous.status in BAD
    wanted: list[tuple[str, bool]] = []
    if run.status in BAD:
        wanted = [("on_failure", False)] + ([] if was_bad or has_incident else [("on_failure", True)])
    elif run.status in GOOD:
        recovered = [("on_recovery", False), ("on_recovery", True)] if was_bad and not has_incident else []
        wanted = [*recovered, ("on_success", False), ("on_success", True)]
    return configured_calls(wanted, own, shared)


def configured_calls(
    wanted: Iterable[tuple[str, bool]], own: Mapping[str, str], shared: Mapping[str, str]
) -> list[HookCall]:
    """Return the calls for those of the wanted hooks, as (name, whether from the settings), that are configured."""
    calls: list[HookCall] = []
    for hook, is_shared in wanted:
        path = (shared if is_shared else own).get(hook)
        if path is not None and not any(call.hook == hook and call.path == path for call in calls):
            calls.append(HookCall(hook, path, is_shared))
    return calls


def previous_run(run: Run, settings: Settings) -> Run | None:
    """Return the task's previous run that ended well or badly; None if that cannot be known."""
    from scflows.history.contract import Query
    from scflows.history.store import ask

    def previous(store: RunStore) -> Run | None:
        until = run.started
        while True:
            found = store.find(Query(task=run.task, statuses=(*GOOD, *BAD), until=until, limit=100))
            for each in found:
                if each.is_reported and each.id != run.id:
                    return each
            if len(found) < 100:
                return None
            # Many runs in a row may have had nothing to report.
            until = found[-1].started

    return ask(settings, previous, None)


def hook_input(run: Run, previous: Run | None, hook: str, settings: Settings) -> dict[str, Any]:
    """Return a run as the input of a hook: JSON values, times as ISO 8601 text."""
    import socket

    return {
        "hook": hook,
        **run_values(run, settings.timezone),
        "outcome": _outcome(run, hook),
        "log_tail": "\n".join(log_tail(run.log, run.id)),
        "previous_status": None if previous is None else previous.status,
        "previous_id": None if previous is None else previous.id,
        "params": run.params,
        "host": socket.gethostname(),
    }


def _outcome(run: Run, hook: str) -> str:
    """Return how the run ended in a few words, for the subject of a message."""
    if hook == "on_recovery":
        return "works again"
    if run.reason in INCIDENTS:
        return INCIDENTS[run.reason]
    return run.status if run.reason in ("", "error", run.status) else f"{run.status} ({run.reason})"


def incident_values(incident: Incident, zone: str) -> dict[str, Any]:
    """Return an incident as JSON values, with times as ISO 8601 text in a zone."""
    moment = time_formatter(zone)
    return {
        "kind": incident.kind,
        "message": incident.message,
        "since": moment(incident.since),
        "slots": [moment(slot) for slot in incident.slots],
    }
