"""What a blueprint's channels call that they may not."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Where the functions of channels may come from: a blueprint names them, and comes from the platform.
FUNCTIONS = "scdata.device.process"


def foreign_calls(device: Any) -> list[str]:
    """What the channels call that is none of the package's functions for it."""
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
                continue  # Then there is nothing to call, which processing tells.
            is_own = called is None or str(getattr(called, "__module__", "")).startswith(FUNCTIONS)
        else:
            is_own = False
        if not is_own:
            told = f"channel {channel['name']!r} calls {module}.{function}, which is not among {FUNCTIONS}"
            if told not in found:
                found.append(told)
    return found
