"""The options that the commands which schedule have in common."""

from __future__ import annotations

from typing import Annotated

import typer

DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan as a diff; change nothing.")]
ExitCode = Annotated[bool, typer.Option("--exit-code", help="With --dry-run: end with 10 when there are changes.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace tasks that are there; their slots stay.")]
ForceFirstRun = Annotated[
    bool,
    typer.Option("--force-first-run", help="Run each new task once, now; with --dry-run as a dry run of its flow."),
]
DryTasks = Annotated[
    bool, typer.Option("--dry-tasks", help="The tasks themselves run dry: they publish nothing. (Not --dry-run.)")
]
NoBalance = Annotated[bool, typer.Option("--no-balance", help="Full hours and midnight, not the emptiest slots.")]
OneLine = Annotated[
    bool | None,
    typer.Option(
        "--one-line/--no-one-line",
        help="One crontab line for all tasks, or one for each. Stays so until it is said otherwise.",
    ),
]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")]
CatchUp = Annotated[
    str | None,
    typer.Option(
        metavar="none|last|all|N", help="What becomes of missed slots: none made up, the last, all, or up to N of them."
    ),
]
Overlap = Annotated[
    str | None, typer.Option(metavar="skip|wait|cancel", help="What a slot does while an earlier run goes on.")
]
StartWithin = Annotated[
    str | None, typer.Option(help="How long after its slot a run is late, such as 10m; else as it usually is.")
]
EndWithin = Annotated[
    str | None, typer.Option(help="How long a run takes before it is told, such as 2h; else as they usually do.")
]
Tasks = Annotated[list[str], typer.Argument(metavar="TASK…", help="Names of tasks.")]
Overwriting = Annotated[bool, typer.Option("--overwrite", help="Also where the block was changed by hand.")]
