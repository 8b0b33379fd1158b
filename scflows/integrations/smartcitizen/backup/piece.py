"""The readings of one period as a Parquet file, and the manifest that says what is in it."""

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
#: What to do about a period that is damaged.
AGAIN = (
    "; put it back from a copy, or take what the platform still has: remove manifest and file, then run the backup with"
    " `again` for this period"
)
#: How much of a file's checksum its name has.
MARK = 12


def folder_of(device: int) -> str:
    """Below which key a device's objects are, with the slash."""
    return f"devices/{device}/"


def manifest_key(device: int, period: str) -> str:
    return f"{folder_of(device)}{period}.json"


def parquet_bytes(readings: Readings) -> bytes:
    """One row for each reading: `time` (UTC, milliseconds), `sensor_id`, `value`; by sensor, then by time.

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
    """The readings in such a file. Raises StepError that begins with `where`, MissingExtra."""
    arrow = import_optional("pyarrow", "parquet")
    parquet = import_optional("pyarrow.parquet", "parquet")
    try:
        table = parquet.read_table(arrow.BufferReader(content), columns=["time", "sensor_id", "value"])
        times = table["time"].cast(arrow.int64()).to_pylist()
    except (arrow.ArrowException, OSError, KeyError) as error:
        raise StepError(f"{where}: no readings: {' '.join(str(error).split())[:200]}") from error
    found: dict[int, list[Reading]] = {}
    for at, sensor, value in zip(times, table["sensor_id"].to_pylist(), table["value"].to_pylist(), strict=True):
        found.setdefault(sensor, []).append((at, value))
    return found


def united(old: Readings, new: Readings) -> dict[int, list[Reading]]:
    """All readings of both; at the same time of the same sensor the new one."""
    found = {}
    for sensor in {*old, *new}:
        found[sensor] = sorted({**dict(old.get(sensor, ())), **dict(new.get(sensor, ()))}.items())
    return found


def figures(readings: list[Reading]) -> dict[str, Any]:
    """What a manifest says of a sensor's readings."""
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
    """SHA-256, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def read_json(store: Store, key: str) -> dict[str, Any] | None:
    """A mapping that is kept as JSON; None for nothing. Raises StepError."""
    content = store.get(key)
    if content is None:
        return None
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise StepError(f"{store.location}/{key}: is no JSON mapping; mend or remove it")
    if value.get("schema") != SCHEMA:
        raise StepError(f"{store.location}/{key}: schema {value.get('schema')!r}, not {SCHEMA}: of another version?")
    return value


def write_json(store: Store, key: str, value: dict[str, Any]) -> None:
    """Keep a mapping as JSON. Raises StepError."""
    content = json.dumps({"schema": SCHEMA, **value}, ensure_ascii=False, allow_nan=False, indent=1)
    store.put(key, content.encode("utf-8", "backslashreplace") + b"\n")


def verified(store: Store, manifest: Mapping[str, Any], of: str) -> dict[int, list[Reading]]:
    """The readings that a manifest tells of, held to its checksum, rows and values; `of` is its own key.

    Raises StepError that names the first thing that is not as the manifest says.
    """
    where = f"{store.location}/{of}"
    key, told = manifest.get("file"), manifest.get("sensors") or {}
    if key is None and manifest.get("rows") == 0:
        return {}
    top = of.removesuffix("json")
    # It could name a file that is none of ours, which would be removed once there is a newer one.
    is_own = isinstance(key, str) and key.startswith(top) and "/" not in key.removeprefix(top)
    if not isinstance(key, str) or not is_own or not _is_told(told):
        raise StepError(f"{where}: the manifest is damaged{AGAIN}")
    content = store.get(key)
    if content is None:
        raise StepError(f"{where}: {key} is not there{AGAIN}")
    if len(content) != manifest.get("bytes") or checksum(content) != manifest.get("sha256"):
        raise StepError(f"{where}: {key} is not the file that was written: its checksum is another{AGAIN}")
    readings = read_parquet(content, f"{where}: {key}")
    for sensor in sorted({*readings, *(int(each) for each in told if told[each].get("rows"))}):
        found = figures(readings.get(sensor, []))
        for name, value in found.items():
            wanted = told.get(str(sensor), {}).get(name)
            if value != wanted:
                raise StepError(f"{where}: sensor {sensor}: {name} is {value!r}, not {wanted!r} as it was")
    rows = sum(len(each) for each in readings.values())
    if rows != manifest.get("rows"):
        raise StepError(f"{where}: {rows} rows, not {manifest.get('rows')!r} as there were")
    return readings


def _is_told(sensors: Any) -> bool:
    return isinstance(sensors, dict) and all(
        name.isascii() and name.isdigit() and isinstance(each, dict) for name, each in sensors.items()
    )
