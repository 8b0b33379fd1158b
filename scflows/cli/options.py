"""The options that every command has, before or after its name."""

from __future__ import annotations

from dataclasses import dataclass, replace

from scflows.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.settings import Settings

COLORS = ("auto", "always", "never")
#: Each with what stands for its value, and what it does.
HELP = (
    ("-v", "log more; twice: tracebacks of errors"),
    ("-q", "say only what was asked for, and errors"),
    ("--json", "results and errors as JSON"),
    ("--color WHEN", "auto, always or never"),
    ("--home DIR", "the workspace; else the current folder"),
    ("--no-input", "never ask"),
    ("-h, --help", "this text"),
    ("-V, --version", "the version"),
)


@dataclass(frozen=True)
class Options:
    """What was asked for besides the command itself."""

    verbose: int = 0
    quiet: bool = False
    json: bool = False
    color: str = "auto"  #: one of COLORS
    home: str | None = None  #: the workspace as typed
    no_input: bool = False
    version: bool = False

    def settings(self) -> Settings:
        """The settings of the workspace. Raises UsageError."""
        from scflows.settings import read_settings

        return read_settings(self.home)


def take_options(arguments: list[str]) -> tuple[Options, list[str]]:
    """The options of every command, and the arguments without them; what follows `--` is left alone.

    Raises UsageError for an option without its value.
    """
    options = Options()
    rest: list[str] = []
    left = list(arguments)
    while left:
        word = left.pop(0)
        if word == "--":
            rest += [word, *left]
            break
        name, equals, value = word.partition("=")
        if name in ("--home", "--color"):
            if not equals:
                if not left or left[0] == "--":
                    raise UsageError(f"{name} needs a value", _example(name))
                value = left.pop(0)
            options = _with_value(options, name, value)
        elif word in ("-q", "--quiet"):
            options = replace(options, quiet=True)
        elif word == "--verbose":
            options = replace(options, verbose=options.verbose + 1)
        elif set(word[1:]) == {"v"} and word[0] == "-":
            options = replace(options, verbose=options.verbose + len(word) - 1)
        elif word == "--json":
            options = replace(options, json=True)
        elif word == "--no-input":
            options = replace(options, no_input=True)
        elif word in ("-V", "--version"):
            options = replace(options, version=True)
        else:
            rest.append(word)
    return options, rest


def _with_value(options: Options, name: str, value: str) -> Options:
    if name == "--home":
        if not value:
            raise UsageError("--home needs a folder", _example(name))
        return replace(options, home=value)
    if value not in COLORS:
        raise UsageError(f"--color {value!r} is none of {', '.join(COLORS)}", _example(name))
    return replace(options, color=value)


def _example(name: str) -> str:
    return "such as --home ~/workspace" if name == "--home" else "such as --color never"
