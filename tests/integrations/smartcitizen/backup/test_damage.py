"""Files of a backup that are not what they were: told with what to do, and nothing else is touched."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from scflows.errors import StepError
from scflows.integrations.smartcitizen.backup.device import BackupPlan, back_up
from scflows.integrations.smartcitizen.backup.piece import checksum, figures, parquet_bytes
from scflows.integrations.smartcitizen.backup.restore import restore
from scflows.integrations.smartcitizen.backup.store import Folder
from tests.integrations.smartcitizen.backup.conftest import at

pytestmark = pytest.mark.language("§10 device_backup", "§10 device_restore")

READINGS = {55: [(at("2021-02-01") * 1000, 20.5), (at("2021-02-02") * 1000, None)]}
KEY = "devices/7/2021-02.json"
FILE = "devices/7/2021-02.abc.parquet"


@pytest.fixture
def store(tmp_path):
    """A month of a device, as a backup leaves it."""
    store, content = Folder(str(tmp_path / "backup"), "backup"), parquet_bytes(READINGS)
    sensors = {"55": figures(READINGS[55])}
    manifest = {"schema": 1, "file": FILE, "rows": 2, "sensors": sensors, "from": None}
    store.put(KEY, json.dumps({**manifest, "bytes": len(content), "sha256": checksum(content)}).encode())
    store.put(FILE, content)
    return store


@pytest.mark.parametrize(
    "change",
    [
        {"sensors": {"x": {"rows": 1}}},
        {"sensors": {"55": 5}},
        {"sensors": []},
        {"rows": None},
        {"rows": 0, "file": 5},
        {"file": None},
        {"file": "devices/7/2021-02./../../../.env"},
        {"file": "devices/8/2021-02.abc.parquet"},
        {"bytes": "many"},
    ],
    ids=str,
)
def test_a_damaged_manifest_is_told(store, change):
    assert restore(7, "2021-02", store).readings == READINGS
    told = json.loads(store.get(KEY))
    store.put(KEY, json.dumps({**told, **change}).encode())
    with pytest.raises(StepError, match=f"backup/{KEY}: "):
        restore(7, "2021-02", store)


def test_a_torn_file_says_how_to_go_on(store):
    store.put(FILE, store.get(FILE)[:200])
    with pytest.raises(StepError, match="remove manifest and file, then run the backup with `again`"):
        restore(7, "2021-02", store)


@pytest.mark.parametrize(
    "state",
    [
        "",
        "[]",
        '{"schema": 1, "device": 7, "next": "soon"}',
        '{"schema": 1, "device": 7, "next": 5}',
        '{"schema": 1, "device": 7, "next": "9999-12-31T00:00:00Z"}',
        '{"schema": 1, "device": 7, "next": "2021-02-13T11:11:11Z"}',
        '{"schema": 1, "device": 8, "next": "2021-02-01T00:00:00Z"}',
        '{"schema": 1, "device": 7, "next": null, "seen": []}',
    ],
)
def test_a_damaged_state_is_told_and_left(store, state):
    store.put("devices/7/state.json", state.encode())
    known = {"id": 7, "last_reading_at": "2021-02-02T00:00:00Z", "data": {"sensors": []}}
    client = SimpleNamespace(api=lambda path: known)
    with pytest.raises(StepError, match=r"backup/devices/7/state.json: "):
        back_up(7, client, store, BackupPlan(), at("2021-05-01"), lambda: None, print)
    assert store.get("devices/7/state.json") == state.encode()
