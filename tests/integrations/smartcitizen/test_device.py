"""What the platform says of a device is read with care: dates, NaN, hardware in every form."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scflows.errors import Refused
from scflows.integrations.smartcitizen.access import Access
from scflows.integrations.smartcitizen.device import (
    LEAVE,
    REMOVE,
    SCHEDULE,
    decide_backup,
    decide_processing,
    device_of,
)
from scflows.integrations.smartcitizen.hardware import hardware_mistake, hardware_place

ACCESS = Access(
    "https://api.example.org/v0/", "https://files.example.org/base/", hosts=frozenset({"other.example.org"})
)
BASE = "https://files.example.org/base/hardware"
LAST = "2026-03-01T10:00:00Z"
JUNK = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.lists(st.text(), max_size=2)
EARLIER, LATER = "2026-03-01T09:59:59Z", "2026-03-01T10:00:01Z"


def decided(last: object, latest: object, **more: object) -> str:
    value = {"id": 7, "last_reading_at": last, "postprocessing": {"latest_postprocessing": latest}, **more}
    # As the platform sends it: NaN is no JSON, and comes all the same.
    device = device_of(json.loads(json.dumps(value)))
    assert device is not None
    return decide_processing(device, "")[0]


@pytest.mark.parametrize(
    ("last", "latest", "decision"),
    [
        (LAST, EARLIER, SCHEDULE),
        (LAST, LAST, SCHEDULE),
        (LAST, "2026-03-01T11:00:00+01:00", SCHEDULE),
        (LAST, "2026-03-01T10:00:00.000Z", SCHEDULE),
        (LAST, LATER, REMOVE),
        (LAST, None, SCHEDULE),
        (LAST, float("nan"), SCHEDULE),
        (LAST, "", SCHEDULE),
        (None, None, REMOVE),
        (float("nan"), None, REMOVE),
        (float("nan"), EARLIER, REMOVE),
        ("", EARLIER, REMOVE),
        ("yesterday", EARLIER, LEAVE),
        (LAST, "soon", LEAVE),
        (LAST, 17, LEAVE),
        (["2026"], None, LEAVE),
        ("0000-00-00T00:00:00Z", None, LEAVE),
    ],
)
def test_dates_decide(last, latest, decision):
    assert decided(last, latest) == decision


def test_a_device_without_postprocessing_is_not_processed_and_is_backed_up():
    device = device_of({"id": 7, "last_reading_at": LAST, "postprocessing": None})
    assert decide_processing(device, "")[0] == REMOVE
    assert decide_backup(device)[0] == SCHEDULE
    assert decide_backup(device_of({"id": 7, "last_reading_at": None}))[0] == REMOVE
    assert decide_backup(device_of({"id": 7, "last_reading_at": "never"}))[0] == LEAVE


@given(JUNK)
def test_whatever_stands_in_a_device_it_is_never_removed_for_what_cannot_be_read(junk):
    for key in ("last_reading_at", "postprocessing"):
        device = device_of({"id": 7, "last_reading_at": LAST, "postprocessing": {}, key: junk})
        if decide_processing(device, "")[0] == REMOVE:
            assert junk is None or junk == "" or junk != junk, junk


@given(st.none() | st.text(max_size=5) | st.fixed_dictionaries({"id": JUNK}))
def test_what_has_no_number_is_no_device(junk):
    device = device_of(junk)
    number = junk["id"] if isinstance(junk, dict) else None
    assert (device is not None) == (type(number) is int and number > 0)


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("SCAS210001", f"{BASE}/SCAS210001.json"),
        (" SCAS210001 ", f"{BASE}/SCAS210001.json"),
        (
            "https://raw.githubusercontent.com/fablabbcn/smartcitizen-data/master/hardware/SCAS210001.json",
            f"{BASE}/SCAS210001.json",
        ),
        (
            "https://raw.githubusercontent.com/fablabbcn/smartcitizen-data/refs/heads/feat/x/hardware/A.json",
            f"{BASE}/A.json",
        ),
        (
            "https://github.com/fablabbcn/smartcitizen-data/blob/master/hardware/SCAS210001.json",
            f"{BASE}/SCAS210001.json",
        ),
        ("https://github.com/fablabbcn/smartcitizen-data/raw/dev/hardware/SCAS210001", f"{BASE}/SCAS210001.json"),
        ("https://files.example.org/base/hardware/x.json", "https://files.example.org/base/hardware/x.json"),
        ("https://other.example.org/x.json", "https://other.example.org/x.json"),
    ],
)
def test_hardware_is_found_however_it_is_written(written, place):
    assert hardware_place(written, ACCESS) == place


@pytest.mark.parametrize(
    "written",
    [
        None,
        "",
        "  ",
        "../secrets",
        "a/b",
        "a?b",
        "http://files.example.org/base/hardware/x.json",
        "https://elsewhere.example.org/x.json",
        "https://user@other.example.org/x.json",
        "https://other.example.org.evil.example/x.json",
        "https://[",
        "file:///etc/passwd",
        "http://169.254.169.254/latest",
    ],
)
def test_hardware_elsewhere_is_never_asked_for(written):
    with pytest.raises(Refused):
        hardware_place(written, ACCESS)


@pytest.mark.parametrize(
    ("value", "is_one"),
    [
        ({"blueprint_url": "u", "versions": [{"ids": {}, "from": "2025-01-01", "to": None}], "forwarding": None}, True),
        ({}, True),
        ({"versions": None}, True),
        ([], False),
        (None, False),
        ("text", False),
        ({"versions": {}}, False),
        ({"versions": ["all"]}, False),
        ({"versions": [{"ids": [], "from": None}]}, False),
        ({"versions": [{"ids": {}, "from": "once"}]}, False),
        ({"blueprint_url": 1}, False),
    ],
)
def test_a_hardware_file_has_its_shape(value, is_one):
    assert (hardware_mistake(value) == "") == is_one
