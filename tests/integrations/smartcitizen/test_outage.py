"""Whatever goes wrong at the platform: it is asked again, and what is scheduled stays."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from scflows.errors import Unreachable
from scflows.integrations.smartcitizen.access import Access
from scflows.integrations.smartcitizen.client import Client
from scflows.integrations.smartcitizen.demo.faults import Fault
from scflows.integrations.smartcitizen.demo.kinds import EXPECTED, FIRST_ID, SCHEDULED
from scflows.integrations.smartcitizen.hardware import hardware_problems
from scflows.integrations.smartcitizen.search import PROCESSING, search_devices

FAULTS = {
    "429": Fault("/v0/devices", status=429, text="Retry later\n"),
    "500": Fault("/v0/devices", status=500),
    "502-as-a-page": Fault("/v0/devices", status=502, text="<html>Bad gateway</html>"),
    "cut-off": Fault("/v0/devices", how="cut"),
    "dropped": Fault("/v0/devices", how="drop"),
    "not-json": Fault("/v0/devices", how="not-json"),
}


def fault(kind: str, **more: object) -> Fault:
    return Fault(**{**FAULTS[kind].__dict__, **more})


@pytest.fixture
def client(server):
    """A client that does not really wait; what it would have waited."""
    waits: list[float] = []
    access = Access(server.settings["SC_API_URL"], server.settings["BASE_POSTPROCESSING_URL"], "demo-admin-token")
    return SimpleNamespace(client=Client(access, sleep=waits.append), waits=waits, access=access)


@pytest.mark.parametrize("kind", FAULTS)
def test_a_passing_fault_costs_a_wait_and_no_device(client, platform, kind):
    platform.faults.add(fault(kind, times=3))
    found = search_devices(client.client, PROCESSING)
    assert found.is_whole
    assert len(found.devices) == len(EXPECTED) - 1
    assert client.waits == [0.5, 1, 2]


@pytest.mark.parametrize("kind", FAULTS)
def test_a_lasting_fault_is_an_outage_after_a_while(client, platform, kind):
    platform.faults.add(fault(kind))
    with pytest.raises(Unreachable, match="/v0/devices"):
        search_devices(client.client, PROCESSING)
    assert sum(client.waits) <= client.access.retry_seconds
    assert len(client.waits) > 5


def test_the_platform_says_how_long_to_wait(client, platform):
    platform.faults.add(Fault("/v0/devices", status=429, retry_after="17", times=2))
    assert search_devices(client.client, PROCESSING).is_whole
    assert client.waits == [17, 17]


@pytest.mark.parametrize("said", ["0", "Wed, 21 Oct 2015 07:28:00 GMT", "soon"])
def test_who_says_at_once_is_not_asked_without_a_pause(client, platform, said):
    platform.faults.add(Fault("/v0/devices", status=429, retry_after=said))
    with pytest.raises(Unreachable, match="429"):
        search_devices(client.client, PROCESSING)
    assert client.waits[:3] == [0.5, 1, 2]
    assert len(platform.requests) == len(client.waits) + 1 < 12


def test_the_time_that_answers_take_counts_as_well(client, platform):
    client.client.clock = iter(range(0, 1000, 25)).__next__
    platform.faults.add(Fault("/v0/devices/99", status=500))
    with pytest.raises(Unreachable):
        client.client.api("devices/99")
    assert len(platform.requests) == 4


def test_a_redirect_to_another_host_is_not_followed(client, platform, server):
    elsewhere = f"http://localhost:{server.server_port}"
    platform.faults.add(Fault("/v0/devices/99", status=302, location=f"{elsewhere}/v0/devices/2"))
    platform.faults.add(Fault("/v0/devices/3", status=302, location="/v0/devices/13001"))
    platform.faults.add(Fault("/base/hardware/", status=302, location=f"{elsewhere}/base/names/SCDevice.json", times=1))
    platform.faults.add(Fault("/base/hardware/", status=302, location=f"{elsewhere}/base/hardware.json"))
    with pytest.raises(Unreachable, match=r"302: it leads to localhost:\d+, which is not followed"):
        client.client.api("devices/99")
    assert client.client.api("devices/3")["id"] == FIRST_ID
    # It would be a list.
    assert "it leads to localhost" in hardware_problems(["kit"], client.client)[0]["kit"]
    assert not any("devices/2" in each["path"] or "names" in each["path"] for each in platform.requests)
    allowed = Access(client.access.api_url, client.access.files_url, "secret", frozenset({"localhost"}))
    assert "404" in hardware_problems(["kit"], Client(allowed))[0]["kit"]
    assert platform.requests[-1] == {"method": "GET", "path": "/base/hardware.json", "token": "", "status": 404}


def test_too_long_a_wait_is_an_outage(client, platform):
    platform.faults.add(Fault("/v0/devices", status=503, retry_after="7200"))
    with pytest.raises(Unreachable, match="asked to wait 7200 s"):
        search_devices(client.client, PROCESSING)
    assert client.waits == []


def test_the_platforms_limit_of_requests_is_waited_out(client, platform):
    clock = [0.0]
    platform.rate.limit = 2
    client.client.access = Access(client.access.api_url, client.access.files_url)
    refuses = platform.rate.refuses
    platform.rate.refuses = lambda is_known, _: refuses(is_known, clock[0])

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    client.client.sleep = sleep
    platform.add_crowd(450, 1)
    found = search_devices(client.client, PROCESSING)
    assert found.is_whole
    assert clock[0] >= 60


def test_hardware_files_are_asked_for_once_each_in_an_outage(client, platform):
    platform.faults.add(Fault("/base/hardware/", status=503))
    names = [f"kit-{number}" for number in range(40)]
    problems, away = hardware_problems(names, client.client)
    assert all("503" in problems[name] for name in names)
    assert len(away) == 40
    # The first ones, which are asked for side by side, are patient; all others are not.
    assert len(platform.requests) < 40 + 8 * 10


@pytest.mark.parametrize("kind", ["429", "dropped"])
def test_an_outage_changes_nothing_and_ends_with_7(search, names, platform, crontab, kind):
    assert search().code == 0
    before, tab = names(), crontab.read_bytes()
    for kit in platform.kits.values():
        kit.has_published = False
    platform.faults.add(fault(kind))
    answer = search()
    assert answer.code == 7, answer.err
    assert "nothing was changed" in answer.err
    assert (names(), crontab.read_bytes()) == (before, tab)


def test_an_outage_in_the_middle_of_the_pages_changes_nothing(search, names, platform, crontab):
    platform.add_crowd(250, 2)
    assert search().code == 0
    tab = crontab.read_bytes()
    platform.kits[FIRST_ID].has_published = False
    platform.faults.add(Fault("page=3"))
    assert search().code == 7
    assert crontab.read_bytes() == tab


def test_an_outage_of_the_file_host_keeps_every_task_and_is_told(search, names, platform):
    assert search().code == 0
    before = names()
    for kit in platform.kits.values():
        kit.has_published = False
    platform.faults.add(Fault("/base/", status=503))
    answer = search()
    assert answer.code == 7
    assert "hardware files could not be downloaded" in answer.err
    assert names() == before


def test_one_broken_hardware_file_stops_no_other_device(search, names, platform):
    platform.faults.add(Fault("/base/hardware/demo-gas.json", how="cut"))
    answer = search()
    assert answer.code == 7
    gas = str(FIRST_ID + list(EXPECTED).index("gas"))
    scheduled = {str(FIRST_ID + n) for n, kind in enumerate(EXPECTED) if EXPECTED[kind] == SCHEDULED}
    assert names() == scheduled - {gas}


def test_where_nothing_listens_the_other_sources_go_on(flows, server, crontab, workspace, names):
    (workspace / "tasks" / "own.yml").write_text("schedule: {every: 1h}\nsteps: []\n")
    answer = flows("auto-schedule", "--once", SC_API_URL="http://127.0.0.1:9/v0/")
    assert answer.code == 7, answer.err
    assert names() == {"own"}
