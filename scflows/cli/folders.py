"""`flows folders`: run the jobs of a working folder; show the status of each file."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scflows.cli import exit_code
from scflows.cli.output import SCHEMA, Output
from scflows.cli.stream import escaped
from scflows.cli.times import Moment, Status
from scflows.errors import ScflowsError, UsageError

if TYPE_CHECKING:
    from scflows.execution.request import RunOutcome
    from scflows.health.folder_pairs import JobStatus
    from scflows.settings import Settings

Folder = Annotated[str, typer.Argument(metavar="DIR", help="The working folder, with its config.yml.")]
#: Seconds between two looks of `--watch`.
LOOK_EVERY = 2.0


def run(
    ctx: typer.Context,
    folder: Folder,
    job: Annotated[str | None, typer.Option("--job", metavar="NAME", help="Run only this job.")] = None,
    newer: Annotated[bool, typer.Option("--newer", help="Make targets again if a source is newer.")] = False,
    timeout: Annotated[
        str | None, typer.Option("--timeout", metavar="TIME", help="The time limit: 90s, 30m, 2h.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be made; make nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for a run of the folder that is in progress.")] = False,
) -> int:
    """Process all files of a working folder that are ready.

    The files that one job makes are sources of the next one in the same run. Exits with 0 also if there is nothing to
    do, or another run is in progress; with 1 if a file failed.
    """
    from scflows.cli.times import parse_duration
    from scflows.execution.launch import launch
    from scflows.execution.request import RunRequest
    from scflows.scheduler.housekeeping import run_housekeeping
    from scflows.settings import folder_settings

    out: Output = ctx.obj
    settings = folder_settings(folder)
    if out.options.verbose:
        settings = replace(settings, environment={**settings.environment, "LOG_LEVEL": "DEBUG"})
    if job is not None:
        _check_job(settings, job)
    request = RunRequest(
        flow=settings.config_file,
        params={**({"job": job} if job else {}), **({"newer": True} if newer else {})},
        timeout=None if timeout is None else parse_duration(timeout, "--timeout"),
        dry_run=dry_run,
        waits="block" if wait else "",
    )
    with out.progress() as progress:

        def show(event: str, values: dict[str, Any]) -> None:
            if event == "waits":
                progress.show(values["message"])
            if event == "step_started":
                progress.show(f"job {values['name']!r}")

        outcome = launch(request, settings, show if progress.shows else None)
    # A file with mistakes is also a problem for hooks and retention.
    for problem in outcome.problems if outcome.mistakes is None else ():
        out.warn(problem)
    _report(out, outcome, folder)
    run_housekeeping(settings, aside=True)
    return exit_code(outcome)


def status(
    ctx: typer.Context,
    folder: Folder,
    why: Annotated[bool, typer.Option("--why", help="List the files that are not done, with the reason.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every 2 seconds, until Ctrl-C.")] = False,
) -> int:
    """Show the status of each file of a working folder.

    It is `success`, `preliminary` (has not run yet) or `error` in each job.
    """
    from scflows.health.folder_pairs import read_folder_status
    from scflows.settings import folder_settings

    out: Output = ctx.obj
    settings = folder_settings(folder)
    while True:
        out.now = time.time()
        jobs, problem = read_folder_status(settings)
        if watch and out.is_terminal and not out.json:
            sys.stdout.write("\x1b[H\x1b[2J")
        _show(out, jobs, settings.home, why)
        if problem:
            out.warn(problem)
        if not watch:
            return 0
        sys.stdout.flush()
        time.sleep(LOOK_EVERY)


def _check_job(settings: Settings, name: str) -> None:
    """Raise UsageError if the working folder has no such job."""
    from scflows.flows.loader import find_flow, load_flow
    from scflows.validation import did_you_mean

    names = [step.name for step in load_flow(find_flow(settings.config_file, settings), settings).steps]
    if name not in names:
        raise UsageError(
            f"the working folder has no job {name!r}", did_you_mean(name, names) or f"it has {', '.join(names)}"
        )


def _report(out: Output, outcome: RunOutcome, folder: str) -> None:
    run = outcome.run
    jobs = [{"job": step.name, "status": Status(step.status), "what": step.message} for step in run.steps]
    if out.json:
        item = {"status": run.status, "reason": run.reason, "message": run.message, "run_id": run.id, "jobs": jobs}
        out.object({"schema": SCHEMA, **item})
    elif jobs and not out.options.quiet:
        out.table({"JOB": "job", "STATUS": "status", "FILES": "what"}, jobs)
    if exit_code(outcome):
        error = outcome.mistakes or ScflowsError(
            f"run {run.id} {run.status}: {run.message}", f"flows folders status {folder} --why"
        )
        out.fail(error)
    elif not out.json:
        from scflows.cli.times import words

        text = {"exit": run.message, "skipped": f"skipped: {run.message}"}.get(
            run.status, f"succeeded in {words(run.took or 0)}"
        )
        out.say(f"{'dry run: ' if run.dry_run else ''}{text}")


def _show(out: Output, jobs: list[JobStatus], folder: str, why: bool) -> None:
    if out.json:
        out.object({"schema": SCHEMA, "folder": folder, "jobs": [_job_item(job) for job in jobs]})
        return
    if why:
        rows = [
            {
                "job": job.name,
                "file": each.name,
                "status": Status(each.status),
                "since": None if each.ended is None else Moment(each.ended),
                "why": each.why,
            }
            for job in jobs
            for each in job.files
            if each.status != "success"
        ]
        out.table({"JOB": "job", "FILE": "file", "STATUS": "status", "SINCE": "since", "WHY": "why"}, rows)
        if not rows:
            out.hint("All files are done.")
        return
    files: dict[str, dict[str, Any]] = {}
    for job in jobs:
        for each in job.files:
            files.setdefault(each.name, {"file": each.name})[f"job {job.name}"] = Status(each.status)
    total: dict[str, Any] = {"file": "(all)"}
    total |= {f"job {job.name}": Status(job.status + (", running" if job.running else "")) for job in jobs}
    columns = {"FILE": "file", **{escaped(job.name): f"job {job.name}" for job in jobs}}
    out.table(columns, [*(files[name] for name in sorted(files)), total])
    if any(job.status == "error" for job in jobs):
        out.hint(f"Reasons: flows folders status {folder} --why")


def _job_item(job: JobStatus) -> dict[str, Any]:
    return {
        "name": job.name,
        "status": job.status,
        "running": job.running,
        "files": [
            {
                "file": each.name,
                "status": each.status,
                "message": each.why,
                "time": None if each.ended is None else Moment(each.ended),
                "run": each.run,
                "log": each.log,
            }
            for each in job.files
        ],
    }
