"""Manual scheduling: schedule the flows that a user names, with their own name, schedule and parameters."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from scflows.cron.schedule.fields import REBOOT
from scflows.cron.schedule.spec import CATCH_UP, MAX_CATCH_UP, ScheduleSpec, parse_every, parse_schedule
from scflows.cron.task import check_name
from scflows.errors import Busy, UsageError
from scflows.flows.loader import find_flow, load_flow
from scflows.flows.missing import missing_hooks
from scflows.flows.parameters import convert
from scflows.integrations.smartcitizen.task_kinds import Kind, find_kind
from scflows.planner.differences import differences
from scflows.planner.load.placement import place
from scflows.planner.plan import KEEP, REPLACE, Change, Plan
from scflows.planner.planner import Planner, since
from scflows.planner.sources.base import TaskRequest

if TYPE_CHECKING:
    from scflows.settings import Settings

HOUR = 3600
#: The interval of a flow for which none is given.
DEFAULT_HOURS = 24
#: The same for a working folder, which costs little if there is nothing to do.
FOLDER_INTERVAL = "1m"
#: The schedule options besides the times; those that are not given come from the flow.
OPTIONS = ("catch_up", "overlap", "start_within", "end_within")
NO_ZONE = "--timezone only works with --cron: it has no effect on an interval"


@dataclass(frozen=True)
class Order:
    """What to schedule, and how."""

    flows: tuple[str, ...]
    devices: tuple[str, ...] = ()  #: each flow is scheduled once for each of them, as its parameter `device`
    kind: str | None = None  #: what is done with the devices, if the flow does not decide it
    name: str | None = None
    cron: str | None = None
    every: str | None = None
    interval_hours: int | None = None
    timezone: str | None = None
    params: dict[str, Any] = field(default_factory=dict)
    timeout: float | None = None  #: seconds
    catch_up: str | None = None  #: none, last, all, or the cap of all as a number
    overlap: str | None = None
    max_active_runs: int | None = None
    start_within: str | None = None  #: for example 10m
    end_within: str | None = None
    overwrite: bool = False
    dry_tasks: bool = False
    balance: bool = True


def manual_schedule(planner: Planner, order: Order) -> Plan:
    """Return a plan that adds the tasks of an order. Raises UsageError, FlowError, or Busy if a name is taken."""
    requests = list(_requests(planner, order))
    names = [request.name for request in requests]
    duplicate = next((name for name in names if names.count(name) > 1), None)
    if duplicate is not None:
        raise UsageError(
            f"two of these would have the task name {duplicate!r}", "schedule them one by one, each with --name"
        )
    plan = planner.plan_requests(requests, order.overwrite, order.balance)
    existing = [] if order.overwrite else plan.of(KEEP)
    if existing:
        task = existing[0].task
        raise Busy(
            f"task {task.name!r} is already scheduled ({task.schedule.words()})",
            f"add --overwrite to replace it, or change it with: flows edit {task.name}",
        )
    for typed in order.flows:
        where = find_flow(typed, planner.settings)
        flow = load_flow(where, planner.settings, cache=not planner.dry_run)
        missing = missing_hooks(flow.hooks, where.folder, where.file, where.typed or where.written)
        plan.problems.extend(str(mistake) for mistake in missing)
    return plan


def resolve_devices(order: Order, settings: Settings) -> Order:
    """Return the order with addresses and names of devices replaced by their numbers.

    Numbers need no request to the platform. Raises UsageError if a name is ambiguous, NotFound, Unreachable, Refused.
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


def edit_task(planner: Planner, name: str, order: Order) -> Change:
    """Return the change of a task's schedule, parameters and limits that an order asks for; None removes a parameter.

    Raises NotFound, UsageError.
    """
    old = planner.task(name)
    schedule = old.schedule
    if order.cron is not None or order.every is not None or order.interval_hours is not None:
        spec = _spec(order, None)
        planner.inventory.uncount(old)
        schedule = place(spec, planner.inventory.load, name, seconds=planner.inventory.seconds(old))
    elif order.timezone is not None:
        if old.schedule.every is not None:
            raise UsageError(NO_ZONE)
        spec = parse_schedule({"cron": old.schedule.cron, "timezone": order.timezone, **_options(order)})
        schedule = place(spec, planner.inventory.load, name, seconds=planner.inventory.seconds(old))
    else:
        # The time does not change; the other options are checked with an arbitrary one.
        spec = parse_schedule({"cron": "* * * * *", **_options(order)})
    params = {**old.params, **order.params}
    params = {key: value for key, value in params.items() if value is not None}
    if order.params:
        if not old.flow:
            raise UsageError(f"task {name!r} runs a command, which takes no parameters")
        flow = load_flow(find_flow(old.flow, planner.settings), planner.settings, cache=not planner.dry_run)
        convert(flow.params, params)
    new = replace(
        old,
        schedule=schedule,
        params=params,
        timeout=old.timeout if order.timeout is None else order.timeout,
        max_active_runs=order.max_active_runs or old.max_active_runs,
        since=since(old, schedule),
        **{key: getattr(spec, key) for key in _options(order)},
    )
    if schedule.is_boot:
        new = replace(new, catch_up="none", start_within=None)
    if order.catch_up is not None:
        new = replace(new, catch_up_cap=spec.catch_up_cap)
    if new == old:
        return Change(KEEP, old, "nothing to change")
    return Change(REPLACE, new, "; ".join(differences(old, new)), verb="change")


