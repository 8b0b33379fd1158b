"""The data and behaviour of the mock without HTTP: devices, users, readings, permissions."""

from __future__ import annotations

import threading
import time

from scflows.integrations.smartcitizen.demo.faults import Faults, RateLimit
from scflows.integrations.smartcitizen.demo.files import RAW, SINCE, all_files
from scflows.integrations.smartcitizen.demo.kinds import USERS, all_kinds, crowd
from scflows.integrations.smartcitizen.demo.kit import ADMIN, RESEARCHER, Kit, User
from scflows.integrations.smartcitizen.demo.readings import read_time, rolled_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

#: What a PATCH may change of a device's postprocessing.
WRITABLE = ("blueprint_url", "hardware_url", "latest_postprocessing", "meta", "forwarding_params")
LONGEST_RECORD = 200_000


class Answer(Exception):
    """An error response."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"id": code, "message": message, "url": "", "errors": ""}


class Platform:
    """The mock platform, in memory. `clock` returns the time (epoch); with a fixed one all responses are the same."""

    def __init__(
        self,
        kits: Iterable[Kit] | None = None,
        clock: Callable[[], float] = time.time,
        rate_limit: int | None = None,
    ) -> None:
        self.clock = clock
        self.kits = {kit.id: kit for kit in (all_kinds(self.now) if kits is None else kits)}
        self.files = all_files()
        self.faults = Faults()
        self.rate = RateLimit(rate_limit)
        self.requests: list[dict[str, Any]] = []  #: what was asked: method, path, token, status
        self.posted: list[dict[str, Any]] = []  #: each reading: device, sensor, time, value
        self.patches: list[dict[str, Any]] = []  #: each PATCH: device, token, the attributes, whether they were taken
        self.overlap = 0  #: how many devices of the page before each page shows again
        self.lock = threading.RLock()

    @property
    def now(self) -> int:
        return int(self.clock())

    def add_crowd(self, count: int, hardware_files: int) -> None:
        """Add many devices that share a number of hardware files."""
        self.kits.update((kit.id, kit) for kit in crowd(count, hardware_files, self.now))
        recipe = {"blueprint_url": f"{RAW}/blueprints/sck_demo.json", "description": "one of a crowd"}
        version: dict[str, Any] = {"ids": {}, "from": SINCE, "to": None}
        for number in range(hardware_files):
            self.files[f"hardware/crowd-{number}.json"] = {**recipe, "versions": [version], "forwarding": None}

    def user_of(self, token: str) -> User | None:
        """Return the user of a token; None without one. Raises Answer for an unknown token."""
        if not token:
            return None
        for user in USERS:
            if user.token == token:
                return user
        raise Answer(401, "unauthorized", "Invalid OAuth Token")

    def device(self, number: int, user: User | None) -> Kit:
        """Return a device that a user may see. Raises Answer."""
        kit = self.kits.get(number)
        if kit is None:
            raise Answer(404, "record_not_found", "Couldn't find Device")
        if kit.is_private and not may_change(kit, user):
            raise Answer(403, "forbidden", "Not authorized")
        return kit

    def devices(self, query: dict[str, str], user: User | None) -> list[Kit]:
        """Return the devices that match a search, in the requested order."""
        found = [kit for kit in self.kits.values() if not kit.is_private or may_change(kit, user)]
        for key, value in query.items():
            if key.startswith("q[") and key != "q[s]":
                found = [kit for kit in found if _fits(kit, key[2:-1], value)]
        if query.get("q[s]") == "id asc":
            found.sort(key=lambda kit: kit.id)
        return found

    def users(self, query: dict[str, str], user: User | None) -> list[User]:
        """Return the users that match a search."""
        found = list(USERS)
        for key, value in query.items():
            if key == "q[role_mask_eq]":
                if user is None or user.mask != ADMIN:
                    raise Answer(400, "bad_request", "Invalid search term role_mask_eq")
                found = [each for each in found if str(each.mask) == value]
            elif key.startswith("q[") and key != "q[s]":
                raise Answer(400, "bad_request", f"Invalid search term {key[2:-1]}")
        return found

    def shown_user(self, owner: User, user: User | None) -> dict[str, Any]:
        """Return the JSON of a user, with the devices that the requesting user may see."""
        own = [kit for kit in self.kits.values() if kit.owner == owner]
        devices = [
            kit.shown(self.now, may_change(kit, user), is_short=True)
            for kit in sorted(own, key=lambda kit: kit.id)
            if not kit.is_private or may_change(kit, user)
        ]
        return owner.shown(devices, self.now)

    def readings(self, kit: Kit, query: dict[str, str]) -> dict[str, Any]:
        """Return the readings of a sensor. Raises Answer for an invalid request."""
        try:
            sensor = int(query["sensor_id"])
            begin = read_time(query.get("from") or "2001-01-01")
            end = read_time(query["to"]) if query.get("to") else self.now + 366 * 86400
            limit = int(query["limit"]) if query.get("limit") else None
            rollup = query["rollup"]
            if sensor in kit.failing:
                # What a fault of the storage looks like: JSON, and no readings in it.
                return {"id": "internal_server_error", "message": "storage is away", "url": "", "errors": ""}
            with self.lock:
                found = rolled_up(self._stored(kit, sensor, begin, end, limit), rollup, query.get("function", "avg"))
        except (KeyError, ValueError) as error:
            raise Answer(400, "bad_request", f"cannot be asked: {error}") from error
        return {
            "device_id": kit.id,
            "sensor_key": str(sensor),
            "sensor_id": sensor,
            "component_id": kit.id * 1000 + sensor,
            "rollup": rollup,
            "function": query.get("function", "avg"),
            "from": query.get("from"),
            "to": query.get("to"),
            "sample_size": len(found),
            "readings": found[::-1],
        }

    def _stored(self, kit: Kit, sensor: int, begin: int, end: int, limit: int | None) -> list[tuple[int, float]]:
        """Return time and value, oldest first; the limit counts stored readings."""
        found = {}
        for at in kit.series(sensor, self.now).times(begin, end):
            found[at] = kit.value(sensor, at)
            if limit is not None and len(found) >= limit:
                break
        found.update((at, value) for at, value in kit.added.get(sensor, {}).items() if begin <= at <= end)
        return sorted(found.items())[:limit]

    def post(self, kit: Kit, user: User | None, body: Any) -> dict[str, Any]:
        """Store posted readings. Raises Answer."""
        self._may(kit, user, "POST")
        data = body.get("data") if isinstance(body, dict) else None
        if not isinstance(data, list):
            raise Answer(422, "unprocessable_entity", "there is no data")
        if data and not data[0].get("recorded_at"):
            # The real one answers 200 all the same.
            return {"id": "bad", "message": "a reading has no time", "url": "", "errors": ""}
        with self.lock:
            for row in data:
                at = read_time(row["recorded_at"])
                for each in row["sensors"]:
                    kit.added.setdefault(each["id"], {})[at] = each["value"]
                    self.posted.append({"device": kit.id, "sensor": each["id"], "time": at, "value": each["value"]})
        return {"id": "ok", "message": "Data successfully sent to queue", "url": "", "errors": ""}

    def patch(self, kit: Kit, user: User | None, body: Any) -> dict[str, Any]:
        """Change a device's postprocessing as far as the user may, and return the device. Raises Answer."""
        self._may(kit, user, "PATCH")
        given = body.get("postprocessing_attributes") if isinstance(body, dict) else None
        may_write = user is not None and user.mask in (RESEARCHER, ADMIN)
        with self.lock:
            if may_write and isinstance(given, dict):
                written = {name: given[name] for name in WRITABLE if name in given}
                fresh = {"id": kit.id, "device_id": kit.id}
                kit.postprocessing = {**(kit.postprocessing or fresh), **written}
            token = user.token if user else ""
            self.patches.append({"device": kit.id, "token": token, "attributes": given, "taken": may_write})
        return kit.shown(self.now, True)

    def _may(self, kit: Kit, user: User | None, method: str) -> None:
        if not may_change(kit, user) or method in kit.refused:
            raise Answer(403, "forbidden", "Not authorized")


def may_change(kit: Kit, user: User | None) -> bool:
    """Return True if a user owns a device or is an admin."""
    return user is not None and (user.mask == ADMIN or user == kit.owner)


def _fits(kit: Kit, term: str, value: str) -> bool:
    """Return True if a device matches a Ransack search term. Raises Answer for an unsupported term."""
    match term:
        case "postprocessing_id_not_null":
            return kit.postprocessing is not None
        case "postprocessing_id_null":
            return kit.postprocessing is None
        case "id_eq":
            return str(kit.id) == value
        case "name_cont":
            return value.lower() in kit.name.lower()
        case "name_eq":
            return value == kit.name
        case "owner_username_eq":
            return value == kit.owner.username
    raise Answer(400, "bad_request", f"Invalid search term {term}")
