"""The documentation of step types: what each does, its options, an example."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import NotFound, UsageError
from scflows.steps import Option, Step, options_of
from scflows.steps.registry import find_step, foreign_step_types, step_types
from scflows.validation import nearest

#: The beginning of the example in the docstring of a step class.
EXAMPLE = "- name: "
#: The values in a generated example, by kind of option.
PLACEHOLDERS = {
    "text": "TEXT",
    "integer": "1",
    "number": "1.5",
    "boolean": "true",
    "list": "[]",
    "mapping": "{}",
    "null": "null",
    "duration": "1.5",
}


@dataclass(frozen=True)
class StepType:
    """The documentation of one step type."""

    name: str
    summary: str  #: the first line
    more: str  #: the rest; paragraphs are separated by empty lines
    options: tuple[Option, ...]
    example: str  #: YAML, a list of steps
    package: str = ""  #: the package that provides it; empty for built-in types
    problem: str = ""  #: why it cannot be used


def find_step_type(name: str) -> StepType:
    """Return a step type. Raises NotFound with the nearest name, UsageError if it cannot be loaded."""
    found = find_step(name)
    foreign = foreign_step_types()
    if found is None:
        known = [*step_types(), *foreign]
        near = nearest(name, known).removeprefix("; ")
        raise NotFound(f"step type {name!r} not found", near or "list them with: flows steps")
    return _described(name, found, foreign.get(name, ""))


def all_step_types() -> list[StepType]:
    """Return all installed step types: built-in types, then those of other packages, each ordered by name.

    If one cannot be loaded, its `problem` says why.
    """
    found = []
    for name, package in [*((name, "") for name in step_types()), *sorted(foreign_step_types().items())]:
        try:
            step_class = find_step(name)
            assert step_class is not None
            found.append(_described(name, step_class, package))
        except UsageError as error:
            found.append(StepType(name, "", "", (), "", package, str(error)))
    return found


def _described(name: str, step_class: type[Step], package: str) -> StepType:
    from inspect import cleandoc

    options = tuple(options_of(step_class).values())
    # The docstring of a dataclass without one is its signature.
    written = step_class.__dict__.get("__doc__") or ""
    text = "" if written.startswith(f"{step_class.__name__}(") else cleandoc(written)
    description, example = text, ""
    for index, line in enumerate(lines := text.split("\n")):
        if line.startswith(EXAMPLE):
            description, example = "\n".join(lines[:index]).strip(), "\n".join(lines[index:]).rstrip()
            break
    summary, _, more = description.partition("\n")
    return StepType(name, summary, more.strip(), options, example or _made_example(name, options), package)


def _made_example(name: str, options: tuple[Option, ...]) -> str:
    required = [f"{each.name}: {_example_value(each)}" for each in options if each.required]
    return f"- name: {name}\n  type: {name}\n  {name}: {{{', '.join(required)}}}"


def _example_value(option: Option) -> str:
    if option.choices:
        return option.choices[0]
    return PLACEHOLDERS[option.kinds[0]] if option.kinds else "VALUE"
