"""The jobs of a working folder, and the run that finds nothing to do."""

from __future__ import annotations

import os
import time
from dataclasses import replace

from scflows.errors import StepError
from scflows.execution.workloads import FlowWorkload
from scflows.history.run import EXIT, UNCHANGED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scflows.connectors.folders import Listing
    from scflows.execution.child import EventCallback
    from scflows.flows.model import Flow
    from scflows.history.folder_status import FolderStatus
    from scflows.history.task_log import TaskLog
    from scflows.settings import Settings

NOTHING_TO_DO = "nothing to do"


class FolderWorkload(FlowWorkload):
    """The steps of a working folder. Without work, the child reports `unchanged` and logs nothing."""

    first_line = ""  #: of the log
    task = ""  #: of the run
    jobs: tuple[str, ...] = ()  #: all jobs of the folder

    def run(self, log: TaskLog, send: EventCallback, dry_run: bool) -> int:
        from scflows.history.folder_status import FolderStatus

        status = FolderStatus(self.settings, self.flow.file)
        try:
            if not find_work(self.flow, self.settings, status):
                self._check_expectations(status, dry_run)
                send("end", {"status": EXIT, "reason": UNCHANGED, "message": NOTHING_TO_DO, "data": self.data})
                return 0
            log.info(self.first_line, echo=False)
            send("begun", {})
            if not dry_run:
                status.keep_jobs(self.jobs)
            code = super().run(log, send, dry_run)
            self._check_expectations(status, dry_run)
            return code
        finally:
            status.close()

    def _check_expectations(self, status: FolderStatus, dry_run: bool) -> None:
        if not dry_run and any(step.options.get("expect") for step in self.flow.steps):
            from scflows.notifications.expectations import check_expectations

            check_expectations(self.flow, status, self.settings, self.task, self.data["__job_id__"])


def chosen_jobs(flow: Flow, params: dict[str, Any]) -> Flow:
    """Return the flow with the job that the parameters name alone, and `newer` set if they say so."""
    steps = flow.steps
    if params.get("job") is not None:
        steps = [step for step in steps if step.name == params["job"]]
    if params.get("newer"):
        steps = [replace(step, options={**step.options, "newer": True}) for step in steps]
    return replace(flow, steps=steps)


def find_work(flow: Flow, settings: Settings, status: FolderStatus) -> bool:
    """Return whether any job has something to process, an error that is over, or a folder that cannot be read."""
    from scflows.connectors.folders import Pair, make_plan
    from scflows.history.folder_status import obsolete
    from scflows.steps.builtin.folder import target_time

    now = time.time()
    root = os.path.realpath(settings.data_path)
    # The target folder of one job is the source folder of the next.
    listings: dict[str, Listing] = {}
    for step in flow.steps:
        pair = Pair.of(step.options)
        try:
            plan = make_plan(pair, root, now, listings)
        except StepError:
            return True
        if plan.has_work:
            return True
        failed = status.ends(step.name, failed_only=True)
        if failed and obsolete(plan, failed, lambda name, pair=pair: target_time(root, pair, name)):
            return True
    return False
