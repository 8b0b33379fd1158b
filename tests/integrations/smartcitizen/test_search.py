"""Devices are scheduled, left alone and removed as the table of decisions says."""

from __future__ import annotations

import json

import pytest

from scflows.integrations.smartcitizen.client import Page
from scflows.integrations.smartcitizen.demo.kinds import (
    EXPECTED,
    FIRST_ID,
    GUEST,
    NOT_FOUND,
    NOT_SCHEDULED,
    SCHEDULED,
    all_kinds,
)
from scflows.integrations.smartcitizen.demo.kit import stamp
from scflows.integrations.smartcitizen.search import devices_of_researchers, search_devices

NOW = 1_790_000_000
IDS = {kind: FIRST_ID + number for number, kind in enumerate(EXPECTED)}
#: Of those that are not scheduled: whose task goes when it is there already.
GONE = {"nothing-new", "silent", "never-published"}


def tasks_of(outcome: str) -> set[str]:
    return {str(IDS[kind]) for kind, expected in EXPECTED.items() if expected == outcome}


def all_due(platform) -> None:
    """Let every device ask for processing, so that each gets a task."""
    for kit in platform.kits.values():
        kit.has_published = True
        kit.shown_as = {}
        kit.postprocessing = {"id": kit.id, "hardware_url": "demo-kit", "latest_postprocessing": None}


def writes(crontab) -> int:
    return (crontab.parent / "calls").read_text().splitlines().count("-")


def test_devices_of_every_kind_get_a_task_or_none(search, names, platform, crontab):
    assert len(platform.kits) >= 40
    answer = search("--json")
    assert answer.code == 0, answer.err
    assert names() == tasks_of(SCHEDULED)
    assert writes(crontab) == 1
    decided = {each["device"]: each for each in json.loads(answer.out)["decisions"]}
    assert set(decided) == {IDS[kind] for kind, expected in EXPECTED.items() if expected != NOT_FOUND}
    for kind, outcome in EXPECTED.items():
        if outcome == SCHEDULED:
            assert decided[IDS[kind]]["result"] == "added"
            assert decided[IDS[kind]]["decision"] == "schedule"
        elif outcome == NOT_SCHEDULED:
            assert decided[IDS[kind]]["decision"] == ("remove" if kind in GONE else "leave"), kind
    assert decided[IDS["never-published"]]["why"] == "has never published"
    assert decided[IDS["nothing-new"]]["why"] == "nothing new"
    assert "404" in decided[IDS["hardware-missing"]]["why"]
    assert "not JSON" in decided[IDS["hardware-not-json"]]["why"]
    assert "versions" in decided[IDS["hardware-wrong-shape"]]["why"]
    assert "SC_ALLOWED_HOSTS" in decided[IDS["foreign-hardware"]]["why"]
    assert "'yesterday'" in decided[IDS["odd-last-reading"]]["why"]


def test_tasks_that_are_there_stay_or_go_by_the_same_table(search, names, platform, crontab):
    all_due(platform)
    assert search().code == 0
    every = {str(number) for number in platform.kits}
    assert names() == every
    lines = crontab.read_text().splitlines()
    platform.kits.update({kit.id: kit for kit in all_kinds(NOW)})
    answer = search("--json")
    assert answer.code == 0, answer.err
    gone = {str(IDS[kind]) for kind in GONE} | tasks_of(NOT_FOUND)
    assert names() == every - gone
    assert [line for line in lines if line.rpartition("# ")[2] not in gone] == crontab.read_text().splitlines()
    assert writes(crontab) == 2
    whys = {item["name"]: item["why"] for item in json.loads(answer.out)["items"] if item["action"] == "remove"}
    assert set(whys) == gone
    assert whys[str(IDS["silent"])] == "nothing new"
    assert "no longer finds it" in whys[str(IDS["plain"])]
    assert search().code == 0
    assert writes(crontab) == 2


