"""What a step is, what it may see, and how one is found by its type.

A step type is one file here, named like the type; the class is the name in CamelCase plus `Step`. Its
dataclass fields are its options. Another package brings types by the entry-point group `scflows.steps`; it
cannot replace a built-in. This module is the one that such packages may import.
"""

from __future__ import annotations

from dataclasses import dataclass

from scflows.steps.context import ChildEnd as ChildEnd
from scflows.steps.context import Context as Context
from scflows.steps.context import Promise as Promise
from scflows.steps.options import Option as Option
from scflows.steps.options import option as option
from scflows.steps.options import options_of as options_of
from scflows.steps.values import json_copy as json_copy
from scflows.steps.values import json_value as json_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any


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
