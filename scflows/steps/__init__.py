"""What a step is, what it may see, and how one is found by its type.

A step type is one file here, named like the type; the class is the name in CamelCase plus `Step`. Its
dataclass fields are its options. Another package brings types by the entry-point group `scflows.steps`; it
cannot replace a built-in. This module is the one that such packages may import.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache

from scflows.context import ChildEnd as ChildEnd
from scflows.context import Context as Context
from scflows.context import Promise as Promise
from scflows.errors import UsageError
from scflows.option import Option as Option
from scflows.option import option as option
from scflows.option import options_of as options_of
from scflows.value import json_copy as json_copy
from scflows.value import json_value as json_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

ENTRY_POINTS = "scflows.steps"


@dataclass(frozen=True)
class Goto:
    """A step's result that means: go on there."""

    step_name: str


@dataclass(frozen=True)
class Exit:
    """A step's result that means: end the flow here, on purpose."""

    message: str
    reason: str = ""  #: the run's own, a word or a code


class Nothing:
    """A step's result that means: nothing is stored."""


@dataclass(frozen=True)
class Step:
    """The thing that runs. Its fields are its options, checked and rendered before `run` is called."""

    def run(self, ctx: Context) -> Any:
        """The step's result: a JSON value, `Goto` or `Exit`. Raises StepError when it cannot do its work."""
        raise TypeError(f"{type(self).__name__} has no run()")

    def writes(self) -> bool:
        """Whether it changes anything outside the run's data; then a dry run only says `intention`."""
        return False

    def intention(self) -> str:
        """What it does, in a dry run's words: `write report.md`. What `writes` has `would` put before it."""
        return "run"

    def dry_result(self) -> Any:
        """What a dry run stores in place of the result."""
        return {}

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """The mistakes that the kinds of the options cannot show, as (option, message).

        Called with the options as written, their kinds already found right; nothing has run.
        """
        return iter(())

    @classmethod
    def nested(cls, options: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
        """The steps written inside its options, as (keys that lead there, what is written); checked like others."""
        return iter(())

    @classmethod
    def jumps(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Where it may jump, as (option, name of a step as written)."""
        return iter(())


def step_types() -> list[str]:
    """The names of the built-in step types, found without importing them."""
    return list(_step_types())


@cache
def _step_types() -> tuple[str, ...]:
    # Once, also where thousands of flows are checked.
    names = os.listdir(os.path.dirname(__file__))
    return tuple(sorted(name.removesuffix(".py") for name in names if name.endswith(".py") and name[0] != "_"))


def find_step(name: str) -> type[Step] | None:
    """The class of a step type, or None when nobody has it.

    Raises UsageError when a package names a type but cannot be loaded.
    """
    if name.isidentifier() and os.path.exists(os.path.join(os.path.dirname(__file__), f"{name}.py")):
        from importlib import import_module

        module = import_module(f"{__name__}.{name}")
        class_name = "".join(word.capitalize() for word in name.split("_")) + "Step"
        found: type[Step] = getattr(module, class_name)
        return found
    return _find_foreign(name)


def foreign_step_types() -> dict[str, str]:
    """The names of the step types that other packages bring, and which package; none of them is loaded."""
    from importlib.metadata import entry_points

    built_in = step_types()
    found = entry_points(group=ENTRY_POINTS)
    return {each.name: each.dist.name if each.dist else each.value for each in found if each.name not in built_in}


def _find_foreign(name: str) -> type[Step] | None:
    # The scan of all installed packages costs some 40 ms: only for a name that is not built in.
    from importlib.metadata import entry_points

    for entry in entry_points(group=ENTRY_POINTS, name=name):
        try:
            found = entry.load()
        except Exception as error:
            raise UsageError(
                f"step type {name!r}: {entry.value} cannot be loaded: {error}",
                f"mend or remove the package {entry.dist.name if entry.dist else entry.value!r}",
            ) from error
        if isinstance(found, type) and issubclass(found, Step):
            return found
        raise UsageError(f"step type {name!r}: {entry.value} is no Step")
    return None
