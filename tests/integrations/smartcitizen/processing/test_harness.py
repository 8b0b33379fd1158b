"""A device's process: what it finds, what it says, what becomes of it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scflows.errors import StepError
from scflows.integrations.smartcitizen.access import Access

pytestmark = pytest.mark.language("§10 device")


def test_it_finds_folders_of_its_own_and_little_else(work, settings, access, environment, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nobody's business")
    told = work("look")
    variables = told.answer["variables"]
    assert variables["API_URL"] == access.api_url
    assert variables["SC_BEARER"] == access.token
    folder = Path(variables["HOME"])
    assert folder.is_relative_to(settings.state_path)
    assert Path(variables["XDG_CONFIG_HOME"]).is_relative_to(folder)
    assert "AWS_SECRET_ACCESS_KEY" not in variables
    assert access.token not in " ".join(told.answer["words"])
    assert not folder.exists()
    assert told.answer["folder"] == []
    assert ("info", "printed") in told.lines


def test_what_goes_wrong_is_told_and_leaves_nothing(work, settings):
    with pytest.raises(StepError, match="ValueError: on purpose") as failed:
        work("fail")
    assert failed.value.details["exception"] == "ValueError"
    with pytest.raises(StepError, match="out of memory"):
        work("fill", {"bytes": 2**30}, memory=300)
    assert work("fill", {"bytes": 2**27}, memory=300).answer == 2**27
    assert os.listdir(os.path.join(settings.state_path, "device")) == [".lock"]


def test_what_a_killed_one_left_is_swept_away(work, settings):
    left = Path(settings.state_path) / "device" / "999999999-0a0b0c0d"
    (left / "cache").mkdir(parents=True)
    work("look")
    assert not left.exists()


def test_a_request_to_anywhere_else_is_not_made(access):
    assert access.is_platform(access.api_url + "devices/1")
    for url in ("https://example.org/v0/devices/1", access.api_url.replace("/v0/", "/v1/"), access.files_url):
        assert not access.is_platform(url)


def test_many_at_once_ask_the_host_once_for_a_file(settings, access, platform, tmp_path):
    from scflows.integrations.smartcitizen.processing.shared_files import HOUR, SharedFiles

    now, told = [1000.0], []
    url = access.files_url + "names/SCDevice.json"

    def read(number: int) -> bytes:
        return SharedFiles(str(tmp_path / "files"), access, told.append, lambda: now[0]).read(url)

    def asked() -> list[int]:
        found = [each["status"] for each in platform.requests]
        platform.requests.clear()
        return found

    with ThreadPoolExecutor(12) as pool:
        assert len(set(pool.map(read, range(12)))) == 1
    assert asked() == [200]
    # After an hour the host is asked whether it has changed.
    now[0] += HOUR
    first = read(0)
    assert asked() == [304]
    now[0] += HOUR
    platform.files["names/SCDevice.json"] = [{"id": 1, "name": "NEW", "description": "", "unit": ""}]
    assert read(0) != first
    assert asked() == [200]
    # While it is away, what it said last is used, and it is not asked by each one again.
    now[0] += HOUR
    platform.faults.add(_fault({"path": "/base/", "status": 503}))
    assert b"NEW" in read(0) + read(1)
    assert asked() == [503]
    assert "503" in told[0]
    now[0] += 8 * 24 * HOUR
    from scflows.errors import Unreachable

    with pytest.raises(Unreachable, match="503"):
        read(0)


def test_the_token_is_not_sent_to_another_place(access):
    assert "token" not in repr(Access("a/", "b/", "secret-token"))


def _fault(given):
    from scflows.integrations.smartcitizen.demo.faults import Fault

    return Fault.from_dict(given)
