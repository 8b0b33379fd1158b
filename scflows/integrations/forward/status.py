"""How a forwarding is doing: a file that others look at, and the same as a message."""

from __future__ import annotations

import json
import os
import time

from scflows.integrations.forward.route import UNKNOWN
from scflows.locks import is_alive
from scflows.storage import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scflows.integrations.forward.bridge import Bridge
    from scflows.integrations.forward.lookup_table import NameTable
    from scflows.integrations.forward.spool import Spool
    from scflows.settings import Settings

#: Seconds between two writings of the file.
EVERY = 5.0
#: Seconds after which a file that is not written any more says that its process hangs.
STALE = 60.0
#: For how many seconds a message whose name nobody knows is worth a warning.
UNKNOWN_FOR = 600.0
#: What the file of a forwarding has at least, with the kinds of the values.
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
    """Where forwardings keep their files."""
    return os.path.join(settings.state_path, "forward")


def status_file(settings: Settings, name: str) -> str:
    return os.path.join(folder(settings), f"{name}.json")


def snapshot(
    name: str, process: str, started: float, bridge: Bridge, spool: Spool, table: NameTable | None
) -> dict[str, Any]:
    """The state of a forwarding as JSON values; times are seconds since the epoch, sizes bytes."""
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
            "most_bytes": spool.most_bytes,
            "refused": spool.refused,
            "problem": bridge.disk_problem,
        },
        "names": None
        if table is None
        else {"rows": len(table), "read": round(table.read_at), "problem": table.problem},
    }


def message(state: str, name: str, told: dict[str, Any] | None = None) -> bytes:
    """What the status topic is given: `state` is `online`, `offline` (ended on purpose) or `lost` (the last will)."""
    shown = {key: value for key, value in (told or {}).items() if key not in ("process", "name")}
    return json.dumps({"name": name, "state": state, **shown}, separators=(",", ":")).encode()


def write(settings: Settings, told: dict[str, Any]) -> None:
    """Keep the state for whoever looks; a disk that is full must not stop the messages."""
    try:
        text = json.dumps(told, indent=1)
        replace(status_file(settings, told["name"]), f"{text}\n".encode(), mode=0o600, durable=False)
    except OSError:
        pass


def read_all(settings: Settings) -> list[dict[str, Any]]:
    """The states of all forwardings that were ever started, by name; those that were forgotten are not there.

    One whose file is none has its `name` and, under `unreadable`, the path alone.
    """
    try:
        names = sorted(name for name in os.listdir(folder(settings)) if name.endswith(".json"))
    except OSError:
        return []
    found = []
    for name in names:
        path = os.path.join(folder(settings), name)
        told: Any = None
        try:
            with open(path, encoding="utf-8") as file:
                told = json.load(file)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError):
            pass
        name = name.removesuffix(".json")
        if _has(told, SHAPE) and told["name"] == name and (not told.get("names") or _has(told["names"], NAMES_SHAPE)):
            found.append(told)
        else:
            found.append({"name": name, "unreadable": path})
    return found


def _has(told: Any, shape: Any) -> bool:
    if not isinstance(shape, dict):
        return isinstance(told, shape)
    return isinstance(told, dict) and all(_has(told.get(key), kind) for key, kind in shape.items())


def evaluate(told: dict[str, Any], now: float) -> tuple[str, str]:
    """How bad it is, as OK, WARN or FAIL, and why in words."""
    if "unreadable" in told:
        return FAIL, f"{told['unreadable']}: unreadable; remove it: one that runs writes it anew"
    spool, names, sink = told["spool"], told.get("names"), told["sink"]
    if told.get("ended"):
        waiting = spool["messages"]
        return (WARN, f"stopped; {waiting} messages wait on the disk") if waiting else (OK, "stopped")
    if is_alive(told["process"]) is False:
        return FAIL, "its process died; start it again"
    if now - told["updated"] > STALE:
        return FAIL, f"it has not moved for {now - told['updated']:.0f} s; stop it and start it again"
    if names and names["problem"] and not names["read"]:
        return FAIL, f"names: {names['problem']}"
    if spool["problem"] and (spool["messages"] or not sink["up"]):
        return FAIL, f"{spool['problem']}: {spool['messages']} messages wait for {_told(sink)}"
    if not told["source"]["up"]:
        return FAIL, _told(told["source"])
    if not sink["up"] or sink["problem"]:
        return WARN, f"{_told(sink)}; {spool['messages']} messages wait on the disk"
    return _judge_messages(told, now)


def _judge_messages(told: dict[str, Any], now: float) -> tuple[str, str]:
    spool, names, unknown = told["spool"], told.get("names"), told.get("last_unknown")
    if spool["problem"]:
        return WARN, str(spool["problem"])
    if names and names["problem"]:
        return WARN, f"names: {names['problem']}; the old ones hold"
    if isinstance(unknown, int | float) and now - unknown < UNKNOWN_FOR:
        return WARN, f"{told['dropped'].get(UNKNOWN, 0)} messages left out, whose names the table does not have"
    if spool["refused"]:
        return WARN, f"{spool['refused']} messages were refused and are kept beside"
    return OK, f"{told['forwarded']} forwarded, {spool['messages']} wait on the disk"


def _told(end: dict[str, Any]) -> str:
    return f"{end['name']}: {end['problem']}" if end["problem"] else str(end["name"])
