"""One device of every kind: scheduled, not scheduled, or with failing processing."""

from __future__ import annotations

from scflows.integrations.smartcitizen.demo.files import PAGE, RAW
from scflows.integrations.smartcitizen.demo.kit import ADMIN, CITIZEN, RESEARCHER, Kit, User
from scflows.integrations.smartcitizen.demo.sensors import GASES, KIT, chance
from scflows.integrations.smartcitizen.readings import stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

HOUR, DAY = 3600, 86400
FIRST_ID = 13001

OPERATOR = User(1, "demo-operator", ADMIN, "demo-admin-token")
LAB = User(2, "demo-lab", RESEARCHER, "demo-researcher-token")
OTHER_LAB = User(3, "demo-other-lab", RESEARCHER, "demo-other-researcher-token")
GUEST = User(4, "demo-guest", CITIZEN, "demo-citizen-token")
USERS = (OPERATOR, LAB, OTHER_LAB, GUEST)

#: The result for each kind in a search for processing.
SCHEDULED, NOT_SCHEDULED, NOT_FOUND = "scheduled", "not scheduled", "not found"
EXPECTED = {
    **dict.fromkeys(
        (
            "due",
            "raw-url",
            "page-url",
            "gas",
            "two-versions",
            "forward",
            "never-processed",
            "equal",
            "behind",
            "holes",
            "fast",
            "private",
            "no-place",
            "odd-meta",
            "no-blueprint",
            "old-blueprint",
            "no-channels",
            "foreign-module",
            "foreign-blueprint",
            "uncalibrated",
            "half-calibrated",
            "no-needed-sensors",
            "no-needed-readings",
            "failing-sensor",
            "post-refused",
            "patch-refused",
            "stuck",
            "implausible",
            "low-battery",
            "ahead",
        ),
        SCHEDULED,
    ),
    **dict.fromkeys(
        (
            "nothing-new",
            "silent",
            "never-published",
            "hardware-missing",
            "hardware-not-json",
            "hardware-wrong-shape",
            "hardware-null",
            "hardware-empty",
            "blueprint-only",
            "foreign-hardware",
            "odd-last-reading",
            "odd-latest",
        ),
        NOT_SCHEDULED,
    ),
    "plain": NOT_FOUND,
}


def all_kinds(now: int) -> list[Kit]:
    """Return a device of each kind in `EXPECTED`, by id."""
    return [_made(FIRST_ID + number, kind, now) for number, kind in enumerate(EXPECTED)]


def crowd(count: int, hardware_files: int, now: int, first_id: int = 20001) -> Iterator[Kit]:
    """Yield many devices, six of ten of them due, with hardware in `crowd-0.json` and so on."""
    for number in range(count):
        device = first_id + number
        last = now - 60 * (1 + number % 50)
        done = last - 2 * HOUR if number % 10 < 6 else last + 60
        hardware = f"crowd-{int(chance(device) * hardware_files)}"
        latest = None if number % 10 == 0 else done
        yield _kit(device, "crowd", now, hardware, latest, last=last)


def _made(device: int, kind: str, now: int) -> Kit:
    recent = now - now % 60 - 3 * HOUR + device % 60
    gas = (*KIT, *GASES)

    def kit(hardware: Any = "demo-kit", latest: Any = recent, **more: Any) -> Kit:
        return _kit(device, kind, now, hardware, latest, **more)

    stopped = now - now % 60 - 4 * DAY
    match kind:
        case "raw-url":
            return kit(f"{RAW}/hardware/demo-kit.json")
        case "page-url":
            return kit(f"{PAGE}/hardware/demo-kit.json")
        case "gas" | "two-versions" | "uncalibrated" | "half-calibrated":
            return kit(f"{RAW}/hardware/demo-{kind}.json", sensors=gas)
        case "never-processed":
            return kit(latest=None, first=now - 5 * HOUR)
        case "equal":
            return kit(latest=stopped, last=stopped)
        case "behind":
            return kit(latest=now - now % 60 - 2 * DAY + device % 60)
        case "holes":
            hole = (recent + HOUR // 2, recent + 2 * HOUR)
            return kit(latest=recent - 9 * HOUR, holes={55: (hole,), 87: ((hole[0] - 5 * HOUR, hole[1] - 5 * HOUR),)})
        case "fast":
            return kit(interval=20)
        case "private":
            return kit(owner=OTHER_LAB, is_private=True)
        case "no-place":
            return kit(has_place=False)
        case "odd-meta":
            return kit(meta={"note": "an object, where the connector wants a text"})
        case "foreign-hardware":
            return kit("https://files.example.org/hardware/kit.json")
        case "no-needed-sensors":
            return kit(sensors=(10, 14))
        case "no-needed-readings":
            return kit(holes={sensor: ((recent - DAY, now + 366 * DAY),) for sensor in KIT if sensor != 10})
        case "failing-sensor":
            return kit(failing=(87,))
        case "post-refused":
            return kit(refused=("POST",))
        case "patch-refused":
            return kit(refused=("PATCH",))
        case "stuck" | "implausible" | "low-battery":
            return kit(quirk=kind)
        case "ahead":
            return kit(last=now - now % 60 + DAY)
        case "nothing-new":
            return kit(latest=now + 60, last=now - now % 60)
        case "silent":
            return kit(latest=stopped + 60, last=stopped)
        case "never-published":
            return kit(latest=None, has_published=False)
        case "hardware-null" | "hardware-empty":
            return kit(None if kind == "hardware-null" else "")
        case "blueprint-only":
            return kit(None, blueprint=f"{RAW}/blueprints/sck_demo.json")
        case "hardware-missing" | "hardware-not-json" | "hardware-wrong-shape":
            return kit(kind.replace("hardware", "demo"))
        case "odd-last-reading":
            return kit(shown_as={"last_reading_at": "yesterday"})
        case "odd-latest":
            return kit(latest="soon")
        case "plain":
            plain = kit()
            plain.postprocessing = None
            return plain
        case "due":
            return kit()
        case _:
            return kit(f"demo-{kind}")


def _kit(device: int, kind: str, now: int, hardware: str | None, latest: int | str | None, **more: Any) -> Kit:
    """Return a kit that has published for thirty days, each at a different second of the minute."""
    meta, blueprint = more.pop("meta", None), more.pop("blueprint", None)
    first = now - now % 60 - 30 * DAY + device % 60
    kit = Kit(device, kind, **{"owner": LAB, "first": first, **more})
    kit.first -= (kit.first - first) % kit.interval
    if kit.last is not None:
        kit.last -= (kit.last - kit.first) % kit.interval
    if kind == "equal":
        latest = kit.last
    kit.postprocessing = {
        "id": device - 10000,
        "device_id": device,
        "blueprint_url": blueprint,
        "hardware_url": hardware,
        "latest_postprocessing": stamp(latest) if isinstance(latest, int) else latest,
        "meta": meta,
        "forwarding_params": None,
        "created_at": stamp(first),
        "updated_at": stamp(first),
    }
    return kit
