"""Schedule what a person names: flows, each with a name, a schedule and parameters of its own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from scflows.cron.schedule.spec import CATCH_UP, MOST_CAUGHT_UP, ScheduleSpec, asked, parse_every
from scflows.cron.task import check_name, task_name
from scflows.errors import Busy, UsageError
from scflows.flows.loader import find_flow, load_flow
from scflows.flows.parameters import convert
from scflows.integrations.smartcitizen.task_kinds import find_kind
from scflows.planner.load.placement import placed
from scflows.planner.plan import KEEP, REPLACE, Change, Plan
from scflows.planner.planner import Planner, since
from scflows.planner.sources.base import TaskRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.cron.task import Task
    from scflows.integrations.smartcitizen.task_kinds import Kind
    from scflows.settings import Settings

HOUR = 3600
#: How often a flow runs for which nothing is said.
DEFAULT_HOURS = 24
#: What an order may say beside the times; what it does not say of them is as the flow has it.
BESIDE = ("catch_up", "overlap", "start_within", "end_within")
NO_ZONE = "--timezone goes with --cron: an interval has its slots in no zone"


@dataclass(frozen=True)
class Order:
    """What to schedule and how."""

    flows: tuple[str, ...]
    devices: tuple[str, ...] = ()  #: each flow once for each of them, as its parameter `device`
    kind: str | None = None  #: what is done to the devices, where that is not the flow's own business
    name: str | None = None
    cron: str | None = None
    every: str | None = None
    interval_hours: int | None = None
    timezone: str | None = None
    params: dict[str, Any] = field(default_factory=dict)
    timeout: float | None = None  #: seconds
    catch_up: str | None = None  #: over what the flow says: none, last, all, or a number, which means so many of all
    overlap: str | None = None
    start_within: str | None = None  #: such as 10m
    end_within: str | None = None
    overwrite: bool = False
    dry_tasks: bool = False
    balance: bool = True


def manual_schedule(planner: Planner, order: Order) -> Plan:
    """A plan that adds the tasks that were ordered. Raises UsageError, FlowError; Busy for a name that is taken."""
    wishes = list(_wishes(planner, order))
    names = [wish.name for wish in wishes]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise UsageError(f"two of these would be the task {double!r}", "schedule them one by one, each with --name")
    plan = planner.wish(wishes, order.overwrite, order.balance)
    kept = [] if order.overwrite else plan.of(KEEP)
    if kept:
        task = kept[0].task
        raise Busy(
            f"task {task.name!r} is already scheduled ({task.schedule.words()})",
            f"add --overwrite to replace it, or change it with: flows edit {task.name}",
        )
    return plan


def with_numbers(order: Order, settings: Settings) -> Order:
    """The order with the devices by their numbers, where an address or a name was given.

    Nothing is asked for numbers. Raises UsageError for what is not one device, NotFound, Unreachable, Refused.
    """
    by_name = order.kind is not None or not order.flows
    devices = []
    for given in order.devices:
        is_address = given.strip().lower().startswith(("http://", "https://"))
        if not (is_address or by_name) or (given.isascii() and given.isdigit()):
            devices.append(given)
            continue
        from scflows.integrations.smartcitizen.access import read_access
        from scflows.integrations.smartcitizen.client import Client
        from scflows.integrations.smartcitizen.search import find_device

        devices.append(str(find_device(Client(read_access(settings)), given)))
    return replace(order, devices=tuple(devices))


def edited(planner: Planner, name: str, order: Order) -> Change:
    """A task with another schedule, parameters or limits, as far as the order says; a parameter of None is taken away.

    Raises NotFound, UsageError.
    """
    old = planner.task(name)
    schedule = old.schedule
    if order.cron is not None or order.every is not None or order.interval_hours is not None:
        wanted = _asked(order, None)
        planner.standing.make_room(old)
        schedule = placed(wanted, planner.standing.load, name, seconds=planner.standing.seconds(old))
    elif order.timezone is not None:
        if old.schedule.every is not None:
            raise UsageError(NO_ZONE)
        wanted = asked({"cron": old.schedule.cron, "timezone": order.timezone, **_beside(order)})
        schedule = placed(wanted, planner.standing.load, name, seconds=planner.standing.seconds(old))
    else:
        # The time is not its own: what is asked for beside it is checked with any.
        wanted = asked({"cron": "* * * * *", **_beside(order)})
    kept = {**old.params, **order.params}
    kept = {key: value for key, value in kept.items() if value is not None}
    if order.params:
        if not old.flow:
            raise UsageError(f"task {name!r} runs a command, which takes no parameters")
        flow = load_flow(find_flow(old.flow, planner.settings), planner.settings, keep=not planner.dry_run)
        convert(flow.params, kept)
    new = replace(
        old,
        schedule=schedule,
        params=kept,
        timeout=old.timeout if order.timeout is None else order.timeout,
        since=since(old, schedule),
        **{key: getattr(wanted, key) for key in _beside(order)},
    )
    if order.catch_up is not None:
        new = replace(new, catch_up_cap=wanted.catch_up_cap)
    if new == old:
        return Change(KEEP, old, "nothing to change")
    return Change(REPLACE, new, "; ".join(_differences(old, new)))


def _differences(old: Task, new: Task) -> Iterator[str]:
    """What an edit changes, each as `what: old → new`."""
    if new.schedule != old.schedule:
        yield f"{old.schedule.words()} → {new.schedule.words()}"
    for name in ("timeout", *BESIDE):
        if _said(old, name) != _said(new, name):
            yield f"{name} {_said(old, name)} → {_said(new, name)}"
    for name in sorted({*old.params, *new.params}):
        before, after = old.params.get(name), new.params.get(name)
        if before != after:
            yield f"{name} {'none' if before is None else before} → {'none' if after is None else after}"


def _said(task: Task, name: str) -> str:
    value = getattr(task, name)
    if name == "catch_up" and value == "all":
        return f"all, up to {task.catch_up_cap}"
    return "none" if value is None else f"{value:g} s" if isinstance(value, float) else str(value)


def _beside(order: Order) -> dict[str, Any]:
    """What the order says beside the times, as a flow says it."""
    said: dict[str, Any] = {key: getattr(order, key) for key in BESIDE if getattr(order, key) is not None}
    given = order.catch_up
    if given is not None and given.isascii() and given.isdigit() and 0 < int(given[:9]) <= MOST_CAUGHT_UP:
        said["catch_up"] = {"all": int(given)}
    elif given is not None and given not in CATCH_UP:
        told = f"use {', '.join(CATCH_UP)} or a number up to {MOST_CAUGHT_UP}, which means so many of all"
        raise UsageError(f"--catch-up {given!r} is unknown", told)
    return said


def _wishes(planner: Planner, order: Order) -> list[TaskRequest]:
    if order.kind is not None and not order.devices:
        raise UsageError("--kind says what is done to devices", "name them with --device")
    kind = find_kind(order.kind or "process") if order.devices and (order.kind or not order.flows) else None
    if kind is not None:
        order = replace(order, flows=order.flows or (kind.flow,))
        if len(order.flows) > 1:
            raise UsageError("--kind goes with a single flow")
    if not order.flows:
        raise UsageError("no flow is named", "flows manual-schedule FLOW, or --task-file FLOW")
    if order.name is not None and len(order.flows) * max(1, len(order.devices)) != 1:
        raise UsageError("--name goes with a single task")
    wishes = []
    for typed in order.flows:
        where = find_flow(typed, planner.settings)
        flow = load_flow(where, planner.settings, keep=not planner.dry_run)
        wanted = _asked(order, flow.schedule, kind.hours if kind else DEFAULT_HOURS)
        for device in order.devices or ("",):
            params = {**order.params, **({"device": device} if device else {})}
            # Checked now, since nobody looks when cron starts it.
            converted = convert(flow.params, params)
            if kind is not None:
                params["device"] = converted["device"]
            name = order.name or _device_name(order, where.file, where.folder, device, kind)
            wishes.append(
                TaskRequest(
                    check_name(name),
                    wanted,
                    flow=where.file,
                    params=params,
                    timeout=order.timeout,
                    dry=order.dry_tasks,
                    priority=flow.priority,
                    mutex=tuple(flow.mutex),
                    kind=kind.name if kind else "",
                )
            )
    return wishes


def _device_name(order: Order, file: str, folder: str, device: str, kind: Kind | None) -> str:
    flow = task_name(file, folder)
    if kind is not None:
        return kind.task(device)
    if not device:
        return flow
    return device if len(order.flows) == 1 else f"{flow}-{device}"


def _asked(order: Order, written: dict[str, Any] | None, default: int = DEFAULT_HOURS) -> ScheduleSpec:
    """What the order says; else what the flow says; else every `default` hours."""
    named = [option for option in ("cron", "every", "interval_hours") if getattr(order, option) is not None]
    if len(named) > 1:
        options = " and ".join("--" + option.replace("_", "-") for option in named)
        raise UsageError(f"{options} exclude each other")
    beside = {key: written[key] for key in BESIDE if written is not None and key in written} | _beside(order)
    if order.timezone is not None:
        beside["timezone"] = order.timezone
    if order.cron is not None:
        return asked({"cron": order.cron, **beside})
    if order.every is not None:
        wanted = asked({"every_seconds": parse_every(order.every), **beside})
    elif order.interval_hours is None and written is not None:
        wanted = asked({**written, **beside})
    else:
        hours = default if order.interval_hours is None else order.interval_hours
        if hours < 1:
            raise UsageError(f"--interval-hours {hours}: it must be 1 or more")
        wanted = asked({"every_seconds": hours * HOUR, **beside})
    if order.timezone is not None and wanted.every is not None and order.balance:
        raise UsageError(NO_ZONE, "give --cron, or --no-balance for full hours and midnight of that zone")
    return wanted
