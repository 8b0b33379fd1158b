"""Which devices want a task, and which of them lose theirs."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.integrations.smartcitizen.device import Device

#: It gets a task · it gets none, and keeps the one it has · it gets none, and loses the one it has.
SCHEDULE, LEAVE, REMOVE = "schedule", "leave", "remove"


def decide_processing(device: Device, hardware_problem: str) -> tuple[str, str]:
    """What becomes of a device that asks for processing, and why."""
    if not device.has_postprocessing:
        return (LEAVE, device.odd) if device.odd else (REMOVE, "asks for no processing")
    if hardware_problem:
        # An outage of the file host looks the same, so nothing is ever removed for this.
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
    """What becomes of a device whose owner's devices are backed up, and why."""
    if device.last_reading_at is not None:
        return SCHEDULE, "has published"
    return (LEAVE, device.odd) if device.odd else (REMOVE, "has never published")
