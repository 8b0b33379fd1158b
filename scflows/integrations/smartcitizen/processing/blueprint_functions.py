"""Find functions that the channels of a blueprint must not call."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: The only module that channels may call, because blueprints come from the platform and are not trusted.
FUNCTIONS = "scdata.device.process"


def foreign_calls(device: Any) -> list[str]:
    """Return a message for each channel that calls a function outside that module."""
    from importlib import import_module

    found = []
    versions = [channel for version in device.versions or [] for channel in version["channels"]]
    for channel in [*(each.model_dump() for each in device.channels), *versions]:
        module, function = str(channel["module"]), str(channel["function"])
        is_own = module == FUNCTIONS or module.startswith(FUNCTIONS + ".")
        if is_own and function.isidentifier():
            try:
                called = getattr(import_module(module), function, None)
            except ImportError:
                continue  # There is no such function, which processing reports.
            is_own = called is None or str(getattr(called, "__module__", "")).startswith(FUNCTIONS)
        else:
            is_own = False
        if not is_own:
            message = f"channel {channel['name']!r} calls {module}.{function}, which is not among {FUNCTIONS}"
            if message not in found:
                found.append(message)
    return found
