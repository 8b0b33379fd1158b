"""Back up one device: every completed period that is not backed up yet."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from scflows import __version__
from scflows.errors import StepError
from scflows.integrations.smartcitizen.backup.period import Period, period_at, period_of, read_stamp
from scflows.integrations.smartcitizen.backup.piece import (
    MARK,
    checksum,
    figures,
    folder_of,
    manifest_key,
    parquet_bytes,
    read_json,
    united,
    verified,
    write_json,
)
from scflows.integrations.smartcitizen.device import parse_date
from scflows.integrations.smartcitizen.readings import stamp, stored_readings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from scflows.integrations.smartcitizen.backup.store import Store
    from scflows.integrations.smartcitizen.client import Client

BACKUP_DONE, NO_NEW_DATA, EMPTY_DATA, BACKUP_FAILED = "BACKUP_DONE", "NO_NEW_DATA", "EMPTY_DATA", "BACKUP_FAILED"
#: The begin of the first period, whatever the device's age, because its first readings may be from an unset clock.
BEGINNING = 0
DAY = 86400
#: The public properties of a device. Others may be secret, like its token.
KEPT = ("id", "uuid", "name", "description", "state", "system_tags", "user_tags", "created_at", "updated_at")
KEPT_BELOW = {
    "location": ("exposure", "elevation", "latitude", "longitude", "geohash", "city", "country_code", "country"),
    "hardware": ("name", "type", "version", "slug"),
    "owner": ("id", "username"),
    "postprocessing": ("blueprint_url", "hardware_url", "latest_postprocessing"),
}
KEPT_OF_SENSOR = ("id", "name", "description", "unit", "default_key")


@dataclass
class Backup:
    """The result of a run."""

    outcome: str = NO_NEW_DATA
    message: str = ""
    rows: int = 0
    pieces: list[dict[str, Any]] = field(default_factory=list)  #: period, rows, bytes, file
    has_more: bool = False  #: whether there are periods left for the next run


@dataclass(frozen=True)
class BackupPlan:
    """The length of periods, and how many a run backs up."""

    length: str = "month"  #: `month` or `day`
    grace: float = 86400.0  #: seconds to wait for late readings after the end of a period
    most: int = 12  #: periods per run


def back_up(
    device: int,
    client: Client,
    store: Store,
    cut: BackupPlan,
    now: float,
    remaining: Callable[[], float | None],
    report: Callable[[str], None],
) -> Backup:
    """Back up the completed periods of a device, oldest first, until the `remaining` time runs short.

    A period is complete once the device has published after its end. If the device falls silent before, its readings so
    far are backed up, and the period is backed up again once the device is back, because it may send stored readings.
    Raises StepError, Unreachable, Refused, NotFound.
    """
    known = _known(client, device)
    last = _date(known, "last_reading_at")
    done = Backup()
    if last is None:
        done.message = "the device has never published"
        return done
    state_key = f"{folder_of(device)}state.json"
    state = read_json(store, state_key)
    period, begin, seen = _next_period(known, state, cut, f"{store.location}/{state_key}", now)
    longest = 0.0
    while True:
        if begin > last or (seen is not None and last < seen + 1):
            done.message = f"no new readings since {stamp(last)}"
            break
        if period.end + cut.grace > now:
            done.message = f"{period.name} will be backed up after the period ends"
            break
        left = remaining()
        if len(done.pieces) >= cut.most or (longest and left is not None and left < 2 * longest):
            done.has_more = True
            break
        started = time.monotonic()
        if not done.pieces:
            write_json(store, f"{folder_of(device)}device.json", public_part(known))
        piece = _store_period(device, known, client, store, period, begin, last)
        done.pieces.append(piece)
        done.rows += piece["rows"]
        report(_described(piece))
        is_whole = last >= period.end
        if is_whole:
            begin, seen = period.end, None
        else:
            seen = last
        following = None if begin == BEGINNING else stamp(begin)
        write_json(
            store, state_key, {"device": device, "next": following, "seen": None if seen is None else stamp(seen)}
        )
        longest = max(longest, time.monotonic() - started)
        if is_whole:
            period = period_at(begin, cut.length)
    if done.pieces:
        done.outcome = BACKUP_DONE if done.rows else EMPTY_DATA
        done.message = f"{done.rows} readings, {_range_text([each['period'] for each in done.pieces])}"
        done.message += _odd_note(sum(each["odd"] for each in done.pieces))
    if done.has_more:
        done.message += "; more in the next run"
    return done


def back_up_again(device: int, client: Client, store: Store, name: str, report: Callable[[str], None]) -> Backup:
    """Back up a period again, for late readings; earlier readings stay. Raises the same errors."""
    period = period_of(name)
    manifest = read_json(store, manifest_key(device, name))
    begin = BEGINNING if manifest is not None and manifest.get("from") is None else period.begin
    known = _known(client, device)
    piece = _store_period(device, known, client, store, period, begin, _date(known, "last_reading_at"))
    report(_described(piece))
    outcome = BACKUP_DONE if piece["rows"] else EMPTY_DATA
    return Backup(outcome, f"{piece['rows']} readings, {name}{_odd_note(piece['odd'])}", piece["rows"], [piece])


def public_part(known: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a device without its token and other properties that may be secret."""
    found: dict[str, Any] = {name: known.get(name) for name in KEPT}
    for name, parts in KEPT_BELOW.items():
        of = known.get(name)
        found[name] = {part: of.get(part) for part in parts} if isinstance(of, dict) else None
    found["sensors"] = [{name: each.get(name) for name in KEPT_OF_SENSOR} for each in _sensors(known)]
    return found


