"""What a step is, what it may see, and how one is found by its type.

A step type is one file here, named like the type; the class is the name in CamelCase plus `Step`. Its
dataclass fields are its options. Another package brings types by the entry-point group `scflows.steps`; it
cannot replace a built-in. This module is the one that such packages may import.
"""

from __future__ import annotations

import os
from dataclasses import MISSING, dataclass, field

from scflows.errors import StepError, UsageError
from scflows.safefile import inside, is_below

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from scflows.expression import Expressions
    from scflows.logfile import TaskLog
    from scflows.settings import Settings

ENTRY_POINTS = "scflows.steps"
#: What stands before a path that is read beside the flow file.
BESIDE_FLOW = "flow:"


@dataclass(frozen=True)
class Goto:
    """A step's result that means: go on there."""

    step_name: str


@dataclass(frozen=True)
class Exit:
    """A step's result that means: end the flow here, on purpose."""

    message: str


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
        """What it would do, in a dry run's words: `write report.md`."""
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


class Context:
    """All that a running step may see."""

    def __init__(
        self,
        settings: Settings,
        data: dict[str, Any],
        expressions: Expressions,
        log: TaskLog,
        flow_file: str,
        dry_run: bool = False,
        remaining: Callable[[], float | None] = lambda: None,
    ) -> None:
        self.settings = settings
        self.data = data  #: the run's data; read it, never change it
        self.expressions = expressions  #: templates and jq
        self.log = log
        self.flow_file = flow_file  #: absolute
        self.dry_run = dry_run
        self.jq_output: str | None = None  #: the step's own property of that name
        self.remaining = remaining  #: seconds until the step is interrupted; None without a limit

    def value(self, data_key: str) -> Any:
        """A copy of what the data holds under a top-level key; `.` is all of it.

        Raises StepError for a key that is not there.
        """
        return json_copy(self.look(data_key))

    def look(self, data_key: str) -> Any:
        """The same without the copy, for who only reads."""
        if data_key == ".":
            return self.data
        try:
            return self.data[data_key]
        except KeyError:
            raise StepError(f"the data has no key {data_key!r}") from None

    def readable(self, path: str) -> str:
        """The absolute path of a file that a step may read: in `DATA_PATH`, or `flow:` beside the flow file.

        Raises StepError when it leads out, or to the settings, flows or templates.
        """
        if not path.startswith(BESIDE_FLOW):
            return self._own(path)
        full = inside(os.path.dirname(self.flow_file), path.removeprefix(BESIDE_FLOW))
        if is_below(full, (self.settings.secrets_path, self.settings.config_file, self.settings.env_file)):
            raise StepError(f"{path!r} is one of the settings, which no step may touch")
        return full

    def writable(self, path: str) -> str:
        """The absolute path of a file that a step may write: inside `DATA_PATH`. Raises StepError."""
        if path.startswith(BESIDE_FLOW):
            raise StepError(f"{path!r}: what lies beside a flow file is only read, never written")
        return self._own(path)

    def _own(self, path: str) -> str:
        full = inside(self.settings.data_path, path)
        if is_below(full, self.settings.private_paths):
            raise StepError(f"{path!r} belongs to the settings, flows or templates, which no step may touch")
        return full


def option(
    default: Any = MISSING,
    *,
    help: str = "",
    template: bool = False,
    choices: tuple[str, ...] = (),
    any_case: bool = False,
    minimum: float | None = None,
    default_factory: Any = MISSING,
) -> Any:
    """A dataclass field that says more of itself.

    `template`: its text, also inside lists and the values of mappings, is rendered before the step is built.
    `choices`: the texts it may be, in `any_case` if so said. `minimum`: the least number.
    """
    told = {"help": help, "template": template, "choices": choices, "any_case": any_case, "minimum": minimum}
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


def options_of(step_class: type[Step]) -> dict[str, Option]:
    """The options of a step type, by name, in the order of its fields."""
    found = {}
    for each in step_class.__dataclass_fields__.values():
        told = each.metadata
        annotation = str(each.type)
        kinds: tuple[str, ...] = ()
        if annotation != "Any":
            kinds = tuple(KINDS[part.partition("[")[0].strip()] for part in annotation.split("|"))
        default = each.default
        if default is MISSING and each.default_factory is not MISSING:
            default = each.default_factory()
        required = default is MISSING
        found[each.name] = Option(
            each.name,
            kinds,
            required,
            None if required else default,
            told.get("template", False),
            told.get("choices", ()),
            told.get("any_case", False),
            told.get("minimum"),
            told.get("help", ""),
        )
    return found


def step_types() -> list[str]:
    """The names of the built-in step types, found without importing them."""
    folder = os.path.dirname(__file__)
    return sorted(
        name.removesuffix(".py") for name in os.listdir(folder) if name.endswith(".py") and not name.startswith("_")
    )


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


def json_copy(value: Any) -> Any:
    """A deep copy of a JSON value."""
    if isinstance(value, dict):
        return {key: json_copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [json_copy(item) for item in value]
    return value


def json_value(value: Any) -> Any:
    """Any value that a flow meets as the JSON value it is stored as.

    Dates and times become ISO 8601 text, keys that are no text their text, bytes UTF-8 text, sets and tuples
    lists. Raises StepError for a value that has no such form.
    """
    if value is None or value is True or value is False or type(value) in (str, int):
        return value
    if type(value) is float:
        if value - value != 0:
            raise StepError("NaN and Infinity are no values that a flow holds")
        return value
    if isinstance(value, dict):
        return {key if type(key) is str else _key(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((json_value(item) for item in value), key=str)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise StepError("bytes that are not UTF-8 cannot be stored") from None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, str):
        return str(value)
    raise StepError(f"a value of the kind {type(value).__name__!r} cannot be stored")


def _key(key: Any) -> str:
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    converted = json_value(key)
    return converted if isinstance(converted, str) else str(converted)
