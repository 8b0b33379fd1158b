"""Find a step type by name: built-in types first, then those of other packages."""

from __future__ import annotations

import os
from functools import cache

from scflows.errors import UsageError
from scflows.steps import Step

ENTRY_POINTS = "scflows.steps"
_BUILTIN = os.path.join(os.path.dirname(__file__), "builtin")


@cache
def step_types() -> tuple[str, ...]:
    """Return the names of the built-in step types, without importing them."""
    names = os.listdir(_BUILTIN)
    return tuple(sorted(name.removesuffix(".py") for name in names if name.endswith(".py") and name[0] != "_"))


def find_step(name: str) -> type[Step] | None:
    """Return the class of a step type, or None if it does not exist.

    Raises UsageError if a package declares the type but cannot be loaded.
    """
    if name.isidentifier() and os.path.exists(os.path.join(_BUILTIN, f"{name}.py")):
        from importlib import import_module

        module = import_module(f"scflows.steps.builtin.{name}")
        class_name = "".join(word.capitalize() for word in name.split("_")) + "Step"
        found: type[Step] = getattr(module, class_name)
        return found
    return _find_foreign(name)


def foreign_step_types() -> dict[str, str]:
    """Return the step types of other packages, each with its package, without loading them."""
    from importlib.metadata import entry_points

    built_in = step_types()
    found = entry_points(group=ENTRY_POINTS)
    return {each.name: each.dist.name if each.dist else each.value for each in found if each.name not in built_in}


def _find_foreign(name: str) -> type[Step] | None:
    # Scanning all installed packages takes about 40 ms, so it is done only for types that are not built in.
    from importlib.metadata import entry_points

    for entry in entry_points(group=ENTRY_POINTS, name=name):
        try:
            found = entry.load()
        except Exception as error:
            raise UsageError(
                f"step type {name!r}: {entry.value} cannot be loaded: {error}",
                f"fix or remove the package {entry.dist.name if entry.dist else entry.value!r}",
            ) from error
        if isinstance(found, type) and issubclass(found, Step):
            return found
        raise UsageError(f"step type {name!r}: {entry.value} is not a subclass of Step")
    return None