def test_each_page_and_each_hardware_file_is_asked_for_once_and_the_token_stays_with_the_platform(
    search, platform, crontab, tmp_path
):
    platform.add_crowd(260, 7)
    answer = search()
    assert answer.code == 0, answer.err
    asked = [each["path"] for each in platform.requests]
    assert len(asked) == len(set(asked))
    pages = [each for each in platform.requests if each["path"].startswith("/v0/devices")]
    found = sum(kit.postprocessing is not None for kit in platform.kits.values())
    assert len(pages) == -(-found // 100)
    urls = {kit.postprocessing["hardware_url"] for kit in platform.kits.values() if kit.postprocessing}
    # Three ways to write the same file; none for nothing and for a host that is not allowed.
    files = {(url or "").rpartition("/")[2].removesuffix(".json") for url in urls} - {"", "kit"}
    assert {each["path"] for each in platform.requests} - {each["path"] for each in pages} == {
        f"/base/hardware/{name}.json" for name in files
    }
    assert all(each["token"] for each in pages)
    assert not any(each["token"] for each in platform.requests if each["path"].startswith("/base/"))
    assert writes(crontab) == 1
    token = pages[0]["token"].encode()
    for path in tmp_path.rglob("*"):
        assert path.name == ".env" or not path.is_file() or token not in path.read_bytes(), path
    assert token.decode() not in answer.out + answer.err


def test_devices_that_stand_on_two_pages_are_taken_once(search, names, platform):
    platform.overlap = 5
    platform.add_crowd(250, 3)
    answer = search()
    assert answer.code == 0, answer.err
    assert names() == tasks_of(SCHEDULED) | {str(n) for n in range(20001, 20251) if (n - 20001) % 10 < 6}


def test_nothing_goes_that_a_search_may_have_missed(search, names, platform):
    all_due(platform)
    assert search().code == 0
    before = names()
    platform.kits[IDS["gas"]].shown_as = {"id": None}
    platform.kits[IDS["raw-url"]].postprocessing = None
    answer = search()
    assert answer.code == 1
    assert "no task is removed" in answer.err
    assert names() == before


def test_without_a_token_private_devices_keep_their_tasks(search, names, platform):
    assert search().code == 0
    answer = search(SC_BEARER="", SC_BEARER_FILE="")
    assert answer.code == 0, answer.err
    assert str(IDS["private"]) in names()
    assert "SC_BEARER is not set" in answer.err


def test_a_search_that_finds_nothing_at_all_removes_nothing(search, names, platform):
    assert search().code == 0
    before = names()
    platform.kits.clear()
    answer = search()
    assert answer.code == 7
    assert "found no devices" in answer.err
    assert names() == before


def test_backups_have_names_a_schedule_and_a_search_of_their_own(flows, search, names, platform):
    assert search().code == 0
    answer = flows("auto-schedule", "--kind", "backup")
    assert answer.code == 0, answer.err
    owned = {str(kit.id) for kit in platform.kits.values() if kit.owner.mask == 4 and kit.has_published}
    odd = str(IDS["odd-last-reading"])
    made = {f"backup-{number}" for number in owned - {odd}}
    assert names() == tasks_of(SCHEDULED) | made | {"auto-schedule-backup"}
    shown = json.loads(flows("show", f"backup-{IDS['plain']}", "--json").out)
    assert shown["schedule"].startswith("every 6 h")
    assert shown["flow"].endswith("smartcitizen/backup.yml")
    assert shown["params"] == {"device": IDS["plain"]}
    assert "/backup-" in shown["log"]
    again = json.loads(flows("show", "auto-schedule-backup", "--json").out)
    assert again["command"][:3] == ["auto-schedule", "--kind", "backup"]
    # Each search looks after its own kind.
    platform.kits[IDS["due"]].has_published = False
    assert search("--task", "backup").code == 0
    assert f"backup-{IDS['due']}" not in names()
    assert str(IDS["due"]) in names()
    assert search().code == 0
    assert names() == (tasks_of(SCHEDULED) | made | {"auto-schedule-backup"}) - {
        f"backup-{IDS['due']}",
        str(IDS["due"]),
    }


@pytest.mark.parametrize(
    ("pages", "is_whole", "told"),
    [
        pytest.param([(range(1, 101), 150), (range(101, 151), 150)], True, "", id="whole"),
        pytest.param([(range(1, 101), 150), (range(100, 150), 150)], False, "149 WHAT of 150", id="one on two pages"),
        pytest.param([(range(1, 101), 150), (range(102, 151), 149)], False, "149 WHAT of 150", id="one taken off"),
        pytest.param([(range(1, 101), 150)], False, "100 WHAT of 150", id="no second page"),
        pytest.param([(range(1, 101), None), (range(101, 151), None)], False, "how many WHAT", id="no total"),
        pytest.param([(range(1, 101), 150), ((), None)], False, "how many WHAT", id="an empty page"),
    ],
)
def test_a_search_that_is_not_whole_is_known_as_one(pages, is_whole, told):
    from types import SimpleNamespace

    def asked(path, query):
        listed = path == "users"
        for ids, total in pages:
            items = [{"id": id, "devices": [{"id": 1}]} if listed else {"id": id} for id in ids]
            yield Page(items, total, None, False)

    client = SimpleNamespace(pages=asked)
    for found, what in ((search_devices(client, []), "devices"), (devices_of_researchers(client), "users")):
        assert found.is_whole is is_whole
        assert all(told.replace("WHAT", what) in each for each in found.problems)
        assert len(found.problems) == (not is_whole)


def test_a_device_that_slips_through_between_two_pages_keeps_its_task(search, names, platform):
    platform.add_crowd(90, 1)
    all_due(platform)
    assert search().code == 0
    before, devices, asked = names(), platform.devices, []

    def slipping(query, user):
        asked.append(query.get("page"))
        if asked == [None, "2"]:
            # One of the first page goes, and a new one comes: there are as many as before.
            kits = list(platform.kits.items())
            platform.kits = dict(kits[1:])
            platform.add_crowd(91, 1)
            all_due(platform)
        return devices(query, user)

    platform.devices = slipping
    assert search().code == 0
    assert asked.count(None) == 2
    assert before <= names()


def test_most_tasks_at_once_are_removed_only_if_that_is_meant(search, names, platform, crontab):
    all_due(platform)
    assert search().code == 0
    before, tab = names(), crontab.read_bytes()
    platform.kits = dict(list(platform.kits.items())[:-20])
    answer = search()
    assert answer.code == 1
    assert f"the devices of 20 of {len(before)} tasks" in answer.err
    assert "--overwrite" in answer.err
    assert (names(), crontab.read_bytes()) == (before, tab)
    assert search("--overwrite").code == 0
    assert names() == {str(number) for number in platform.kits}


def test_the_list_of_users_is_for_admins(search, names):
    answer = search("--kind", "backup", SC_BEARER=GUEST.token)
    assert answer.code == 5
    assert "400" in answer.err
    assert names() == set()


def test_a_token_that_nobody_has_is_refused_and_changes_nothing(search, names):
    assert search().code == 0
    before = names()
    answer = search(SC_BEARER="wrong-token")
    assert answer.code == 5
    assert "SC_BEARER" in answer.err
    assert "wrong-token" not in answer.err
    assert names() == before


def test_how_often_each_device_is_processed_can_be_said(search, flows):
    assert search("--task-interval-hours", "4").code == 0
    shown = json.loads(flows("show", str(IDS["due"]), "--json").out)
    assert shown["schedule"].startswith("every 4 h")
    assert search().code == 0
    assert json.loads(flows("show", str(IDS["due"]), "--json").out)["schedule"].startswith("every 4 h")


def test_a_dry_run_tells_the_decisions_and_writes_nothing(search, crontab, names):
    answer = search("--dry-run")
    assert answer.code == 0
    rows = [line.split("\t") for line in answer.out.splitlines() if line.startswith("13")]
    assert len(rows) == len(EXPECTED) - 1
    assert rows[0][:2] == [str(IDS["due"]), "added"]
    assert rows[0][-1] == "new readings"
    assert not crontab.exists()
    assert names() == set()


def test_the_source_is_asked_without_being_named_once_it_is_set_up(flows, server, crontab, names, platform):
    assert flows("auto-schedule", "--once").code == 0
    assert names() == tasks_of(SCHEDULED)
    platform.requests.clear()
    assert flows("auto-schedule", "--once", SC_BEARER="", SC_BEARER_FILE="").code == 0
    assert platform.requests == []
    assert names() == tasks_of(SCHEDULED)


def test_the_search_as_cron_starts_it_finds_new_devices(flows, server, crontab, names, platform):
    assert flows("auto-schedule", "--source", "smartcitizen").code == 0
    kit = platform.kits[IDS["never-published"]]
    kit.has_published = True
    assert flows("run", "--task", "auto-schedule", "--slot", str(NOW)).code == 0
    assert str(kit.id) in names()


def test_a_task_made_by_hand_is_not_the_searchs_to_remove(flows, search, names, platform):
    number = IDS["silent"]
    assert flows("manual-schedule", "--device", str(number)).code == 0
    assert search().code == 0
    assert str(number) in names()
    platform.kits[number].postprocessing["latest_postprocessing"] = stamp(0)
    answer = search("--json")
    assert answer.code == 0
    kept = [item for item in json.loads(answer.out)["items"] if item["name"] == str(number)]
    assert [item["why"] for item in kept] == ["scheduled by hand"]


def test_a_secret_does_for_the_token(flows, search, workspace, platform, names):
    (workspace / ".env").unlink()
    secrets = workspace / "data" / "secrets.yml"
    secrets.parent.mkdir()
    secrets.write_text("- {name: smartcitizen, type: token, token: demo-admin-token}\n")
    secrets.chmod(0o600)
    assert search().code == 0
    assert str(IDS["private"]) in names()
    assert {each["token"] for each in platform.requests if "/v0/" in each["path"]} == {"demo-admin-token"}


def test_an_unknown_kind_is_told(search):
    answer = search("--kind", "clean")
    assert answer.code == 2
    assert "process, backup" in answer.err


@pytest.mark.parametrize("setting", ["SC_API_URL", "BASE_POSTPROCESSING_URL", "SC_RETRY_SECONDS"])
def test_a_setting_that_cannot_be_is_told(search, setting):
    answer = search(**{setting: "ftp://"})
    assert answer.code == 2
    assert setting in answer.err