def _store_period(
    device: int, known: dict[str, Any], client: Client, store: Store, period: Period, begin: int, last: float | None
) -> dict[str, Any]:
    """Back up the readings of a period, file before manifest, together with those backed up before."""
    key = manifest_key(device, period.name)
    before = read_json(store, key)
    odd: list[str] = []
    readings = {
        each["id"]: list(stored_readings(client, device, each["id"], begin, period.end, odd))
        for each in _sensors(known)
    }
    if before is not None:
        readings = united(verified(store, before, key), readings)
        begin = BEGINNING if before.get("from") is None else begin
    described = {str(each["id"]): {name: each.get(name) for name in KEPT_OF_SENSOR[1:]} for each in _sensors(known)}
    rows = sum(len(each) for each in readings.values())
    content = parquet_bytes(readings) if rows else b""
    digest = checksum(content)
    file = f"{folder_of(device)}{period.name}.{digest[:MARK]}.parquet" if rows else None
    if file is not None:
        store.put(file, content)
    manifest = {
        "device": device,
        "period": period.name,
        "from": None if begin == BEGINNING else stamp(period.begin),
        "to": stamp(period.end),
        "last_reading_at": None if last is None else stamp(last),
        "is_whole": last is not None and last >= period.end,
        "file": file,
        "bytes": len(content),
        "sha256": digest,
        "rows": rows,
        "sensors": {
            str(sensor): {**described.get(str(sensor), {}), **figures(found)}
            for sensor, found in sorted(readings.items())
        },
        "made_by": f"scflows/{__version__}",
    }
    write_json(store, key, manifest)
    old = None if before is None else before.get("file")
    if isinstance(old, str) and old != file:
        store.remove(old)
    with_readings = sum(1 for each in readings.values() if each)
    found = {"period": period.name, "rows": rows, "sensors": with_readings, "bytes": len(content), "file": file}
    return {**found, "odd": len(odd), "example": odd[0] if odd else None}


def _described(piece: dict[str, Any]) -> str:
    text = f"{piece['period']}: {piece['rows']} readings of {piece['sensors']} sensors, {piece['bytes']} bytes"
    return text + _odd_note(piece["odd"], piece["example"])


def _odd_note(count: int, example: str | None = None) -> str:
    shown = f", for example {example!r}," if example is not None else ""
    return f"; {count} values that are not numbers{shown} are stored as null" if count else ""


def _known(client: Client, device: int) -> dict[str, Any]:
    known = client.api(f"devices/{device}")
    if not isinstance(known, dict) or known.get("id") != device:
        raise StepError(f"the response of the platform for {device} is not a device")
    list(_sensors(known))
    return known


def _sensors(known: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the sensors, including those that processing has added. Raises StepError."""
    data = known.get("data")
    listed = data.get("sensors") if isinstance(data, dict) else None
    if not isinstance(listed, list):
        raise StepError(f"the response of the platform for device {known.get('id')} has no list of sensors")
    for each in listed:
        number = each.get("id") if isinstance(each, dict) else None
        if isinstance(number, bool) or not isinstance(number, int):
            raise StepError(f"a sensor of device {known.get('id')} has no number")
        yield each


def _date(known: dict[str, Any], name: str) -> float | None:
    try:
        return parse_date(known.get(name))
    except ValueError:
        raise StepError(f"{name} of device {known['id']} is not a date: {str(known.get(name))[:40]!r}") from None


def _next_period(
    known: dict[str, Any], state: dict[str, Any] | None, cut: BackupPlan, where: str, now: float
) -> tuple[Period, int, float | None]:
    """Return the next period, the time it starts from, and the time of the last reading known from the last run."""
    help = "; fix it, or remove it to back up all periods again"
    seen = None if state is None or state.get("seen") is None else read_stamp(state["seen"], where)
    if state is not None and state.get("device", known["id"]) != known["id"]:
        raise StepError(f"{where}: it belongs to device {str(state['device'])[:40]!r}{help}")
    if state is not None and state.get("next") is not None:
        begin = int(read_stamp(state["next"], where))
        if not BEGINNING <= begin <= now + 32 * DAY or begin % DAY:
            raise StepError(f"{where}: 'next' is {str(state['next'])[:40]!r}, which is not the begin of a period{help}")
        return period_at(begin, cut.length), begin, seen
    made = _date(known, "created_at")
    first = made if made is not None else _date(known, "last_reading_at")
    assert first is not None
    return period_at(first, cut.length), BEGINNING, seen


def _range_text(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
