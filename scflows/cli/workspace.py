"""Create a workspace; show the settings."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from scflows.cli.columns import DOT
from scflows.cli.times import Status

if TYPE_CHECKING:
    from scflows.cli.output import Output


def init(
    ctx: typer.Context,
    folder: Annotated[str, typer.Argument(metavar="DIR", help="The folder; created if it does not exist.")],
    empty: Annotated[bool, typer.Option("--empty", help="Leave out the example flows.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files; keep each as .bak.")] = False,
) -> None:
    """Create a workspace with the example flows.

    Also creates a data folder, and settings with random keys. Existing files are not changed.
    """
    from scflows.flows.workspace import KEPT, make_workspace

    out: Output = ctx.obj
    base = out.options.home or os.curdir
    top = os.path.abspath(os.path.join(os.path.expanduser(base), os.path.expanduser(folder)))
    files = make_workspace(top, force, empty)
    items = [
        {"what": Status(each.action), "path": os.path.relpath(each.path, top), "backup": each.backup or None}
        for each in files
    ]
    more = {"workspace": top}
    # Unchanged files are of no interest on a terminal.
    rows = items if out.json or not out.is_terminal else [item for item in items if item["what"] != KEPT]
    columns = {"WHAT": "what", "FILE": "path"}
    if any(item["backup"] for item in items):
        columns["OLD ONE"] = "backup"
    out.table(columns, rows, more)
    unchanged = len([item for item in items if item["what"] == KEPT])
    out.hint(f"Workspace {top}" + (f"; {unchanged} existing files were not changed" if unchanged else ""))
    steps = [] if top == os.getcwd() else [f"cd {shlex.quote(top)}"]
    steps += ["flows steps" if empty else "flows list-flows", "flows auto-schedule --dry-run", "flows auto-schedule"]
    out.hint(f"Next: {DOT.join(steps)}")


def config(
    ctx: typer.Context,
    key: Annotated[str | None, typer.Argument(metavar="KEY", help="Print only the value of this setting.")] = None,
) -> None:
    """Show the settings in effect and where each comes from. Secrets are hidden."""
    from scflows.health.settings_report import effective, find_setting

    out: Output = ctx.obj
    if key is not None:
        setting = find_setting(out.settings, out.environment, key)
        if out.json:
            out.object(setting.__dict__)
        else:
            out.line(out.cell(setting.value))
        return
    items = [setting.__dict__ for setting in effective(out.settings, out.environment)]
    out.table({"SETTING": "name", "VALUE": "value", "FROM": "source"}, items, less=("source",))
