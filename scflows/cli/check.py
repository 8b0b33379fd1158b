"""Check the installation; try a task or flow as cron would run it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from scflows.cli.times import Status
from scflows.errors import UsageError

if TYPE_CHECKING:
    from scflows.cli.output import Output
    from scflows.health import Finding
    from scflows.health.cron_trial import Trial


def check(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="FLOW|TASK", help="With --as-cron: what to run.")] = None,
    as_cron: Annotated[
        bool,
        typer.Option(
            "--as-cron", help="Run FLOW or TASK as cron would; without one, see whether all tasks could start."
        ),
    ] = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="Mend what can be mended safely; say each thing that is done.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --fix: say what would be done; change nothing.")
    ] = False,
) -> int:
    """Find what keeps tasks from running, and say what to do.

    Nothing is changed without --fix. Ends with 1 when something fails.

    With --fix missing folders are made, files with secrets are closed to others, what a killed command left behind is
    removed or finished, lines of ours outside of the block are taken in, tabfile and crontab are written as the tasks
    say, and records that wait are taken into the history. The old crontab is kept: flows crontab restore.

    With --as-cron and a name that task or flow is run for real: by /bin/sh, with cron's few variables and nothing
    else, in the home directory, without input. Without a name nothing is run: each Python that the crontab names
    reads its tasks and their flows in that environment.
    """
    out: Output = ctx.obj
    if name and not as_cron:
        raise UsageError(f"check takes no {name!r}", f"to run it as cron would: flows check --as-cron {name}")
    from scflows.health import FAIL, WARN, Finding, examine
    from scflows.health.installation import Installation

    try:
        settings = out.settings
    except UsageError as error:
        return _tell(out, [Finding(FAIL, "settings", str(error), error.help or "")])
    installation = Installation(settings, settings.environment)
    if (fix or dry_run) and as_cron:
        raise UsageError("--as-cron mends nothing", "mend first: flows check --fix")
    if dry_run and not fix:
        raise UsageError("--dry-run goes with --fix", "flows check changes nothing by itself")
    if fix:
        from scflows.health.repair import mend

        mended = mend(installation, dry_run)
        # Looked at anew: most of what was read is another thing by now.
        return _tell(out, mended + examine(Installation(settings, settings.environment)))
    if not as_cron:
        return _tell(out, examine(installation))
    from scflows.health.cron_trial import start_all, try_out

    if name:
        return _tell_trial(out, try_out(installation, name))
    findings = start_all(installation)
    return _tell(out, findings or [Finding(WARN, "as-cron", "there are no tasks", "flows auto-schedule")])


def _tell(out: Output, findings: list[Finding]) -> int:
    items = [_item(finding) for finding in findings]
    failures = sum(finding.level == "FAIL" for finding in findings)
    warnings = sum(finding.level == "warn" for finding in findings)
    if out.json or not out.is_terminal:
        columns = {"LEVEL": "level", "TOPIC": "topic", "TEXT": "text", "HELP": "help"}
        out.table(columns, items, {"failures": failures, "warnings": warnings})
    else:
        for finding in findings:
            _show(out, finding)
        out.line(_summary(failures, warnings))
        if failures or warnings:
            out.hint("flows check --fix mends what can be mended safely")
    return 1 if failures else 0


def _show(out: Output, finding: Finding) -> None:
    gap = " " * (5 - len(finding.level))
    out.line(f"{out.colored(finding.level)}{gap} {finding.topic:<9} {out.cell(finding.text)}")
    for line in finding.lines:
        out.line(f"      {out.cell(line)}")
    if finding.help:
        out.line(f"      help: {out.cell(finding.help)}")


def _item(finding: Finding) -> dict[str, Any]:
    return {
        "level": Status(finding.level),
        "topic": finding.topic,
        "text": finding.text,
        "help": finding.help,
        "lines": list(finding.lines),
    }


def _summary(failures: int, warnings: int) -> str:
    told = [
        f"{number} {what}{'' if number == 1 else 's'}"
        for number, what in ((failures, "failure"), (warnings, "warning"))
    ]
    return ", ".join(told) if failures or warnings else "all is well"


def _tell_trial(out: Output, trial: Trial) -> int:
    run = trial.run
    code = 1 if trial.code else 0
    if out.json:
        told = {
            "command": trial.command,
            "exit_code": trial.code,
            "run": None if run is None else run.id,
            "status": None if run is None else run.status,
            "reason": None if run is None else run.reason,
            "message": None if run is None else run.message,
            "log": trial.log,
            "output": trial.said,
            "lacking": trial.lacking,
        }
        out.object(told)
        return code
    if out.is_terminal:
        out.hint(trial.command)
    for line in trial.log.splitlines():
        out.line(out.cell(line))
    for line in trial.said.splitlines():
        out.warn(f"it printed, which cron would mail: {line}")
    for lacking in trial.lacking:
        out.warn(lacking)
    if run is None:
        out.line(f"it did not run; exit status {trial.code}")
        return 1
    message = f": {run.message}" if run.message else ""
    out.line(f"{run.status}{message} · run {run.id} · exit status {trial.code}")
    return code
