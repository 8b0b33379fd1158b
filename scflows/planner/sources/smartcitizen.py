"""Devices of the Smart Citizen platform that ask for processing, or whose owners have them backed up."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial

from scflows.cron.schedule.spec import ScheduleSpec
from scflows.cron.task import TaskStore
from scflows.errors import ScflowsError
from scflows.flows.loader import find_flow, load_flow
from scflows.flows.parameters import convert
from scflows.integrations.smartcitizen.access import find_token, read_access
from scflows.integrations.smartcitizen.client import Client
from scflows.integrations.smartcitizen.decision import LEAVE, SCHEDULE, decide_backup, decide_processing
from scflows.integrations.smartcitizen.hardware import hardware_problems
from scflows.integrations.smartcitizen.search import PROCESSING, devices_of_researchers, search_devices
from scflows.integrations.smartcitizen.task_kinds import KINDS, SEARCHED, find_kind
from scflows.planner.sources.base import Decision, Found, TaskRequest
from scflows.settings import read_env_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scflows.integrations.smartcitizen.access import Access
    from scflows.integrations.smartcitizen.device import Device
    from scflows.integrations.smartcitizen.search import Listing
    from scflows.settings import Settings

NAME = "smartcitizen"
#: What the tasks need, and the search does not.
PACKAGES = ("scdata", "smartcitizen_connector")


class SmartCitizenSource:
    """See `Source`. `kind` is a key of KINDS that devices are searched for, `tell` hears how far the search is."""

    def __init__(self, kind: str, tell: Callable[[str, int, int], None]) -> None:
        self.kind = find_kind(kind, SEARCHED)
        self.tell = tell

    def wishes(self, settings: Settings, keep: bool) -> Found:
        """Raises Unreachable and Refused when the platform does not answer, UsageError and FlowError."""
        where = find_flow(self.kind.flow, settings)
        flow = load_flow(where, settings, keep=keep)
        # Checked now, since nobody looks when cron starts it; a flow may take the number as a text.
        is_text = isinstance(convert(flow.params, {"device": "1"}).get("device"), str)
        access = read_access(settings)
        client = Client(access, self.tell)
        listing = self._listed(client)
        if access.token and self._misses(settings, listing):
            # Pages may have moved while they were read. What a second search does not find either is gone.
            again = self._listed(client)
            listing = replace(again, devices={**listing.devices, **again.devices})
        found = Found(kind=self.kind.name, problems=listing.problems, is_bare=not listing.devices)
        # Without a token the private devices are missing, which says nothing about them.
        found.is_whole = listing.is_whole and bool(access.token)
        found.notes.extend(_notes(settings, access))
        asked = ScheduleSpec(every=self.kind.seconds)
        for device, decision, why in self._decided(client, listing, found):
            task = self.kind.task(device.id)
            told = (device.name, device.last_reading_at, device.latest_postprocessing)
            found.decisions.append(Decision(device.id, task, decision, why, *told))
            if decision == SCHEDULE:
                params = {"device": str(device.id) if is_text else device.id}
                found.wishes.append(
                    TaskRequest(task, asked, where.file, params=params, source=NAME, kind=self.kind.name)
                )
            elif decision == LEAVE:
                found.unclear.add(task)
        return found

    def _listed(self, client: Client) -> Listing:
        if self.kind is KINDS["backup"]:
            return devices_of_researchers(client, self.tell)
        return search_devices(client, PROCESSING, self.tell)

    def _misses(self, settings: Settings, listing: Listing) -> bool:
        """Whether a task of an earlier search is for a device that this one has not found."""
        store = TaskStore(settings)
        try:
            names = {name.removesuffix(".json") for name in os.listdir(store.folder)}
        except OSError:
            return False
        # Their names say whose they could be; the files of thousands are not read for that.
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

    def _decided(self, client: Client, listing: Listing, found: Found) -> Iterator[tuple[Device, str, str]]:
        devices = [listing.devices[number] for number in sorted(listing.devices)]
        if self.kind is KINDS["backup"]:
            yield from ((device, *decide_backup(device)) for device in devices)
            return
        asking = {device.hardware_url for device in devices if device.has_postprocessing}
        problems, away = hardware_problems(asking, client, partial(self.tell, "hardware files"))
        if away:
            found.outages.append(f"{NAME}: {len(away)} hardware files could not be had, such as {away[0]}")
        for device in devices:
            yield (device, *decide_processing(device, problems.get(device.hardware_url, "")))


def _notes(settings: Settings, access: Access) -> Iterator[str]:
    """What will keep the tasks from doing their work, though not the search."""
    if not is_installed():
        yield f"{PACKAGES[0]} is not installed here, which the tasks need: pip install 'scflows[smartcitizen]'"
    given = settings.given or {}
    if not access.token:
        yield "there is no SC_BEARER: private devices are not found, and nothing can be posted"
    elif given.get("SC_BEARER") and read_env_file(settings.env_file).get("SC_BEARER") != access.token:
        # A task remembers settings, and no secrets.
        yield "SC_BEARER is set in this environment alone: the tasks need it in .env, or as the secret 'smartcitizen'"


def is_set_up(settings: Settings) -> bool:
    """Whether what the tasks need is installed, the token is there, and the flow that they run."""
    if not os.path.isfile(os.path.join(settings.flows_path, KINDS["process"].flow)):
        return False
    try:
        has_token = bool(find_token(settings))
    except ScflowsError:
        has_token = True  # One that cannot be read; the search tells why.
    return has_token and is_installed()


def is_installed() -> bool:
    """Whether the packages are there that process a device."""
    from importlib.util import find_spec

    return all(find_spec(name) is not None for name in PACKAGES)
