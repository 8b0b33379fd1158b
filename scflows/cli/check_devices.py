"""Check whether devices publish as expected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from scflows.cli.times import Moment, Status

if TYPE_CHECKING:
    from scflows.cli.output import Output
    from scflows.integrations.smartcitizen.checks.check_round import Found
    from scflows.settings import Settings

FLOW = "smartcitizen"
FILE = "check.thresholds.yml"


def check_devices(
    ctx: typer.Context,
    device: Annotated[
        list[str] | None,
        typer.Argument(metavar="DEVICE…", help="Numbers, addresses or names (default: all devices with tasks)."),
    ] = None,
    readings: Annotated[
        bool | None,
        typer.Option(
            "--readings/--no-readings",
            help="Fetch readings, to find gaps and stuck values (default: only for devices given as arguments).",
        ),
    ] = None,
    thresholds: Annotated[
        str | None, typer.Option(metavar="FILE", help="A file of thresholds (default: the one in the flows folder).")
    ] = None,
    problems: Annotated[bool, typer.Option("--problems", help="Show only devices with problems.")] = False,
) -> int:
    """Check whether devices publish as expected.

    Reports silent devices, gaps, low batteries, impossible or stuck values, clocks that run ahead, and missing
    sensors that the device's blueprint (its processing instructions) or hardware file needs. Exits with 1 if a
    device has a problem.
    """
    import os
    import time

    from scflows.errors import Unreachable
    from scflows.integrations.smartcitizen.access import read_access
    from scflows.integrations.smartcitizen.checks.check_round import UNKNOWN, run_checks, scheduled_devices
    from scflows.integrations.smartcitizen.checks.thresholds import read_thresholds
    from scflows.integrations.smartcitizen.client import Client
    from scflows.integrations.smartcitizen.search import find_device

    out: Output = ctx.obj
    path = thresholds if thresholds is not None else _default(out.settings)
    limits = read_thresholds(os.path.join(out.settings.home, os.path.expanduser(path)), path)
    with out.progress() as progress:
        client = Client(read_access(out.settings), progress.show)
        arguments = [find_device(client, each) for each in device or ()]
        numbers = arguments or scheduled_devices(out.settings)
        with_readings = bool(arguments) if readings is None else readings
        found = run_checks(numbers, client, limits, time.time(), None, with_readings, progress.show)
    listed = [each for each in found if each.problems or each.state == UNKNOWN or not problems]
    if out.json:
        out.object({"schema": 1, "items": [each.item() for each in listed]})
    else:
        columns = {"DEVICE": "device", "NAME": "name", "STATE": "state", "LAST READING": "last", "BATTERY": "battery"}
        out.table({**columns, "WHAT": "what"}, [_row(each) for each in listed], less=("battery", "last"))
    wrong = sum(1 for each in found if each.problems)
    unknown = [each for each in found if each.state == UNKNOWN]
    for each in found:
        for note in each.notes:
            out.warn(f"{each.device}: not checked: {note}")
    hint = f" · flows manual-schedule --kind check --device {found[0].device}" if found else ""
    out.hint(f"{len(found)} devices, {wrong} with problems{hint}")
    if unknown:
        raise Unreachable(f"{len(unknown)} of {len(found)} devices could not be checked")
    return 1 if wrong else 0


def _default(settings: Settings) -> str:
    """Return the workspace's file of thresholds, or that of the example flows."""
    import os

    from scflows.flows.workspace import shipped_flows

    own = os.path.join(settings.flows_path, FLOW, FILE)
    return own if os.path.exists(own) else os.path.join(shipped_flows(), FLOW, FILE)


def _row(found: Found) -> dict[str, Any]:
    return {
        "device": found.device,
        "name": found.name,
        "state": Status(found.state),
        "last": None if found.last is None else Moment(found.last),
        "battery": None if found.battery is None else f"{found.battery:g} %",
        "what": "; ".join(problem.message for problem in found.problems),
    }