def _options(order: Order) -> dict[str, Any]:
    """Return the schedule options of an order, in the form of a flow's."""
    options: dict[str, Any] = {key: getattr(order, key) for key in OPTIONS if getattr(order, key) is not None}
    given = order.catch_up
    if given is not None and given.isascii() and given.isdigit() and 0 < int(given[:9]) <= MAX_CATCH_UP:
        options["catch_up"] = {"all": int(given)}
    elif given is not None and given not in CATCH_UP:
        values = ", ".join(CATCH_UP)
        raise UsageError(f"--catch-up {given!r} is unknown", f"use {values} or a cap of at most {MAX_CATCH_UP}")
    return options


def _requests(planner: Planner, order: Order) -> list[TaskRequest]:
    if order.kind is not None and not order.devices:
        raise UsageError("--kind needs devices", "name them with --device")
    kind = find_kind(order.kind or "process") if order.devices and (order.kind or not order.flows) else None
    if kind is not None:
        order = replace(order, flows=order.flows or (kind.flow,))
        if len(order.flows) > 1:
            raise UsageError("--kind works with a single flow only")
    if not order.flows:
        raise UsageError("missing argument FLOW", "list flows: flows list-flows")
    if order.name is not None and len(order.flows) * max(1, len(order.devices)) != 1:
        raise UsageError("--name works with a single task only")
    requests = []
    for typed in order.flows:
        where = find_flow(typed, planner.settings)
        flow = load_flow(where, planner.settings, cache=not planner.dry_run)
        written = {"every": FOLDER_INTERVAL} if flow.is_folder else flow.schedule
        spec = _spec(order, written, kind.hours if kind else DEFAULT_HOURS)
        for device in order.devices or ("",):
            params = {**order.params, **({"device": device} if device else {})}
            # Check them now, while the user can see errors.
            converted = convert(flow.params, params)
            if kind is not None:
                params["device"] = converted["device"]
            name = order.name or _device_name(order, where.task, device, kind)
            requests.append(
                TaskRequest(
                    check_name(name),
                    spec,
                    flow=where.file,
                    params=params,
                    timeout=order.timeout,
                    dry=order.dry_tasks,
                    priority=flow.priority,
                    mutex=tuple(flow.mutex),
                    has_limit=bool(flow.timeout),
                    max_active_runs=order.max_active_runs or flow.max_active_runs,
                    kind=kind.name if kind else "",
                )
            )
    return requests


def _device_name(order: Order, flow: str, device: str, kind: Kind | None) -> str:
    if kind is not None:
        return kind.task(device)
    if not device:
        return flow
    return device if len(order.flows) == 1 else f"{flow}-{device}"


def _spec(order: Order, written: dict[str, Any] | None, default: int = DEFAULT_HOURS) -> ScheduleSpec:
    """Return the schedule of the order, otherwise that of the flow, otherwise every `default` hours."""
    named = [option for option in ("cron", "every", "interval_hours") if getattr(order, option) is not None]
    if len(named) > 1:
        options = " and ".join("--" + option.replace("_", "-") for option in named)
        raise UsageError(f"{options} cannot be combined")
    others = {key: written[key] for key in OPTIONS if written is not None and key in written} | _options(order)
    if order.timezone is not None:
        others["timezone"] = order.timezone
    if order.cron is not None:
        if order.cron.strip().lower() == REBOOT:
            # The flow's options are for its own schedule.
            others = {key: value for key, value in others.items() if key in (*_options(order), "overlap", "end_within")}
            others |= {} if order.timezone is None else {"timezone": order.timezone}
        return parse_schedule({"cron": order.cron, **others})
    if order.every is not None:
        spec = parse_schedule({"every_seconds": parse_every(order.every), **others})
    elif order.interval_hours is None and written is not None:
        spec = parse_schedule({**written, **others})
    else:
        hours = default if order.interval_hours is None else order.interval_hours
        if hours < 1:
            raise UsageError(f"--interval-hours must be at least 1, not {hours}")
        spec = parse_schedule({"every_seconds": hours * HOUR, **others})
    if order.timezone is not None and spec.every is not None and order.balance:
        raise UsageError(NO_ZONE, "use --cron, or --no-balance for full hours and midnight of that zone")
    return spec
