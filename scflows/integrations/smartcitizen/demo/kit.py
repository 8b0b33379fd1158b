"""A device of the mock, and its JSON for different users."""

from __future__ import annotations

from dataclasses import dataclass, field

from scflows.integrations.smartcitizen.demo.sensors import KIT, SENSORS, Series, uuid
from scflows.integrations.smartcitizen.readings import stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FILTERED = "[FILTERED]"
CITIZEN, RESEARCHER, ADMIN = 0, 4, 5
ROLES = {CITIZEN: "citizen", RESEARCHER: "researcher", ADMIN: "admin"}


@dataclass(frozen=True)
class User:
    """A user account."""

    id: int
    username: str
    mask: int
    token: str

    def shown(self, devices: list[dict[str, Any]], now: int) -> dict[str, Any]:
        place = {"city": "Demo", "country": "Demo", "country_code": "XX"}
        return {
            "id": self.id,
            "uuid": uuid("user", self.id),
            "role": ROLES[self.mask],
            "username": self.username,
            "profile_picture": "",
            "location": place,
            "updated_at": stamp(now),
            "devices": devices,
        }


@dataclass
class Kit:
    """A device. Times are epochs."""

    id: int
    kind: str  #: the kind of example
    owner: User
    first: int  #: its first reading
    last: int | None = None  #: its last reading; None: it is still publishing
    interval: int = 60  #: seconds between two readings
    sensors: tuple[int, ...] = KIT
    holes: dict[int, tuple[tuple[int, int], ...]] = field(default_factory=dict)  #: by sensor
    has_published: bool = True
    is_private: bool = False
    has_place: bool = True
    refused: tuple[str, ...] = ()  #: methods that are refused for everyone
    failing: tuple[int, ...] = ()  #: sensors whose readings are never found
    quirk: str = ""  #: how its values are wrong: `stuck`, `implausible`, `low-battery`
    postprocessing: dict[str, Any] | None = None
    shown_as: dict[str, Any] = field(default_factory=dict)  #: overrides of top-level properties
    added: dict[int, dict[int, float]] = field(default_factory=dict)  #: what was posted: sensor, time, value

    @property
    def name(self) -> str:
        return f"Demo kit {self.id} ({self.kind})"

    def last_reading(self, now: int) -> int | None:
        """Return the time of its last reading."""
        if not self.has_published:
            return None
        last = self.last if self.last is not None else now - (now - self.first) % self.interval
        return max([last, *(max(times) for times in self.added.values() if times)])

    def series(self, sensor: int, now: int) -> Series:
        last = self.last if self.last is not None else now
        if not self.has_published or sensor not in self.sensors:
            last = self.first - 1
        return Series(self.first, last, self.interval, self.holes.get(sensor, ()))

    def value(self, sensor: int, at: int) -> float:
        """Return the value of one of its own sensors at a time."""
        known = SENSORS[sensor]
        if self.quirk == "stuck" and known.key == "TEMP":
            return known.middle
        if self.quirk == "implausible" and known.key == "PM_25":
            return 9999.0
        if self.quirk == "low-battery" and known.key == "BATT":
            return 4.0
        return known.value(self.id, at)

    def shown(self, now: int, knows_all: bool, is_short: bool = False) -> dict[str, Any]:
        """Return its JSON; `knows_all` for its owner and admins, `is_short` as part of a user."""
        last = self.last_reading(now)
        place = {"latitude": 41.4, "longitude": 2.19, "elevation": 10, "geohash": "sp3e"} if self.has_place else {}
        status = {"id": f"demo-{self.id}", "mac": "00:00:00:00:00:00", "time": stamp(now), "esp_bd": "demo"}
        status |= {"hw_ver": "2.1", "sam_bd": "demo", "esp_ver": "0.0.0", "sam_ver": "0.0.0"}
        found: dict[str, Any] = {
            "id": self.id,
            "uuid": uuid("device", self.id),
            "name": self.name,
            "description": None,
            "state": "has_published" if self.has_published else "never_published",
            "system_tags": ["online" if last and now - last < 3600 else "offline", "outdoor"],
            "user_tags": [],
            "last_reading_at": None if last is None else stamp(last),
            "created_at": stamp(self.first - 3600),
            "updated_at": stamp(last or self.first),
            "notify": {"stopped_publishing": False, "low_battery": False},
            "device_token": f"demo-token-{self.id}" if knows_all else FILTERED,
            "postprocessing": self.postprocessing,
            "location": {
                "exposure": "outdoor",
                **{key: place.get(key) for key in ("elevation", "latitude", "longitude", "geohash")},
                "city": "Demo",
                "country_code": "XX",
                "country": "Demo",
            },
            "data_policy": {
                "is_private": self.is_private,
                "enable_forwarding": False if knows_all else FILTERED,
                "precise_location": True if knows_all else FILTERED,
                "forwarding_destination": None if knows_all else FILTERED,
            },
            "hardware": {
                "name": "SmartCitizen Kit 2.1",
                "type": "SCK",
                "version": "2.1",
                "slug": "sck:2,1",
                "last_status_message": status if knows_all else FILTERED,
            },
        }
        if not is_short:
            found["owner"] = {
                "id": self.owner.id,
                "uuid": uuid("user", self.owner.id),
                "username": self.owner.username,
                "url": None,
            }
            found["data"] = {"sensors": self._sensors(last)}
            found["experiment_ids"] = []
        return {**found, **self.shown_as}

    def _sensors(self, last: int | None) -> list[dict[str, Any]]:
        listed = []
        for sensor in self.sensors:
            value = None if last is None else self.value(sensor, last)
            before = None if last is None else self.value(sensor, last - self.interval)
            when = None if last is None else stamp(last)
            listed.append({**SENSORS[sensor].shown(), "value": value, "prev_value": before, "last_reading_at": when})
        for sensor, times in self.added.items():
            if sensor in self.sensors:
                continue
            newest = max(times)
            shown = {"id": sensor, "uuid": uuid("sensor", sensor), "name": f"Processed {sensor}", "unit": ""}
            shown |= {"description": "from processing", "default_key": f"c{sensor}", "measurement": None, "tags": []}
            listed.append({**shown, "value": times[newest], "prev_value": None, "last_reading_at": stamp(newest)})
        return listed
