"""The options of a step type: what their dataclass fields tell of themselves."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field

from scflows.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
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
) -> Any:
    """A dataclass field that says more of itself.

    `template`: its text, also inside lists and the values of mappings, is rendered before the step is built;
    with `secrets` it may call `secret('name').field`.
    `choices`: the texts it may be, in `any_case` if so said. `minimum`: the least number.
    """
    told = {
        "help": help,
        "template": template,
        "secrets": secrets,
        "choices": choices,
        "any_case": any_case,
        "minimum": minimum,
    }
    if default_factory is not MISSING:
        return field(default_factory=default_factory, metadata=told)
    if default is MISSING:
        return field(metadata=told)
    return field(default=default, metadata=told)


@dataclass(frozen=True)
class Option:
    """One option of a step type, as its field says."""

    name: str
    kinds: tuple[str, ...]  #: some of the words of KINDS; empty: any
    required: bool
    default: Any
    template: bool
    secrets: bool  #: whether its templates may call `secret('name')`
    choices: tuple[str, ...]
    any_case: bool
    minimum: float | None
    help: str


#: An annotation, as written, to the word that flow authors read.
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
    """The options of a step type, by name, in the order of its fields."""
    found = {}
    for each in step_class.__dataclass_fields__.values():
        told = each.metadata
        default = each.default
        if default is MISSING and each.default_factory is not MISSING:
            default = each.default_factory()
        required = default is MISSING
        found[each.name] = Option(
            each.name,
            _kinds(step_class, each),
            required,
            None if required else default,
            told.get("template", False),
            told.get("secrets", False),
            told.get("choices", ()),
            told.get("any_case", False),
            told.get("minimum"),
            told.get("help", ""),
        )
    return found


def _kinds(step_class: type[Any], each: Any) -> tuple[str, ...]:
    # A module without postponed annotations has classes where others have texts.
    written = each.type.__name__ if isinstance(each.type, type) else str(each.type)
    outside, depth = "", 0
    for letter in written:
        depth += (letter == "[") - (letter == "]")
        outside += letter if depth == 0 and letter != "]" else ""
    parts = [part.strip().removeprefix("typing.") for part in outside.split("|")]
    if "Any" in parts:
        return ()
    try:
        return tuple(KINDS[part] for part in parts)
    except KeyError as error:
        raise UsageError(
            f"step class {step_class.__name__!r}: {each.name!r} is a {written}, which no option can be",
            f"an option is Any or one of {', '.join(KINDS)}, or some of them with | between",
        ) from error
