"""The global options, accepted before or after the command's name."""

from __future__ import annotations

from dataclasses import dataclass, replace

from scflows.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.settings import Settings

COLORS = ("auto", "always", "never")
#: Each option with its value, and its help.
HELP = (
    ("-v", "log more; -vv: show tracebacks of errors"),
    ("-q", "print only results and errors"),
    ("--json", "results and errors as JSON"),
    ("--wide", "tables with all columns, wider than the terminal"),
    ("--color WHEN", "auto, always or never"),
    ("--home DIR", "the workspace (default: the current folder)"),
    ("--no-input", "never ask for confirmation"),
    ("-h, --help", "show the help"),
    ("-V, --version", "show the version"),
)


@dataclass(frozen=True)
class Options:
    """The values of the global options."""

    verbose: int = 0
    quiet: bool = False
    json: bool = False
    wide: bool = False  #: tables are not fitted to the terminal
    color: str = "auto"  #: one of COLORS
    home: str | None = None  #: the workspace as typed
    no_input: bool = False
    version: bool = False

    def settings(self) -> Settings:
        """Return the settings of the workspace. Raise UsageError."""
        from scflows.settings import read_settings

        return read_settings(self.home)


def take_options(arguments: list[str]) -> tuple[Options, list[str]]:
    """Return the global options and the arguments without them; anything after `--` stays unchanged.

    Raise UsageError for an option without its value.
    """
    options = Options()
    rest: list[str] = []
    remaining = list(arguments)
    while remaining:
        word = remaining.pop(0)
        if word == "--":
            rest += [word, *remaining]
            break
        name, equals, value = word.partition("=")
        if name in ("--home", "--color"):
            if not equals:
                if not remaining or remaining[0] == "--":
                    raise UsageError(f"{name} needs a value", _example(name))
                value = remaining.pop(0)
            options = _with_value(options, name, value)
        elif word in ("-q", "--quiet"):
            options = replace(options, quiet=True)
        elif word == "--verbose":
            options = replace(options, verbose=options.verbose + 1)
        elif set(word[1:]) == {"v"} and word[0] == "-":
            options = replace(options, verbose=options.verbose + len(word) - 1)
        elif word == "--json":
            options = replace(options, json=True)
        elif word == "--wide":
            options = replace(options, wide=True)
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
        raise UsageError(f"--color must be one of {', '.join(COLORS)}, not {value!r}", _example(name))
    return replace(options, color=value)


def _example(name: str) -> str:
    return "for example --home ~/workspace" if name == "--home" else "for example --color never"
