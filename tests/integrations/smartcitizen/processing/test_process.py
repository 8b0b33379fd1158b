"""A device of every kind, processed by the real packages against the stand-in for the platform."""

from __future__ import annotations

import json
import time

import pytest

from scflows.integrations.smartcitizen.demo.kinds import GUEST, all_kinds
from scflows.integrations.smartcitizen.demo.platform import Platform
from scflows.integrations.smartcitizen.demo.readings import read_time
from scflows.integrations.smartcitizen.processing.process import (
    DATA_POSTING_FAILED,
    DEVICE_NOT_VALID,
    EMPTY_DATA,
    LOADING_FAILED,
    NOT_VALID_FOR_PROCESSING,
    POSTPROCESSING_UPDATE_FAILED,
    PROCESSED,
    PROCESSING_FAILED,
)

pytestmark = pytest.mark.language("§10 device")

#: The sensor that the values of the channel 301 are those of.
TEMP = 55

OUTCOMES = {
    PROCESSED: (
        "due raw-url page-url gas two-versions forward never-processed equal behind holes fast private stuck"
        " implausible low-battery ahead"
    ),
    DEVICE_NOT_VALID: (
        "no-place odd-meta no-blueprint old-blueprint foreign-module foreign-blueprint foreign-hardware"
        " hardware-missing hardware-not-json hardware-wrong-shape hardware-null hardware-empty odd-last-reading"
        " odd-latest plain"
    ),
    NOT_VALID_FOR_PROCESSING: "blueprint-only",
    EMPTY_DATA: "no-needed-sensors no-needed-readings nothing-new silent never-published",
    PROCESSING_FAILED: "uncalibrated half-calibrated failing-sensor",
    POSTPROCESSING_UPDATE_FAILED: "no-channels",
    DATA_POSTING_FAILED: "post-refused patch-refused",
}
KINDS = {kind: outcome for outcome, kinds in OUTCOMES.items() for kind in kinds.split()}
REASONS = {
    "foreign-module": "os.system",
    "foreign-blueprint": "files.example.org",
    "foreign-hardware": "files.example.org",
    "hardware-missing": "404",
    "hardware-not-json": "not JSON",
    "no-place": "timezone",
    "uncalibrated": "162999999",
    "failing-sensor": "PM2.5",
    "post-refused": "403",
    "patch-refused": "403",
}


def test_a_device_of_every_kind_ends_as_the_table_says(work, platform, posted, expected):
    kits = list(platform.kits.values())
    assert {kit.kind for kit in kits} == set(KINDS)
    before = {kit.id: dict(kit.postprocessing or {}) for kit in kits}
    runs = [{"device": kit.id} for kit in kits]
    told = work("process_all", {"runs": runs})
    ended = {kit.kind: answer for kit, answer in zip(kits, told.answer, strict=True)}
    assert {kind: answer["outcome"] for kind, answer in ended.items()} == KINDS
    for kind, part in REASONS.items():
        assert part in ended[kind]["message"], kind

    for kit in kits:
        own = [each for each in platform.posted if each["device"] == kit.id]
        patches = [each for each in platform.patches if each["device"] == kit.id]
        answer = ended[kit.kind]
        # What the record counts is what the platform has taken.
        assert answer["readings"] == (0 if kit.kind == "patch-refused" else len(own)), kit.kind
        assert len(patches) == answer["pieces"], kit.kind
        if KINDS[kit.kind] != PROCESSED:
            assert kit.postprocessing is None or kit.postprocessing == before[kit.id], kit.kind
            continue
        # No reading that is a kit's own is posted back, and the address of its hardware stays as it was written.
        assert {each["sensor"] for each in own} <= {152, 153, 154, 301, 302, 303}
        assert kit.postprocessing["hardware_url"] == before[kit.id]["hardware_url"]
        latest = read_time(kit.postprocessing["latest_postprocessing"])
        assert latest == max(each["time"] for each in own) // 60 * 60 + 60
        assert latest > kit.last_reading(platform.now)
    for kind in ("due", "holes", "fast", "behind", "never-processed", "equal", "ahead"):
        kit = next(kit for kit in kits if kit.kind == kind)
        begin = before[kit.id]["latest_postprocessing"]
        wanted = expected(kit, kit.first if begin is None else read_time(begin), kit.last or platform.now)
        found = posted(kit)
        assert [at for at, _ in found] == sorted(wanted), kind
        assert dict(found) == pytest.approx(wanted, abs=1e-3), kind

    # Twelve of the kinds have the same hardware, and all need the names: each file was asked for once.
    files = [each["path"] for each in platform.requests if each["path"].startswith("/base/") and each["status"] == 200]
    assert len(files) == len(set(files)) > 8
    assert {each["token"] for each in platform.requests if each["path"].startswith("/base/")} == {""}


