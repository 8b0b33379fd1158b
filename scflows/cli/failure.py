"""Failures raised by others than scflows: usage errors of the parser, and bugs."""

from __future__ import annotations

import os

from scflows.cli.options import HELP
from scflows.errors import ScflowsError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import typer

    from scflows.cli.output import Output

#: How many tracebacks of bugs to keep.
MAX_TRACES = 20


class Bug(ScflowsError):
    """An unexpected exception."""

    exit_code = 3
    code = "bug"


def usage_error(error: typer.TyperException, words: list[str]) -> UsageError:
    """Return a parser error as a UsageError, with the nearest name as help."""
    message = error.format_message().rstrip(".")
    message, _, nearest = message.partition(". Did you mean ")
    message = message.partition(" (Possible options:")[0].replace("No such", "no such", 1)
    message = message.replace(": -", " -", 1)
    near = f"did you mean {nearest}" if nearest else _near_option(error)
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else " ".join(["flows", *words[:1]])
    return UsageError(message[:1].lower() + message[1:], near or f"see: {path} --help")


def bug(error: Exception, out: Output) -> ScflowsError:
    """Return an error that names the bug and the file with its traceback."""
    from traceback import format_exception

    trace = "".join(format_exception(error))
    description = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    message = f"internal error: {description}"
    try:
        path = _save(trace, out.settings.state_path)
    except (OSError, ScflowsError) as problem:
        return Bug(message, f"show the traceback with -vv; it could not be saved: {problem}")
    return Bug(message, f"please report it, with the traceback in {path}")


def _near_option(error: typer.TyperException) -> str:
    name = getattr(error, "option_name", "")
    context = getattr(error, "ctx", None)
    if not name.startswith("--") or context is None:
        return ""
    from difflib import get_close_matches

    known = [option for parameter in context.command.params for option in parameter.opts]
    known += [word for option, _ in HELP for word in option.replace(",", "").split()]
    near = get_close_matches(name, [option for option in known if option.startswith("--")], 1)
    return f"did you mean {near[0]}?" if near else ""


def _save(trace: str, state_path: str) -> str:
    import time

    folder = os.path.join(state_path, "tracebacks")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    for old in sorted(os.listdir(folder))[: -MAX_TRACES + 1]:
        os.unlink(os.path.join(folder, old))
    path = os.path.join(folder, f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.txt")
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(trace)
    return path
