"""The interface of step types: what a step is and what it may use.

A built-in step type is one file in `builtin/`, named after the type; its class is the name in CamelCase plus `Step`.
The dataclass fields are the options. Other packages provide types through the entry-point group `scflows.steps`; they
cannot replace a built-in type. This is the only module that such packages may import.
"""

from __future__ import annotations

from dataclasses import dataclass

from scflows.steps.context import Acknowledgement as Acknowledgement
from scflows.steps.context import ChildResult as ChildResult
from scflows.steps.context import Context as Context
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
    """The result of a step that jumps to another step."""

    step_name: str


@dataclass(frozen=True)
class Exit:
    """The result of a step that ends the flow on purpose."""

    message: str
    reason: str = ""  #: the reason in the run's record, a word or a code


class Nothing:
    """The result of a step that stores nothing."""


@dataclass(frozen=True)
class Step:
    """The base class of step types. Its fields are the options, checked and rendered before `run` is called."""

    def run(self, ctx: Context) -> Any:
        """Do the work and return the result: a JSON value, `Goto`, `Exit` or `Nothing`. Raise StepError on failure."""
        raise TypeError(f"{type(self).__name__} has no method run()")

    def writes(self) -> bool:
        """Return True if the step changes anything outside the run's data; a dry run then only logs `intention`."""
        return False

    def intention(self) -> str:
        """Return what the step does, as a verb phrase for dry runs: `write report.md`."""
        return "run"

    def dry_result(self) -> Any:
        """Return what a dry run stores instead of the result of a step that writes."""
        return {}

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield mistakes beyond wrong types of options, as (option, message).

        It is called before anything runs, with the options as written; their types have been checked.
        """
        return iter(())

    @classmethod
    def nested(cls, options: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
        """Yield the steps inside the options, as (path of keys, step as written); they are checked like other steps."""
        return iter(())

    @classmethod
    def for_files(cls, options: Mapping[str, Any], sources: Mapping[str, str], target: str) -> dict[str, Any]:
        """Return the options with which the step makes the file `target` from `sources`, paths by name.

        Folder pairs call it for the step types that they offer, with paths in `DATA_PATH`.
        """
        return {**options, "path": next(iter(sources.values()))}

    @classmethod
    def jumps(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield the possible jumps, as (option, step name as written)."""
        return iter(())
