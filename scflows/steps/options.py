"""The options of a step type, declared by its dataclass fields."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field

from scflows.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any


def option(
    default: Any = MISSING,
    *,
    help: str = "",
    template: bool = False,
    secrets: bool = False,
    choices: tuple[str, ...] = (),
    any_case: bool = False,
    minimum: float | None = None,
    default_factory: Any = MISSING,
    duration: bool = False,
) -> Any:
    """Return a dataclass field that describes an option.

    - `template`: text is rendered before the step is created, also inside lists and values of mappings
    - `secrets`: its templates may call `secret('name').field`
    - `choices`: the allowed texts; with `any_case` in upper or lower case
    - `minimum`: the smallest allowed number
    - `duration`: a number of seconds, written as such or as `30s`, `15m`, `2h`
    """
    declared = {"help": help, "template": template, "secrets": secrets, "choices": choices}
    declared |= {"any_case": any_case, "minimum": minimum, "duration": duration}
    return field(default=default, default_factory=default_factory, metadata={"option": declared})


@dataclass(frozen=True)
class Option:
    """One option of a step type, as its field declares it."""

    name: str
    kinds: tuple[str, ...]  #: values of KINDS; empty: any
    required: bool
    default: Any
    template: bool = False
    secrets: bool = False  #: whether its templates may call `secret('name')`
    choices: tuple[str, ...] = ()
    any_case: bool = False
    minimum: float | None = None
    help: str = ""
    duration: bool = False  #: whether it takes `15m`; a step gets the seconds


#: The types of options as annotations, with the words that flow authors read.
KINDS = {
    "str": "text",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "list": "list",
    "dict": "mapping",
    "None": "null",
}


def options_of(step_class: type[Any]) -> dict[str, Option]:
    """Return the options of a step type by name, in the order of its fields."""
    found = {}
    for each in step_class.__dataclass_fields__.values():
        default = each.default
        if default is MISSING and each.default_factory is not MISSING:
            default = each.default_factory()
        required = default is MISSING
        kinds = _kinds(step_class, each)
        if each.metadata.get("option", {}).get("duration"):
            kinds = tuple("duration" if kind == "number" else kind for kind in kinds)
        found[each.name] = Option(
            each.name, kinds, required, None if required else default, **each.metadata.get("option", {})
        )
    return found


def in_seconds(options: Mapping[str, Any], durations: Iterable[str]) -> dict[str, Any]:
    """Return the options of a step with these durations in seconds."""
    found = dict(options)
    for name in durations:
        if isinstance(found.get(name), str):
            from scflows.validation import duration_seconds

            found[name] = duration_seconds(found[name])
    return found


def _kinds(step_class: type[Any], each: Any) -> tuple[str, ...]:
    # Without postponed annotations, `type` is a class rather than a text.
    annotation = each.type.__name__ if isinstance(each.type, type) else str(each.type)
    outside, depth = "", 0
    for letter in annotation:
        depth += (letter == "[") - (letter == "]")
        outside += letter if depth == 0 and letter != "]" else ""
    parts = [part.strip().removeprefix("typing.") for part in outside.split("|")]
    if "Any" in parts:
        return ()
    try:
        return tuple(KINDS[part] for part in parts)
    except KeyError as error:
        raise UsageError(
            f"step class {step_class.__name__!r}: option {each.name!r} has the unsupported type {annotation}",
            f"use Any, or one or more of {', '.join(KINDS)} separated by |",
        ) from error
