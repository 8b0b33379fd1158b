"""The readings of one period as a Parquet file, and its manifest."""

from __future__ import annotations

import hashlib
import io
import json
import math

from scflows.connectors.tables import import_optional
from scflows.errors import StepError
from scflows.integrations.smartcitizen.readings import stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from scflows.integrations.smartcitizen.backup.store import Store
    from scflows.integrations.smartcitizen.readings import Reading

    #: The readings of each sensor by its id, oldest first.
    Readings = Mapping[int, list[Reading]]

SCHEMA = 1
#: The advice for a damaged period.
AGAIN = (
    "; restore it from a copy, or fetch it from the platform: remove manifest and file, then run the backup with"
    " `again` for this period"
)
#: The number of digits of the checksum in the file name.
MARK = 12


def folder_of(device: int) -> str:
    """Return the prefix of a device's keys, with the slash."""
    return f"devices/{device}/"


def manifest_key(device: int, period: str) -> str:
    return f"{folder_of(device)}{period}.json"


def parquet_bytes(readings: Readings) -> bytes:
    """Return a Parquet file with a row per reading: `time` (UTC, milliseconds), `sensor_id`, `value`.

    Raises MissingExtra.
    """
    arrow = import_optional("pyarrow", "parquet")
    parquet = import_optional("pyarrow.parquet", "parquet")
    rows = [(at, sensor, value) for sensor in sorted(readings) for at, value in readings[sensor]]
    table = arrow.table(
        {
            "time": arrow.array([row[0] for row in rows], arrow.int64()).cast(arrow.timestamp("ms", "UTC")),
            "sensor_id": arrow.array([row[1] for row in rows], arrow.int32()),
            "value": arrow.array([row[2] for row in rows], arrow.float64()),
        }
    )
    sink = io.BytesIO()
    parquet.write_table(table, sink, compression="zstd", use_dictionary=["sensor_id"])
    return sink.getvalue()


def read_parquet(content: bytes, where: str) -> dict[int, list[Reading]]:
    """Return the readings in a Parquet file. Raises StepError, beginning with `where`, and MissingExtra."""
    arrow = import_optional("pyarrow", "parquet")
    parquet = import_optional("pyarrow.parquet", "parquet")
    try:
        table = parquet.read_table(arrow.BufferReader(content), columns=["time", "sensor_id", "value"])
        times = table["time"].cast(arrow.int64()).to_pylist()
    except (arrow.ArrowException, OSError, KeyError) as error:
        raise StepError(f"{where}: cannot be read: {' '.join(str(error).split())[:200]}") from error
    found: dict[int, list[Reading]] = {}
    for at, sensor, value in zip(times, table["sensor_id"].to_pylist(), table["value"].to_pylist(), strict=True):
        found.setdefault(sensor, []).append((at, value))
    return found


def united(old: Readings, new: Readings) -> dict[int, list[Reading]]:
    """Merge readings; for the same sensor and time the new value takes precedence."""
    found = {}
    for sensor in {*old, *new}:
        found[sensor] = sorted({**dict(old.get(sensor, ())), **dict(new.get(sensor, ()))}.items())
    return found


def figures(readings: list[Reading]) -> dict[str, Any]:
    """Return the statistics of a sensor's readings for the manifest."""
    values = [value for _, value in readings if value is not None]
    return {
        "rows": len(readings),
        "first": stamp(readings[0][0] / 1000) if readings else None,
        "last": stamp(readings[-1][0] / 1000) if readings else None,
        "min": min(values, default=None),
        "max": max(values, default=None),
        "sum": math.fsum(values),
        "nulls": len(readings) - len(values),
    }


def checksum(content: bytes) -> str:
    """Return the SHA-256 checksum in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def read_json(store: Store, key: str) -> dict[str, Any] | None:
    """Read a JSON mapping; return None if it does not exist. Raises StepError."""
    content = store.get(key)
    if content is None:
        return None
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise StepError(f"{store.location}/{key}: not a JSON mapping; fix or remove it")
    if value.get("schema") != SCHEMA:
        raise StepError(
            f"{store.location}/{key}: schema {value.get('schema')!r}, not {SCHEMA}: written by another version"
        )
    return value


def write_json(store: Store, key: str, value: dict[str, Any]) -> None:
    """Write a mapping as JSON. Raises StepError."""
    content = json.dumps({"schema": SCHEMA, **value}, ensure_ascii=False, allow_nan=False, indent=1)
    store.put(key, content.encode("utf-8", "backslashreplace") + b"\n")


def verified(store: Store, manifest: Mapping[str, Any], of: str) -> dict[int, list[Reading]]:
    """Return the readings of a manifest after verifying checksum, rows and values; `of` is the manifest's key.

    Raises StepError for the first difference.
    """
    where = f"{store.location}/{of}"
    key, sensors = manifest.get("file"), manifest.get("sensors") or {}
    if key is None and manifest.get("rows") == 0:
        return {}
    top = of.removesuffix("json")
    # A damaged manifest could name another file, which would be removed with the next backup.
    is_own = isinstance(key, str) and key.startswith(top) and "/" not in key.removeprefix(top)
    if not isinstance(key, str) or not is_own or not _has_sensors(sensors):
        raise StepError(f"{where}: the manifest is damaged{AGAIN}")
    content = store.get(key)
    if content is None:
        raise StepError(f"{where}: {key} is missing{AGAIN}")
    if len(content) != manifest.get("bytes") or checksum(content) != manifest.get("sha256"):
        raise StepError(f"{where}: {key} is damaged: its checksum does not match{AGAIN}")
    readings = read_parquet(content, f"{where}: {key}")
    for sensor in sorted({*readings, *(int(each) for each in sensors if sensors[each].get("rows"))}):
        found = figures(readings.get(sensor, []))
        for name, value in found.items():
            expected = sensors.get(str(sensor), {}).get(name)
            if value != expected:
                raise StepError(f"{where}: sensor {sensor}: {name} is {value!r}, expected {expected!r}")
    rows = sum(len(each) for each in readings.values())
    if rows != manifest.get("rows"):
        raise StepError(f"{where}: {rows} rows, expected {manifest.get('rows')!r}")
    return readings


def _has_sensors(sensors: Any) -> bool:
    return isinstance(sensors, dict) and all(
        name.isascii() and name.isdigit() and isinstance(each, dict) for name, each in sensors.items()
    )
