"""The status of a forwarding, as a file and as a message."""

from __future__ import annotations

import json
import os
import time

from scflows.integrations.forward.route import UNKNOWN
from scflows.locks import is_alive
from scflows.storage import names_in, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scflows.integrations.forward.bridge import Bridge
    from scflows.integrations.forward.lookup_table import NameTable
    from scflows.integrations.forward.spool import Spool
    from scflows.settings import Settings

#: Seconds between two updates of the file.
INTERVAL = 5.0
#: Seconds without an update after which the process is considered stuck.
STALE = 60.0
#: For how many seconds a message with an unknown name causes a warning.
UNKNOWN_FOR = 600.0
#: The required keys of a status file, with the types of their values.
SHAPE: dict[str, object] = {
    "name": str,
    "process": str,
    "updated": (int, float),
    "source": {"name": str, "up": bool, "problem": str},
    "sink": {"name": str, "up": bool, "problem": str},
    "forwarded": int,
    "dropped": dict,
    "spool": {"messages": int, "bytes": int, "most_bytes": int, "refused": int, "problem": str},
}
NAMES_SHAPE = {"read": (int, float), "problem": str}
OK, WARN, FAIL = "ok", "warn", "FAIL"


def folder(settings: Settings) -> str:
    """Return the folder with the files of forwardings."""
    return os.path.join(settings.state_path, "forward")


def status_file(settings: Settings, name: str) -> str:
    """Return the path of the status file of a forwarding."""
    return os.path.join(folder(settings), f"{name}.json")


def snapshot(
    name: str, process: str, started: float, bridge: Bridge, spool: Spool, table: NameTable | None
) -> dict[str, Any]:
    """Return the status of a forwarding as JSON values; times are seconds since the epoch, sizes bytes."""
    counters = bridge.counters
    return {
        "name": name,
        "process": process,
        "started": round(started, 3),
        "updated": round(time.time(), 3),
        "source": {"name": bridge.source.name, "up": bridge.source.is_up, "problem": bridge.source.problem},
        "sink": {"name": bridge.sink.name, "up": bridge.sink.is_up, "problem": bridge.sink.problem},
        "received": counters.received,
        "forwarded": counters.forwarded,
        "spooled": counters.spooled,
        "refused": counters.refused,
        "dropped": {**counters.dropped, **getattr(bridge.source, "dropped", {})},
        "last_unknown": round(counters.last_unknown, 3) or None,
        "repeated": getattr(bridge.source, "repeated", 0),
        "in_flight": bridge.in_flight,
        "last_forwarded": round(counters.last, 3) or None,
        "spool": {
            "messages": spool.count,
            "bytes": spool.bytes,
            "most_bytes": spool.max_bytes,
            "refused": spool.refused,
            "problem": bridge.disk_problem,
        },
        "names": None
        if table is None
        else {"rows": len(table), "read": round(table.read_at), "problem": table.problem},
    }


def message(state: str, name: str, status: dict[str, Any] | None = None) -> bytes:
    """Return a status message: `state` is `online`, `offline` (ended on purpose) or `lost` (the last will)."""
    shown = {key: value for key, value in (status or {}).items() if key not in ("process", "name")}
    return json.dumps({"name": name, "state": state, **shown}, separators=(",", ":")).encode()


def write(settings: Settings, status: dict[str, Any]) -> None:
    """Write the status file; ignore errors, because a full disk must not stop the forwarding."""
    try:
        text = json.dumps(status, indent=1)
        replace(status_file(settings, status["name"]), f"{text}\n".encode(), mode=0o600, durable=False)
    except OSError:
        pass


def read_all(settings: Settings) -> list[dict[str, Any]]:
    """Return the status of every forwarding with a status file, by name.

    If the file is damaged, there are only `name` and `unreadable`, its path.
    """
    found = []
    for name in names_in(folder(settings), ".json"):
        path = os.path.join(folder(settings), name)
        status: Any = None
        try:
            with open(path, encoding="utf-8") as file:
                status = json.load(file)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError):
            pass
        name = name.removesuffix(".json")
        if (
            _has(status, SHAPE)
            and status["name"] == name
            and (not status.get("names") or _has(status["names"], NAMES_SHAPE))
        ):
            found.append(status)
        else:
            found.append({"name": name, "unreadable": path})
    return found


def _has(status: Any, shape: Any) -> bool:
    if not isinstance(shape, dict):
        return isinstance(status, shape)
    return isinstance(status, dict) and all(_has(status.get(key), kind) for key, kind in shape.items())


def evaluate(status: dict[str, Any], now: float) -> tuple[str, str]:
    """Return OK, WARN or FAIL, and the reason."""
    if "unreadable" in status:
        return FAIL, f"{status['unreadable']}: unreadable; remove it (a running forwarding writes it again)"
    spool, names, sink = status["spool"], status.get("names"), status["sink"]
    if status.get("ended"):
        waiting = spool["messages"]
        return (WARN, f"stopped; {waiting} messages wait on the disk") if waiting else (OK, "stopped")
    if is_alive(status["process"]) is False:
        return FAIL, "its process died; start it again"
    if now - status["updated"] > STALE:
        return FAIL, f"no update for {now - status['updated']:.0f} s; stop it and start it again"
    if names and names["problem"] and not names["read"]:
        return FAIL, f"names: {names['problem']}"
    if spool["problem"] and (spool["messages"] or not sink["up"]):
        return FAIL, f"{spool['problem']}: {spool['messages']} messages wait for {_described(sink)}"
    if not status["source"]["up"]:
        return FAIL, _described(status["source"])
    if not sink["up"] or sink["problem"]:
        return WARN, f"{_described(sink)}; {spool['messages']} messages wait on the disk"
    return _evaluate_messages(status, now)


def _evaluate_messages(status: dict[str, Any], now: float) -> tuple[str, str]:
    spool, names, unknown = status["spool"], status.get("names"), status.get("last_unknown")
    if spool["problem"]:
        return WARN, str(spool["problem"])
    if names and names["problem"]:
        return WARN, f"names: {names['problem']}; the old names are still used"
    if isinstance(unknown, int | float) and now - unknown < UNKNOWN_FOR:
        return WARN, f"{status['dropped'].get(UNKNOWN, 0)} messages dropped because their names are not in the table"
    if spool["refused"]:
        return WARN, f"{spool['refused']} messages were refused and set aside"
    return OK, f"{status['forwarded']} forwarded, {spool['messages']} wait on the disk"


def _described(end: dict[str, Any]) -> str:
    return f"{end['name']}: {end['problem']}" if end["problem"] else str(end["name"])
