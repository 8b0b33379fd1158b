"""Check the installation; run a task or flow as cron would."""

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
    name: Annotated[
        str | None, typer.Argument(metavar="FLOW|TASK", help="With --as-cron: the flow or task to run.")
    ] = None,
    as_cron: Annotated[
        bool,
        typer.Option(
            "--as-cron", help="Run FLOW or TASK as cron would. Without a name, check whether all tasks could start."
        ),
    ] = False,
    fix: Annotated[bool, typer.Option("--fix", help="Apply the safe fixes and list them.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --fix: list the fixes, change nothing.")] = False,
) -> int:
    """Diagnose what keeps tasks from running, and say what to do.

    Changes nothing without --fix. Exits with 1 if a check fails.

    --fix creates missing folders, makes files with secrets private, removes or finishes what a killed command left
    behind, moves scflows lines into the crontab block, rewrites tabfile and crontab from the task files, and adds
    pending records to the history. A backup of the crontab is kept: flows crontab restore.

    --as-cron with a name really runs that task or flow, as cron does: with /bin/sh, cron's few variables, the home
    directory as the current one, and no input. Without a name, no task is run: for each Python
    in the crontab, check in cron's environment that it can load its tasks and their flows.
    """
    out: Output = ctx.obj
    if name and not as_cron:
        raise UsageError(f"unexpected argument {name!r}", f"to run it as cron would: flows check --as-cron {name}")
    from scflows.health import FAIL, WARN, Finding, examine
    from scflows.health.installation import Installation

    try:
        settings = out.settings
    except UsageError as error:
        return _report(out, [Finding(FAIL, "settings", str(error), error.help or "")])
    installation = Installation(settings, settings.environment)
    if (fix or dry_run) and as_cron:
        raise UsageError("--as-cron cannot be combined with --fix", "fix first: flows check --fix")
    if dry_run and not fix:
        raise UsageError("--dry-run needs --fix", "without --fix, flows check changes nothing")
    if fix:
        from scflows.health.repair import repair

        repaired = repair(installation, dry_run)
        # Read everything again: the repair has changed most of it.
        return _report(out, repaired + examine(Installation(settings, settings.environment)))
    if not as_cron:
        return _report(out, examine(installation))
    from scflows.health.cron_trial import start_all, try_out

    if name:
        return _report_trial(out, try_out(installation, name))
    findings = start_all(installation)
    return _report(out, findings or [Finding(WARN, "as-cron", "there are no tasks", "flows auto-schedule")])


def _report(out: Output, findings: list[Finding]) -> int:
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
            out.hint("Apply the safe fixes: flows check --fix")
    return 1 if failures else 0


def _show(out: Output, finding: Finding) -> None:
    gap = " " * (5 - len(finding.level))
    first = f"{out.colored(finding.level)}{gap} {finding.topic:<9} "
    out.paragraph(out.cell(finding.text), first, 6 + max(9, len(finding.topic)) + 1)
    for line in finding.lines:
        out.line(f"      {out.cell(line)}")
    if finding.help:
        out.paragraph(out.pasteable(out.cell(finding.help)), "      help: ", 12)


def _item(finding: Finding) -> dict[str, Any]:
    return {
        "level": Status(finding.level),
        "topic": finding.topic,
        "text": finding.text,
        "help": finding.help,
        "lines": list(finding.lines),
    }


def _summary(failures: int, warnings: int) -> str:
    counts = [
        f"{number} {noun}{'' if number == 1 else 's'}"
        for number, noun in ((failures, "failure"), (warnings, "warning"))
    ]
    return ", ".join(counts) if failures or warnings else "no problems found"


def _report_trial(out: Output, trial: Trial) -> int:
    run = trial.run
    code = 1 if trial.code else 0
    if out.json:
        item = {
            "command": trial.command,
            "exit_code": trial.code,
            "run": None if run is None else run.id,
            "status": None if run is None else run.status,
            "reason": None if run is None else run.reason,
            "message": None if run is None else run.message,
            "log": trial.log,
            "output": trial.output,
            "missing": trial.missing,
        }
        out.object(item)
        return code
    if out.is_terminal:
        out.hint(trial.command)
    for line in trial.log.splitlines():
        out.line(out.cell(line))
    for line in trial.output.splitlines():
        out.warn(f"output that cron would mail: {line}")
    for problem in trial.missing:
        out.warn(problem)
    if run is None:
        out.line(f"did not run; exit code {trial.code}")
        return 1
    message = f": {run.message}" if run.message else ""
    out.line(f"{run.status}{message} · run {run.id} · exit code {trial.code}")
    return code
