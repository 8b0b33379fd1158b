"""A run that queued up before its second: when that comes, it meets those of its task as a run that starts then."""

from __future__ import annotations

from scflows import backlog
from scflows.admission import Admission
from scflows.entrance import CANCEL, SKIP, withdraw
from scflows.lock.file import FileLock
from scflows.run import CANCELLED, CATCH_UP, SKIPPED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.history.recorder import Recorder
    from scflows.ticket import Ticket, Waiting

#: It waits on for its turn; it is recorded as skipped; an earlier one is about to start, and is to be met after that.
STAYS, SKIPS, LATER = "stays", "skips", "later"


def is_untried(ticket: Ticket, waiting: Waiting) -> bool:
    """Whether a run queued up only since it was too early, and is answered by `overlap` when its second comes."""
    return not waiting.why and not ticket.is_own and waiting.trigger != CATCH_UP


def earlier(ticket: Ticket, known: dict[str, Waiting], tickets: list[Ticket]) -> list[Ticket]:
    """Those of `tickets` that are of the same task and answer for an earlier time."""
    return [
        each
        for each in tickets
        # What makes up for a slot is not answered by another one's.
        if each.task == ticket.task
        and (each.at, each.run) < (ticket.at, ticket.run)
        and (each.name not in known or known[each.name].trigger != CATCH_UP)
    ]


def meet(state: str, ticket: Ticket, waiting: Waiting, before: list[Ticket], overlap: str, recorder: Recorder) -> str:
    """What becomes of a run whose second has come: STAYS, SKIPS or LATER.

    `before` are those of its task that waited already. With `cancel` these are recorded as cancelled, and a run that
    goes on is told to stop.
    """
    admission = Admission(ticket.run, FileLock(waiting.lock_path, waiting.lock), state, waiting.most)
    goes_on = admission.other_in_words()
    if goes_on and overlap == SKIP:
        withdraw(state, ticket, recorder, SKIPPED, "locked", goes_on)
        return SKIPS
    for each in before:
        told = f"run {ticket.run} came in its stead"
        if overlap == CANCEL and withdraw(state, each, recorder, CANCELLED, "overlap", told):
            continue
        if not backlog.has(state, each.run):
            continue
        if overlap != SKIP and not each.is_own:
            held = backlog.seize(state, each)
            if held is None:
                return LATER
            held.leave()
        told = f"run {each.run} of it waits for its turn already"
        withdraw(state, ticket, recorder, SKIPPED, "locked", told)
        return SKIPS
    if goes_on and overlap == CANCEL:
        admission.stop_other()
    return STAYS
