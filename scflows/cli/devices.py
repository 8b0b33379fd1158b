"""Search and show devices of the Smart Citizen platform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from scflows.cli.times import Moment, Status

if TYPE_CHECKING:
    from scflows.cli.output import Output
    from scflows.cron.task import Task
    from scflows.integrations.smartcitizen.device import Device


def search(
    ctx: typer.Context,
    text: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT", help="Part of the name (default: all devices that have processing set up)."),
    ] = None,
    state: Annotated[
        str | None, typer.Option(help="Only devices in this state, e.g. has_published or never_published.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Show only the first N.")] = None,
) -> int:
    """List devices with state, last reading, last processing, tasks."""
    from scflows.cron.task import TaskStore
    from scflows.integrations.smartcitizen.access import read_access
    from scflows.integrations.smartcitizen.client import Client
    from scflows.integrations.smartcitizen.search import PROCESSING, search_devices

    out: Output = ctx.obj
    name = " ".join(text or ())
    query = [("q[name_cont]", name)] if name else PROCESSING
    with out.progress() as progress:
        progress.show("searching")
        found = search_devices(Client(read_access(out.settings), progress.show), query, progress.show)
    tasks = _tasks(TaskStore(out.settings).read_all()[0])
    devices = [each for _, each in sorted(found.devices.items()) if state in (None, each.state)]
    items = [_item(device, tasks.get(device.id, [])) for device in devices[:limit]]
    columns = {"DEVICE": "device", "NAME": "name", "STATE": "state", "LAST READING": "last_reading_at"}
    out.table(
        {**columns, "PROCESSED": "latest_postprocessing", "TASKS": "task_names"},
        items,
        less=("latest_postprocessing", "state"),
    )
    for problem in found.problems:
        out.warn(problem.partition(": no task")[0])
    hint = f" · flows manual-schedule --device {items[0]['device']}" if items else ""
    out.hint(f"{len(items)} of {len(found.devices)} devices{hint}")
    return 0


def show(
    ctx: typer.Context,
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="Its number, address or name.")],
) -> int:
    """Show a device, its tasks, and what auto-schedule would do with it."""
    from scflows.cron.task import TaskStore
    from scflows.errors import UsageError
    from scflows.integrations.smartcitizen.access import read_access
    from scflows.integrations.smartcitizen.client import Client
    from scflows.integrations.smartcitizen.device import decide_processing, device_of
    from scflows.integrations.smartcitizen.hardware import hardware_problems
    from scflows.integrations.smartcitizen.search import find_device

    out: Output = ctx.obj
    client = Client(read_access(out.settings))
    number = find_device(client, device)
    found = device_of(client.api(f"devices/{number}"))
    if found is None:
        raise UsageError(f"the platform's answer for device {number} is not a device")
    problem = ""
    if found.has_postprocessing:
        problem = hardware_problems([found.hardware_url], client)[0][found.hardware_url]
    decision, why = decide_processing(found, problem)
    tasks = _tasks(TaskStore(out.settings).read_all()[0]).get(found.id, [])
    item = {**_item(found, tasks), "hardware_url": found.hardware_url, "decision": decision, "why": why}
    if out.json:
        out.object({"schema": 1, **item})
        return 0
    titles = {
        "device": "device",
        "name": "name",
        "state": "state",
        "last reading": "last_reading_at",
        "processed": "latest_postprocessing",
        "hardware": "hardware_url",
        "tasks": "task_names",
        "a search would": "decision",
        "because": "why",
    }
    shown = out.cell if out.is_terminal else out.piped
    out.fields((title, shown(item[key])) for title, key in titles.items())
    return 0


def _tasks(tasks: list[Task]) -> dict[int, list[str]]:
    """Return the names of the tasks of each device."""
    found: dict[int, list[str]] = {}
    for task in tasks:
        number = str(task.params.get("device", ""))
        if number.isascii() and number.isdigit():
            found.setdefault(int(number), []).append(task.name)
    return found


def _item(device: Device, tasks: list[str]) -> dict[str, Any]:
    def moment(epoch: float | None) -> Moment | None:
        return None if epoch is None else Moment(epoch)

    return {
        "device": device.id,
        "name": device.name,
        "state": Status(device.state),
        "last_reading_at": moment(device.last_reading_at),
        "latest_postprocessing": moment(device.latest_postprocessing),
        "tasks": tasks,
        "task_names": ", ".join(tasks),
    }
