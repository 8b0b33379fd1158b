"""Bring a period back from a backup, held to its manifest."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass

from scflows.errors import StepError
from scflows.integrations.smartcitizen.backup.period import NAME, period_of
from scflows.integrations.smartcitizen.backup.piece import folder_of, manifest_key, parquet_bytes, read_json, verified

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scflows.integrations.smartcitizen.backup.piece import Readings
    from scflows.integrations.smartcitizen.backup.store import Store

ENDINGS = (".csv", ".parquet")
COLUMNS = ("time", "sensor_id", "sensor", "unit", "value")


@dataclass(frozen=True)
class Restored:
    """A period that was brought back."""

    manifest: dict[str, Any]
    readings: Readings


def periods_of(device: int, store: Store) -> list[str]:
    """The periods of a device that are kept, oldest first. Raises StepError."""
    top = folder_of(device)
    names = (key.removeprefix(top).removesuffix(".json") for key in store.keys(top) if key.endswith(".json"))
    return [name for name in names if re.fullmatch(NAME, name)]


def restore(device: int, period: str, store: Store) -> Restored:
    """A period as it was backed up. Raises StepError where there is none, or it is not what it was."""
    period_of(period)
    key = manifest_key(device, period)
    manifest = read_json(store, key)
    if manifest is None:
        known = periods_of(device, store)
        told = f"there are {', '.join(known)}" if known else "there is none of this device"
        raise StepError(f"{store.location} has no backup of device {device} for {period}; {told}")
    return Restored(manifest, verified(store, manifest, key))


def file_content(restored: Restored, path: str) -> bytes:
    """The readings as the file that its ending asks for. Raises StepError for another ending."""
    if path.endswith(".parquet"):
        return parquet_bytes(restored.readings)
    if not path.endswith(".csv"):
        raise StepError(f"{path!r} ends with neither of {', '.join(ENDINGS)}")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    told = restored.manifest.get("sensors") or {}
    for sensor, readings in sorted(restored.readings.items()):
        of = told.get(str(sensor), {})
        for at, value in readings:
            writer.writerow((_time(at), sensor, of.get("name"), of.get("unit"), "" if value is None else repr(value)))
    return text.getvalue().encode()


def _time(at: int) -> str:
    from datetime import UTC, datetime

    seconds, rest = divmod(at, 1000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:03}Z" if rest else f"{text}Z"
