"""Decide which devices get a task and which lose theirs."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.integrations.smartcitizen.device import Device

#: Create a task · leave an existing task unchanged · remove an existing task.
SCHEDULE, LEAVE, REMOVE = "schedule", "leave", "remove"


def decide_processing(device: Device, hardware_problem: str) -> tuple[str, str]:
    """Return the decision for a device in the search for processing, and the reason."""
    if not device.has_postprocessing:
        return (LEAVE, device.odd) if device.odd else (REMOVE, "has no processing")
    if hardware_problem:
        # It may be an outage of the file host, so the task is never removed for this reason.
        return LEAVE, hardware_problem
    if device.odd:
        return LEAVE, device.odd
    if device.last_reading_at is None:
        return REMOVE, "has never published"
    if device.latest_postprocessing is None:
        return SCHEDULE, "never processed"
    if device.latest_postprocessing > device.last_reading_at:
        return REMOVE, "nothing new"
    return SCHEDULE, "new readings"


def decide_backup(device: Device) -> tuple[str, str]:
    """Return the decision for a device in the search for backups, and the reason."""
    if device.last_reading_at is not None:
        return SCHEDULE, "has published"
    return (LEAVE, device.odd) if device.odd else (REMOVE, "has never published")
