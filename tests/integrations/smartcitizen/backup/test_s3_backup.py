"""The same into an S3 store, a real server on loopback."""

from __future__ import annotations

import csv
import io
import json
import time

import pytest

from scflows.connectors.s3 import client
from tests.integrations.smartcitizen.backup.conftest import DEVICE
from tests.integrations.smartcitizen.backup.test_backup import at, stored

pytestmark = pytest.mark.language("§10 device_backup", "§10 device_restore")
LOGIN = {"access_key": "kit", "secret_key": "s3cret-word"}


@pytest.fixture
def bucket(s3_server, workspace) -> str:
    """A new bucket; `.env` says where it is and who logs in."""
    name = f"b{time.time_ns()}"
    client({"url": s3_server, **LOGIN}).create_bucket(Bucket=name)
    return name


@pytest.fixture
def with_bucket(run, bucket, s3_server, workspace):
    with (workspace / ".env").open("a") as file:
        file.write(f"S3_DATA_BUCKET={bucket}\nAWS_ENDPOINT_URL={s3_server}\n")
        file.write("AWS_ACCESS_KEY_ID=kit\nAWS_SECRET_ACCESS_KEY=s3cret-word\n")
    return run


def test_what_is_backed_up_to_s3_comes_back_with_the_same_values(with_bucket, kit, workspace, s3_server, bucket):
    ended = with_bucket("backup")
    assert (ended["status"], ended["reason"]) == ("success", "BACKUP_DONE"), ended
    assert ended["data"]["backup"]["store"] == f"s3://{bucket}"
    assert with_bucket("backup")["reason"] == "NO_NEW_DATA"
    back = []
    for period in ("2021-01", "2021-02", "2021-03"):
        restored = with_bucket("restore", period=period)
        assert restored["status"] == "success", restored
        text = (workspace / "data" / "restored" / f"{DEVICE}-{period}.csv").read_text()
        rows = csv.DictReader(io.StringIO(text))
        back += [(at(row["time"][:-1]), int(row["sensor_id"]), float(row["value"])) for row in rows]
    assert sorted(back) == sorted(stored(kit))
    assert not (workspace / "data" / "backup").exists()


def test_a_prefix_and_a_secret_say_where_and_who(run, s3_server, bucket, workspace, run_flow, settings, server):
    from scflows.settings import read_settings

    (workspace / "data").mkdir(exist_ok=True)
    secrets = workspace / "data" / "secrets.yml"
    secrets.write_text(
        f'- {{name: store, type: credential, url: "{s3_server}", username: kit, password: s3cret-word}}\n'
    )
    secrets.chmod(0o600)
    used = read_settings(str(workspace), {**settings.environment, **server.settings})
    options = f"{{id: '{DEVICE}', store: 's3://{bucket}/kits/', secret: store, max_periods: 1}}"
    done = run_flow(f"steps: [{{name: b, type: device_backup, device_backup: {options}}}]", settings=used)
    assert done.status == "success", done.message
    assert "s3cret-word" not in done.log
    store = client({"url": s3_server, **LOGIN})
    keys = [each["Key"] for each in store.list_objects_v2(Bucket=bucket)["Contents"]]
    top = f"kits/devices/{DEVICE}/"
    assert sorted(key.removeprefix(top).rpartition(".")[2] for key in keys) == ["json", "json", "json", "parquet"]
    state = json.loads(store.get_object(Bucket=bucket, Key=f"{top}state.json")["Body"].read())
    assert state["next"] == "2021-02-01T00:00:00Z"


def test_a_store_that_refuses_fails_the_backup_and_says_why(with_bucket, s3_server, bucket, workspace):
    ended = with_bucket("backup", store="s3://no-such-bucket-here")
    assert ended["reason"] == "BACKUP_FAILED"
    assert "NoSuchBucket" in ended["message"]
    away = with_bucket("backup", variables={"AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    assert away["reason"] == "BACKUP_FAILED"
    assert "127.0.0.1:9" in away["message"]
