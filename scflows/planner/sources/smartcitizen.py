"""The devices of the Smart Citizen platform that request processing, or that are backed up."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial

from scflows.cron.schedule.spec import ScheduleSpec
from scflows.cron.task import TaskStore
from scflows.errors import ScflowsError
from scflows.flows.loader import find_flow, load_flow
from scflows.flows.parameters import convert
from scflows.integrations.smartcitizen.access import Access, find_token, read_access
from scflows.integrations.smartcitizen.client import Client
from scflows.integrations.smartcitizen.device import LEAVE, SCHEDULE, Device, decide_backup, decide_processing
from scflows.integrations.smartcitizen.hardware import hardware_problems
from scflows.integrations.smartcitizen.search import PROCESSING, Listing, devices_of_researchers, search_devices
from scflows.integrations.smartcitizen.task_kinds import KINDS, SEARCHED, find_kind
from scflows.planner.sources.base import Decision, SourceResult, TaskRequest
from scflows.settings import Settings, read_env_file
from scflows.storage import json_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


NAME = "smartcitizen"
#: The packages that the tasks need; the search does not.
PACKAGES = ("scdata", "smartcitizen_connector")


class SmartCitizenSource:
    """The source of tasks for devices. `kind` is a key of KINDS; `report` is called with the progress of the search."""

    def __init__(self, kind: str, report: Callable[[str, int, int], None]) -> None:
        self.kind = find_kind(kind, SEARCHED)
        self.report = report

    def requests(self, settings: Settings, keep: bool) -> SourceResult:
        """Raises UsageError, FlowError, and Unreachable or Refused if the platform does not answer."""
        where = find_flow(self.kind.flow, settings)
        flow = load_flow(where, settings, cache=keep)
        # Check it now, while the user can see errors. A flow may take the number as a text.
        is_text = isinstance(convert(flow.params, {"device": "1"}).get("device"), str)
        access = read_access(settings)
        client = Client(access, self.report)
        listing = self._search(client)
        if access.token and self._misses(settings, listing):
            # Pages may have changed while they were read. Only devices that a second search misses too are gone.
            again = self._search(client)
            listing = replace(again, devices={**listing.devices, **again.devices})
        result = SourceResult(kind=self.kind.name, problems=listing.problems, is_bare=not listing.devices)
        # Without a token, private devices are missing from the search but may still exist.
        result.is_whole = listing.is_whole and bool(access.token)
        result.notes.extend(_notes(settings, access))
        spec = ScheduleSpec(every=self.kind.seconds)
        for device, decision, why in self._decide(client, listing, result):
            task = self.kind.task(device.id)
            values = (device.name, device.last_reading_at, device.latest_postprocessing)
            result.decisions.append(Decision(device.id, task, decision, why, *values))
            if decision == SCHEDULE:
                params = {"device": str(device.id) if is_text else device.id}
                result.requests.append(
                    TaskRequest(
                        task,
                        spec,
                        where.file,
                        params=params,
                        source=NAME,
                        kind=self.kind.name,
                        has_limit=bool(flow.timeout),
                    )
                )
            elif decision == LEAVE:
                result.unclear.add(task)
        return result

    def _search(self, client: Client) -> Listing:
        if self.kind is KINDS["backup"]:
            return devices_of_researchers(client, self.report)
        return search_devices(client, PROCESSING, self.report)

    def _misses(self, settings: Settings, listing: Listing) -> bool:
        """Return whether a task of an earlier search is for a device that this search has not found."""
        store = TaskStore(settings)
        names = set(json_names(store.folder))
        # The names suffice to select candidates, so that thousands of files need not be read.
        for name in names - {self.kind.task(number) for number in listing.devices}:
            number = name.removeprefix(self.kind.prefix)
            if name != f"{self.kind.prefix}{number}" or not (number.isascii() and number.isdigit()):
                continue
            try:
                task = store.read(name)
            except ScflowsError:
                continue
            if (task.source, task.kind, task.workspace) == (NAME, self.kind.name, settings.home):
                return True
        return False

    def _decide(self, client: Client, listing: Listing, result: SourceResult) -> Iterator[tuple[Device, str, str]]:
        devices = [listing.devices[number] for number in sorted(listing.devices)]
        if self.kind is KINDS["backup"]:
            yield from ((device, *decide_backup(device)) for device in devices)
            return
        urls = {device.hardware_url for device in devices if device.has_postprocessing}
        problems, missing = hardware_problems(urls, client, partial(self.report, "hardware files"))
        if missing:
            result.outages.append(f"{NAME}: {len(missing)} hardware files could not be downloaded, e.g. {missing[0]}")
        for device in devices:
            yield (device, *decide_processing(device, problems.get(device.hardware_url, "")))


def _notes(settings: Settings, access: Access) -> Iterator[str]:
    """Yield what will make the tasks fail, although the search works."""
    if not is_installed():
        yield f"the tasks need {PACKAGES[0]}, which is not installed: pip install 'scflows[smartcitizen]'"
    given = settings.given or {}
    if not access.token:
        yield "SC_BEARER is not set: private devices are not found, and nothing can be posted"
    elif given.get("SC_BEARER") and read_env_file(settings.env_file).get("SC_BEARER") != access.token:
        # Tasks remember settings, but not secrets.
        yield "SC_BEARER is only set in this environment: the tasks need it in .env, or as the secret 'smartcitizen'"


def is_set_up(settings: Settings) -> bool:
    """Return whether the packages and the flow of the tasks are installed and the token is set."""
    if not os.path.isfile(os.path.join(settings.flows_path, KINDS["process"].flow)):
        return False
    try:
        has_token = bool(find_token(settings))
    except ScflowsError:
        has_token = True  # It cannot be read; the search reports why.
    return has_token and is_installed()


def is_installed() -> bool:
    """Return whether the packages that process devices are installed."""
    from importlib.util import find_spec

    return all(find_spec(name) is not None for name in PACKAGES)
