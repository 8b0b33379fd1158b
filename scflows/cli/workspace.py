"""Make a workspace; see which settings are in force."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from scflows.cli.times import Status

if TYPE_CHECKING:
    from scflows.cli.output import Output


def init(
    ctx: typer.Context,
    folder: Annotated[str, typer.Argument(metavar="DIR", help="The folder; it is made where it is not there.")],
    force: Annotated[
        bool, typer.Option("--force", help="Replace files that are there; each is kept beside, as .bak.")
    ] = False,
) -> None:
    """Make a workspace: the shipped flows, a data folder, settings with random keys.

    Files that are there stay as they are.
    """
    from scflows.flows.workspace import KEPT, make_workspace

    out: Output = ctx.obj
    base = out.options.home or os.curdir
    top = os.path.abspath(os.path.join(os.path.expanduser(base), os.path.expanduser(folder)))
    placed = make_workspace(top, force)
    items = [
        {"what": Status(each.what), "path": os.path.relpath(each.path, top), "backup": each.backup or None}
        for each in placed
    ]
    more = {"workspace": top}
    # A list of what is as it was says nothing to a person.
    shown = items if out.json or not out.is_terminal else [item for item in items if item["what"] != KEPT]
    columns = {"WHAT": "what", "FILE": "path"}
    if any(item["backup"] for item in items):
        columns["OLD ONE"] = "backup"
    out.table(columns, shown, more)
    kept = len([item for item in items if item["what"] == KEPT])
    out.hint(f"workspace {top}" + (f", {kept} files kept as they were" if kept else ""))
    place = "" if top == os.getcwd() else f"cd {top} && "
    out.hint(f"next: {place}flows list-flows · flows auto-schedule --dry-run · flows auto-schedule")


def config(
    ctx: typer.Context,
    key: Annotated[str | None, typer.Argument(metavar="KEY", help="Only this one, its value alone.")] = None,
) -> None:
    """The settings in force, and where each comes from. Secrets are not shown."""
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
    out.table({"SETTING": "name", "VALUE": "value", "FROM": "source"}, items)
