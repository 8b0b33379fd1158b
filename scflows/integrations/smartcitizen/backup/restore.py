"""Restore a period from a backup, verified by its manifest."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass

from scflows.errors import StepError
from scflows.integrations.smartcitizen.backup.period import NAME, period_of
from scflows.integrations.smartcitizen.backup.piece import folder_of, manifest_key, parquet_bytes, read_json, verified
from scflows.integrations.smartcitizen.readings import stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scflows.integrations.smartcitizen.backup.piece import Readings
    from scflows.integrations.smartcitizen.backup.store import Store

ENDINGS = (".csv", ".parquet")
COLUMNS = ("time", "sensor_id", "sensor", "unit", "value")


@dataclass(frozen=True)
class Restored:
    """A restored period."""

    manifest: dict[str, Any]
    readings: Readings


def periods_of(device: int, store: Store) -> list[str]:
    """Return the periods of a device in the store, oldest first. Raises StepError."""
    top = folder_of(device)
    names = (key.removeprefix(top).removesuffix(".json") for key in store.keys(top) if key.endswith(".json"))
    return [name for name in names if re.fullmatch(NAME, name)]


def restore(device: int, period: str, store: Store) -> Restored:
    """Return a period from the backup. Raises StepError if it is missing or damaged."""
    period_of(period)
    key = manifest_key(device, period)
    manifest = read_json(store, key)
    if manifest is None:
        known = periods_of(device, store)
        hint = f"it has {', '.join(known)}" if known else "it has no backup of this device"
        raise StepError(f"{store.location} has no backup of device {device} for {period}; {hint}")
    return Restored(manifest, verified(store, manifest, key))


def file_content(restored: Restored, path: str) -> bytes:
    """Return the readings in the format of the path's extension. Raises StepError for another extension."""
    if path.endswith(".parquet"):
        return parquet_bytes(restored.readings)
    if not path.endswith(".csv"):
        raise StepError(f"{path!r} must end in one of {', '.join(ENDINGS)}")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    sensors = restored.manifest.get("sensors") or {}
    for sensor, readings in sorted(restored.readings.items()):
        of = sensors.get(str(sensor), {})
        for at, value in readings:
            writer.writerow((_time(at), sensor, of.get("name"), of.get("unit"), "" if value is None else repr(value)))
    return text.getvalue().encode()


def _time(at: int) -> str:
    seconds, rest = divmod(at, 1000)
    return stamp(seconds).replace("Z", f".{rest:03}Z" if rest else "Z")
