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
    from typing import Any, Protocol

    from scflows.clock import Line
    from scflows.crew import Crew
    from scflows.expression import Expressions
    from scflows.logfile import TaskLog
    from scflows.secrets import Secret, Secrets
    from scflows.settings import Settings

    class Host(Protocol):
        """Who runs a step, and for it other steps and flows."""

        def run_flow(self, ctx: Context, path: str, given: Any, loop_index: int | None, line: Line) -> ChildEnd: ...

        def run_step(self, ctx: Context, written: dict[str, Any]) -> Any: ...

        def check_flow(self, path: str) -> None: ...


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
    reason: str = ""  #: the run's own, a word or a code


class Nothing:
    """A step's result that means: nothing is stored."""


@dataclass(frozen=True)
class Promise:
    """What a step owes to whoever gave it something: to say that it is kept, or not to."""

    keep: Callable[[], None]  #: called once the step's result is stored
    drop: Callable[[], None]  #: called where it is not


@dataclass(frozen=True)
class ChildEnd:
    """How a child flow ended."""

    status: str  #: `success`, `exit` or `failed`
    message: str
    data: dict[str, Any]  #: all of its data, with `__status__`
    errors: list[dict[str, Any]]  #: its errors, for the parent's own list


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


def once(call: Callable[[], Any]) -> Any:
    """What a call gives."""
    return call()


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
        self.line: Line | None = None  #: the thread that runs the step, and what bounds it
        self.host: Host | None = None  #: who runs the step
        self.depth = 0  #: how many flows stand around this one
        self.kept: dict[str, Any] = {}  #: what all contexts of a run share
        #: Gives what a call gives, tried as the step's `retry` says: for a part of the work that stands alone.
        self.tried: Callable[[Callable[[], Any]], Any] = once
        self.errors: list[dict[str, Any]] = []  #: those of child flows; they are listed before the step's own
        self.promises: list[Promise] = []  #: what the step has to do once its result is stored

    def branch(self, data: dict[str, Any], line: Line) -> Context:
        """The same for another thread, with data of its own."""
        ctx = Context(
            self.settings, data, self.expressions, self.log.branch(), self.flow_file, self.dry_run, line.remaining
        )
        ctx.line, ctx.host, ctx.depth, ctx.kept = line, self.host, self.depth, self.kept
        return ctx

    def run_flow(self, path: str, given: Any, loop_index: int | None = None, line: Line | None = None) -> ChildEnd:
        """Run a flow of the flows folder as a part of this run; `given` becomes its `__input__`.

        `line` is that of the thread, where it is not the step's own. Raises StepError for a flow that is missing
        or refused; how it ends otherwise is in what comes back. Its errors are not listed yet: see `errors`.
        """
        assert self.host is not None
        here = line or self.line
        assert here is not None
        return self.host.run_flow(self, path, given, loop_index, here)

    def check_flow(self, path: str) -> None:
        """Raises StepError for a flow that is missing or refused."""
        assert self.host is not None
        self.host.check_flow(path)

    def run_step(self, written: dict[str, Any]) -> Any:
        """Run a step as written in this one's options: its result, `Goto`, `Exit` or `Nothing`."""
        assert self.host is not None
        return self.host.run_step(self, written)

    def crew(self, most: int) -> Crew:
        """Threads for what the step does side by side."""
        from scflows.crew import Crew

        assert self.line is not None
        return Crew(self.line, most)

    def break_promises(self) -> None:
        """Give back what an attempt took that failed."""
        for promise in self.promises:
            promise.drop()
        self.promises.clear()

    def conclude(self, reason: str, message: str) -> None:
        """What the run's record shall say should it end well; the last word counts, and none of a child flow's."""
        if self.depth == 0:
            self.kept["conclusion"] = (reason, message)

    def sleep(self, seconds: float) -> None:
        """Wait; an interruption cuts it short, in every thread."""
        if self.line is not None:
            self.line.sleep(seconds)
        else:
            import time

            time.sleep(seconds)

    @property
    def secrets(self) -> Secrets:
        """All secrets of the run; its flows and threads have them together, so that none is fetched twice."""
        found: Secrets | None = self.kept.get("secrets")
        if found is None:
            from scflows.secrets import Secrets

            made = Secrets(self.settings, self.log.mask, self.log.warning, self.expressions.filter)
            found = self.kept.setdefault("secrets", made)
        return found

    def secret(self, name: str) -> Secret:
        """A secret's fields: `ctx.secret("portal")["token"]`. From here on they are masked wherever they appear.

        Raises StepError when there is none of that name, or it cannot be fetched.
        """
        return self.secrets.find(name)

    def masked(self, text: str) -> str:
        """The text without secrets. Needed only before it is cut: logs, errors and results are masked anyway."""
        return self.log.mask.text(text)

    def rendered(self, value: Any, secrets: bool = False) -> Any:
        """An option with its templates filled in; with `secrets` they may call `secret('name')`."""
        if not secrets or not _mentions_secret(value):
            return self.expressions.render_all(value, self.data)
        made = self.expressions.render_all(value, {**self.data, "secret": self.secret})
        if not isinstance(value, str):
            for text, written in _changed_texts(made, value):
                # A filter may have turned the secret into something that is as secret and looks different.
                if self.expressions.alters_secret(written):
                    self.secrets.remember(text)
        return made

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


def options_of(step_class: type[Step]) -> dict[str, Option]:
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


def _kinds(step_class: type[Step], each: Any) -> tuple[str, ...]:
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


def _mentions_secret(value: Any) -> bool:
    if isinstance(value, str):
        return "secret" in value
    if isinstance(value, dict | list):
        return any(_mentions_secret(item) for item in (value.values() if isinstance(value, dict) else value))
    return False


def _changed_texts(made: Any, written: Any) -> Iterator[tuple[str, str]]:
    """The texts that templates with a secret have made, each with its template."""
    if isinstance(written, str):
        if _mentions_secret(written) and made != written:
            yield made, written
    elif isinstance(written, dict | list):
        for key in written if isinstance(written, dict) else range(len(written)):
            yield from _changed_texts(made[key], written[key])


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
