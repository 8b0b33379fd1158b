"""How a forwarding is doing: a file that others look at, and the same as a message."""

from __future__ import annotations

import json
import os
import time

from scflows.lock import is_alive
from scflows.safefile import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scflows.forward.bridge import Bridge
    from scflows.forward.names import NameTable
    from scflows.forward.spool import Spool
    from scflows.settings import Settings

#: Seconds between two writings of the file.
EVERY = 5.0
#: Seconds after which a file that is not written any more says that its process hangs.
STALE = 60.0
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
        "dropped": dict(counters.dropped),
        "repeated": getattr(bridge.source, "repeated", 0),
        "in_flight": bridge.in_flight,
        "last_forwarded": round(counters.last, 3) or None,
        "spool": {
            "messages": spool.count,
            "bytes": spool.bytes,
            "most_bytes": spool.most_bytes,
            "refused": spool.refused,
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
    """The states of all forwardings that were ever started, by name; those that were forgotten are not there."""
    try:
        names = sorted(name for name in os.listdir(folder(settings)) if name.endswith(".json"))
    except OSError:
        return []
    found = []
    for name in names:
        try:
            with open(os.path.join(folder(settings), name), encoding="utf-8") as file:
                told = json.load(file)
        except (OSError, ValueError):
            continue
        if isinstance(told, dict) and told.get("name") == name.removesuffix(".json"):
            found.append(told)
    return found


def judge(told: dict[str, Any], now: float) -> tuple[str, str]:
    """How bad it is, as OK, WARN or FAIL, and why in words."""
    if told.get("ended"):
        waiting = told["spool"]["messages"]
        return (WARN, f"stopped; {waiting} messages wait on the disk") if waiting else (OK, "stopped")
    if is_alive(str(told.get("process", ""))) is False:
        return FAIL, "its process died; start it again"
    if now - told["updated"] > STALE:
        return FAIL, f"it has not moved for {now - told['updated']:.0f} s; stop it and start it again"
    if not told["source"]["up"]:
        return FAIL, f"{told['source']['name']}: {told['source']['problem']}"
    names = told.get("names")
    if names and names["problem"] and not names["read"]:
        return FAIL, f"names: {names['problem']}"
    spool = told["spool"]
    if spool["bytes"] >= spool["most_bytes"]:
        return FAIL, f"the disk's share is full: {spool['messages']} messages wait for {told['sink']['name']}"
    if not told["sink"]["up"]:
        return WARN, f"{told['sink']['name']}: {told['sink']['problem']}; {spool['messages']} messages wait on the disk"
    if names and names["problem"]:
        return WARN, f"names: {names['problem']}; the old ones hold"
    if spool["refused"]:
        return WARN, f"{spool['refused']} messages were refused and are kept beside"
    return OK, f"{told['forwarded']} forwarded, {spool['messages']} wait on the disk"
