"""Options that the scheduling commands share."""

from __future__ import annotations

from typing import Annotated

import typer

DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan as a diff; change nothing.")]
ExitCode = Annotated[bool, typer.Option("--exit-code", help="With --dry-run: exit with 10 if there are changes.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace existing tasks; a task whose schedule is the same keeps its slots.")
]
ForceFirstRun = Annotated[
    bool,
    typer.Option("--force-first-run", help="Run each new task once, now. With --dry-run, only dry-run its flow."),
]
DryTasks = Annotated[
    bool, typer.Option("--dry-tasks", help="Create tasks whose runs are dry runs (--dry-run creates none).")
]
NoBalance = Annotated[
    bool, typer.Option("--no-balance", help="Start intervals at full hours and midnight instead of at quiet times.")
]
OneLine = Annotated[
    bool | None,
    typer.Option(
        "--one-line/--no-one-line",
        help="Use one crontab line for all tasks, or one per task. Stays in effect until changed.",
    ),
]
AllWorkspaces = Annotated[bool, typer.Option("--all", help="Include all workspaces.")]
CatchUp = Annotated[
    str | None,
    typer.Option(metavar="none|last|all|N", help="Which missed slots to run later: none, the last, all, or at most N."),
]
Overlap = Annotated[
    str | None,
    typer.Option(
        metavar="skip|wait|cancel", help="What to do when a run is due while an earlier one is still in progress."
    ),
]
MaxActiveRuns = Annotated[
    int | None,
    typer.Option(
        "--max-active-runs", metavar="N", min=1, help="How many runs of the task may be active at the same time."
    ),
]
StartWithin = Annotated[
    str | None,
    typer.Option(
        help="Alert if a run starts more than this long after its slot, e.g. 10m (default: based on past runs)."
    ),
]
EndWithin = Annotated[
    str | None, typer.Option(help="Alert if a run takes longer than this, e.g. 2h (default: based on past runs).")
]
Tasks = Annotated[list[str], typer.Argument(metavar="TASK…", help="Task names.")]
Selected = Annotated[
    list[str] | None,
    typer.Argument(metavar="TASK…", help="Task names, or patterns such as 'backup-*' for tasks of this workspace."),
]
Everywhere = Annotated[
    bool, typer.Option("--all", help="Patterns match the tasks of all workspaces; without TASK: every task.")
]
Overwriting = Annotated[bool, typer.Option("--overwrite", help="Proceed even if the crontab block was edited by hand.")]