def test_catching_up_over_several_runs_leaves_every_reading_once(work, platform, kit, posted, expected):
    # At the end of a minute: the process has another clock, by which all of them are over.
    now = [platform.now // 60 * 60 + 59]
    platform.clock = lambda: now[0]
    devices = [kit("behind"), kit("holes"), kit("fast"), kit("due")]
    slow, holes, fast, long_hole = devices
    # Two of three minutes have two readings; a date a minute after a row would leave one out.
    fast.interval = 45
    # Longer than a piece, in one sensor and in all of them.
    holes.holes[53] = ((now[0] - 8 * 3600, now[0] - 3600),)
    begun = {each.id: each.postprocessing["latest_postprocessing"] for each in devices}
    hole = (now[0] - 2 * 86400, now[0] - 5 * 3600)
    long_hole.holes = dict.fromkeys(long_hole.sensors, (hole,))
    long_hole.postprocessing["latest_postprocessing"] = begun[long_hole.id] = "2026-09-19T10:00:00Z"
    patched = f"/v0/devices/{slow.id}/"
    # In the middle: readings that cannot be had, a chunk that is not taken, a date that is not taken.
    for fault in (
        {"path": "sensor_id=87", "skip": 2, "times": 3, "status": 500},
        {"path": f"{slow.id}/readings", "method": "POST", "skip": 4, "times": 9, "status": 500},
        {"path": patched, "method": "PATCH", "skip": 2, "times": 1, "status": 502},
    ):
        platform.faults.add(_fault(fault))
    outcomes = []
    for _ in range(2):
        runs = [{"device": each.id, "limit": 360, "pieces": 3} for each in devices for _ in range(5)]
        outcomes += [answer["outcome"] for answer in work("process_all", {"runs": runs}).answer]
        now[0] += 1800
    # Some went wrong, and the next run made it good.
    assert {PROCESSING_FAILED, DATA_POSTING_FAILED, PROCESSED} <= set(outcomes)
    for each in devices:
        begin = begun[each.id]
        end = now[0] - 1800 - (now[0] - 1800) % 60
        start = each.first if begin is None else read_time(begin)
        found = [(at, value) for at, value in posted(each) if at < end]
        wanted = {at: value for at, value in expected(each, start, end + 59).items() if at < end}
        if each is not slow:
            # Nothing went wrong here: not even the same reading twice.
            assert len(found) == len(dict(found)), each.kind
        assert dict(found) == pytest.approx(wanted, abs=1e-3), each.kind
        for channel, sensor in ((302, 53), (303, 87)):
            times = {at for at, _ in posted(each, channel) if at < end}
            assert times == {at for at in expected(each, start, end + 59, sensor) if at < end}, (each.kind, channel)


def test_what_goes_on_or_is_still_to_come_is_left_for_the_next_run(work, platform, kit, posted, expected):
    platform.clock = time.time
    device, ahead = kit("fast"), kit("due")
    device.interval, device.last = 7, None
    device.postprocessing["latest_postprocessing"] = _stamp(platform.now - 600)
    # A clock that was wrong for a moment: readings of an hour from now, and of years from now.
    now = platform.now - platform.now % 60
    ahead.first, ahead.last = now - 7200, now - 3600
    ahead.added[TEMP] = {now - 1800: 21.0, now + 5 * 365 * 86400: 21.0}
    ahead.postprocessing["latest_postprocessing"] = _stamp(now - 7200)
    runs = [{"device": ahead.id, "now": now - 3600 + 5}, {"device": ahead.id, "now": now}, {"device": ahead.id}]
    runs.append({"device": device.id})
    early, late, again, _ = work("process_all", {"runs": runs}).answer
    assert (early["until"], early["minutes_left"]) == (_stamp(now - 3660), 0)
    assert (late["until"], late["minutes_left"], again["outcome"]) == (_stamp(now - 1800), 0, EMPTY_DATA)
    assert [at for at, _ in posted(ahead)] == [*range(now - 7200, now - 3600 + 1, 60), now - 1800]
    found = posted(device)
    assert len(found) >= 8
    # What the minutes that are over have is not changed by anything that comes later.
    wanted = expected(device, found[0][0], found[-1][0] // 60 * 60 + 59)
    assert dict(found) == pytest.approx(wanted, abs=1e-3)
    assert found[-1][0] // 60 * 60 + 60 <= time.time()


def test_functions_that_look_back_have_no_holes_between_pieces(work, platform, kit, posted):
    for channel in platform.files["blueprints/sck_demo.json"]["channels"]:
        if channel["name"] == "TEMP_CLEAN":
            channel["kwargs"]["window"] = 5
    device = kit("behind")
    device.postprocessing["latest_postprocessing"] = _stamp(platform.now - platform.now % 60 - 6 * 3600)
    work("process_all", {"runs": [{"device": device.id, "limit": 60}]})
    raw = {at: device.value(55, at) for at in device.series(55, platform.now).times(0, platform.now)}
    times = sorted(raw)
    found = posted(device)
    assert len(found) == 360
    for at, value in found:
        place = times.index(at)
        assert value == pytest.approx(sum(raw[each] for each in times[place - 4 : place + 1]) / 5, abs=1e-3)


def test_a_dry_run_changes_nothing_and_a_run_without_room_says_what_is_left(work, platform, kit):
    device = kit("behind").id
    runs = [{"device": device}, {"device": device, "pieces": 2}, {"device": device, "seconds": 0}]
    whole, short, hasty = work("process_all", {"runs": runs}, is_dry=True).answer
    assert {each["outcome"] for each in (whole, short, hasty)} == {PROCESSED}
    assert whole["readings"] == 3 * 2880
    assert "would post 8640 readings" in whole["message"]
    assert (short["pieces"], short["minutes_left"]) == (2, 1880)
    assert "1880 minutes are left" in short["message"]
    # There is always room for one.
    assert (hasty["pieces"], hasty["minutes_left"]) == (1, 2380)
    assert {each["method"] for each in platform.requests} == {"GET"}


def test_an_outage_is_told_as_one(work, platform, kit, server):
    def led(path, **more):
        return {"path": path, "status": 302, "location": f"http://localhost:{server.server_port}/elsewhere", **more}

    kinds = {
        "due": ({"path": "/v0/devices/13001/readings", "how": "drop"}, LOADING_FAILED, "Disconnected"),
        "raw-url": ({"path": "/v0/devices/13002/readings", "status": 500}, LOADING_FAILED, "no readings of"),
        "page-url": ({"path": "/v0/devices/13003", "status": 503}, DEVICE_NOT_VALID, "503"),
        "gas": ({"path": "/v0/devices/13004", "skip": 1, "how": "cut"}, LOADING_FAILED, ""),
        "two-versions": (led("/v0/devices/13005/readings"), LOADING_FAILED, "302: it leads elsewhere"),
        "forward": (led("/v0/devices/13006"), DEVICE_NOT_VALID, "302: it leads to localhost"),
        "never-processed": (led("/v0/devices/13007/readings", method="POST"), DATA_POSTING_FAILED, "302: it leads to"),
    }
    devices = [kit(kind) for kind in kinds]
    before = json.dumps([each.postprocessing for each in devices])
    for fault, _, _ in kinds.values():
        platform.faults.add(_fault(fault))
    answers = work("process_all", {"runs": [{"device": each.id} for each in devices]}).answer
    for answer, (_, outcome, part) in zip(answers, kinds.values(), strict=True):
        assert (answer["outcome"], answer["pieces"]) == (outcome, 0)
        assert part in answer["message"]
    assert json.dumps([each.postprocessing for each in devices]) == before
    assert platform.posted == []
    assert not any("elsewhere" in each["path"] for each in platform.requests)


def test_a_change_that_is_not_taken_and_another_device_are_told_though_the_answer_says_success(
    platform, kit, work, access
):
    # The platform lets an owner post, and leaves out of a change what is for researchers.
    kit("due").owner = GUEST
    object.__setattr__(access, "token", GUEST.token)
    kit("equal").shown_as = {"id": 999}
    runs = [{"device": kit("due").id}, {"device": kit("equal").id}]
    answer, other = work("process_all", {"runs": runs}).answer
    assert answer["outcome"] == DATA_POSTING_FAILED
    assert "researchers and admins" in answer["message"]
    assert (other["outcome"], other["message"]) == (DEVICE_NOT_VALID, "the platform answered with device 999")
    assert platform.patches[-1]["taken"] is False


def test_without_the_files_of_the_host_nothing_is_begun(work, platform, kit):
    platform.faults.add(_fault({"path": "/base/names", "status": 500}))
    answer = work("process_all", {"runs": [{"device": kit("due").id}]}).answer[0]
    assert answer["outcome"] == LOADING_FAILED
    assert "names/SCDevice.json: 500" in answer["message"]


def test_the_stand_in_is_as_the_kinds_say():
    assert {kit.kind for kit in all_kinds(Platform(clock=lambda: 1_790_000_000).now)} == set(KINDS)


def _fault(given):
    from scflows.integrations.smartcitizen.demo.faults import Fault

    return Fault.from_dict(given)


def _stamp(at):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
