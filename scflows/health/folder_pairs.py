"""The status of each file in the jobs of a working folder."""

from __future__ import annotations

import os
from dataclasses import dataclass

from scflows.connectors.folder_targets import is_at_work
from scflows.connectors.folders import Pair, make_plan, shown
from scflows.errors import StepError
from scflows.flows.loader import find_flow, load_flow
from scflows.history.folder_status import ERROR, WHOLE_JOB, End, FileStatus, FolderStatus, file_statuses, worst
from scflows.steps.builtin.folder import target_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.flows.model import StepSpec
    from scflows.settings import Settings


@dataclass(frozen=True)
class FileInJob:
    """A file in a job, by the name of its target."""

    name: str  #: empty: an error of the whole job
    status: str
    why: str  #: the message of an error, or what it waits for
    ended: float | None  #: when the last run ended for it, in seconds since the epoch
    run: str
    log: str


@dataclass(frozen=True)
class JobStatus:
    """A job, with its files by name."""

    name: str
    status: str
    running: bool
    files: list[FileInJob]


def read_folder_status(settings: Settings) -> tuple[list[JobStatus], str]:
    """Return the jobs of a working folder in the order of the chain, and why their errors cannot be read, if so.

    Raises FlowError for an invalid `config.yml`.
    """
    flow = load_flow(find_flow(settings.config_file, settings), settings)
    record = FolderStatus(settings, flow.file)
    try:
        return [_job(step, settings, record) for step in flow.steps], record.problem
    finally:
        record.close()


def _job(step: StepSpec, settings: Settings, record: FolderStatus) -> JobStatus:
    pair = Pair.of(step.options)
    root = os.path.realpath(settings.data_path)
    ends = record.ends(step.name)
    try:
        plan = make_plan(pair, root)
        found = file_statuses(plan, ends, lambda name: target_time(root, pair, name))
    except StepError as error:
        found = {WHOLE_JOB: FileStatus(ERROR, str(error), ends.get(WHOLE_JOB))}
    files = [_file(name, each, each.end) for name, each in found.items()]
    running = is_at_work(os.path.join(root, pair.target.folder))
    return JobStatus(step.name, worst([each.status for each in files]), running, files)


def _file(name: str, status: FileStatus, end: End | None) -> FileInJob:
    if end is None:
        return FileInJob(shown(name), status.status, status.why, None, "", "")
    return FileInJob(shown(name), status.status, status.why, end.ended, end.run, end.log)
