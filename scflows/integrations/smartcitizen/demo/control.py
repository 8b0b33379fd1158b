"""`/control` of the mock: recorded requests, faults, and overrides of devices."""

from __future__ import annotations

import json

from scflows.integrations.smartcitizen.demo.faults import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scflows.integrations.smartcitizen.demo.platform import Platform


def controlled(platform: Platform, method: str, path: str, query: dict[str, str], content: bytes) -> tuple[int, Any]:
    """Handle a request; return status and body.

    GET /requests, /posted (?device=ID), /patches, /kinds; DELETE /requests clears them; POST /faults adds a fault or a
    list, DELETE /faults removes all; POST /devices/ID overrides properties; POST /rate {"limit": 150}.
    """
    try:
        with platform.lock:
            match method, *path.strip("/").split("/"):
                case "GET", "requests":
                    return 200, platform.requests
                case "GET", "posted":
                    asked = query.get("device")
                    return 200, [each for each in platform.posted if asked in (None, str(each["device"]))]
                case "GET", "patches":
                    return 200, platform.patches
                case "GET", "kinds":
                    return 200, {kit.id: kit.kind for kit in platform.kits.values()}
                case "DELETE", "requests":
                    platform.requests.clear()
                    platform.posted.clear()
                    platform.patches.clear()
                    return 200, {}
                case "POST", "faults":
                    given = json.loads(content)
                    for each in given if isinstance(given, list) else [given]:
                        platform.faults.add(Fault.from_dict(each))
                    return 200, {}
                case "DELETE", "faults":
                    platform.faults.clear()
                    return 200, {}
                case "POST", "devices", number:
                    platform.kits[int(number)].shown_as.update(json.loads(content))
                    return 200, {}
                case "POST", "rate":
                    platform.rate.limit = json.loads(content)["limit"]
                    return 200, {}
    except (ValueError, TypeError, KeyError) as error:
        return 400, {"error": f"{type(error).__name__}: {error}"}
    return 404, {"error": f"no such endpoint: {method} /control{path}"}
