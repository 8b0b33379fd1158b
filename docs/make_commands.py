"""Write commands.md, the command reference, from the commands themselves.

python docs/make_commands.py
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from scflows.cli.app import ALIASES, PANELS, build_app
from scflows.cli.options import HELP

PAGE = Path(__file__).with_name("commands.md")
TOP = """\
<!-- Made by docs/make_commands.py from the commands themselves; change it there. -->
# Commands

`flows COMMAND --help` says the same in a terminal. What the words mean is in [concepts](concepts.md), the exit codes
are [there](concepts.md#exit-codes) too.

In a terminal results are tables with colours and relative times. In a pipe they are the same columns, separated by
tabs, uncut, without a header, times in ISO 8601. With `--json` they are one JSON document, or one object a line where a
command goes on (`--follow`). Results go to stdout, all else to stderr.
"""


def reference() -> str:
    """The text of the page."""
    app = typer.main.get_command(build_app())
    commands: dict[str, Any] = app.commands  # type: ignore[attr-defined]
    lines = [TOP]
    for panel, names in PANELS.items():
        if names:
            lines.append(f"- {panel.capitalize()}: " + " · ".join(f"[{name}](#{name})" for name in names))
    lines += ["", "## Everywhere", "", "Before or after the command:", "", *_table(HELP), ""]
    for panel, names in PANELS.items():
        if not names:
            continue
        lines += [f"## {panel.capitalize()}", ""]
        for name in names:
            lines += _command((name,), commands[name])
    return "\n".join(lines).rstrip() + "\n"


def _command(words: tuple[str, ...], command: Any) -> Iterator[str]:
    title = " ".join(words)
    yield f"{'#' * (2 + len(words))} {title}"
    yield ""
    inner: dict[str, Any] = getattr(command, "commands", {})
    if not inner or command.invoke_without_command:
        yield f"`{' '.join(['flows', *words, *_usage(command)])}`"
        yield ""
    also = [alias for alias, meant in ALIASES.items() if meant == title]
    if also:
        yield f"Also: `flows {also[0]}`."
        yield ""
    yield from _paragraphs(command.help or "")
    rows = [(_shown(each), _told(each)) for each in command.params if _is_shown(each)]
    if rows:
        yield from _table(rows)
        yield ""
    for name, each in inner.items():
        yield from _command((*words, name), each)


def _usage(command: Any) -> Iterator[str]:
    if any(_is_option(each) and _is_shown(each) for each in command.params):
        yield "[OPTIONS]"
    for each in command.params:
        if not _is_option(each):
            name = _name(each) + ("" if each.nargs == 1 else "…")
            yield name if each.required else f"[{name}]"


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        yield _marked(" ".join(paragraph.split()))
        yield ""


def _shown(parameter: Any) -> str:
    if not _is_option(parameter):
        return _name(parameter)
    value = "" if parameter.is_flag else " " + (parameter.metavar or _kind(parameter))
    return ", ".join((*parameter.opts, *parameter.secondary_opts)) + value


def _told(parameter: Any) -> str:
    text = (parameter.help or "").strip().rstrip(".")
    # As in the table of what holds everywhere; a word such as JSON stays.
    told = [text if text[1:2].isupper() else text[:1].lower() + text[1:]] if text else []
    least, most = getattr(parameter.type, "min", None), getattr(parameter.type, "max", None)
    if least is not None and most is not None:
        told.append(f"{least:g} to {most:g}")
    if _is_option(parameter) and parameter.default not in (None, False, "", [], ()):
        told.append(f"default `{parameter.default}`")
    if getattr(parameter, "multiple", False) and "repeated" not in text:
        told.append("may be repeated")
    if _is_option(parameter) and parameter.required:
        told.append("required")
    return "; ".join(told)


def _marked(text: str) -> str:
    """The text with options and special variables as code, so that nothing in them is taken for a mark."""
    return re.sub(r"(?<![\w`-])(--[a-z][a-z-]*|__\w+__)(?!`)", r"`\1`", text)


def _kind(parameter: Any) -> str:
    return "N" if "int" in parameter.type.name or "float" in parameter.type.name else "TEXT"


def _name(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper()).strip("[]").removesuffix("...").rstrip("…]")


def _is_option(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "option")


def _is_shown(parameter: Any) -> bool:
    if not _is_option(parameter):
        return bool(parameter.help)
    return not parameter.hidden and "--help" not in parameter.opts


def _table(rows: Any) -> Iterator[str]:
    yield "| | |"
    yield "|---|---|"
    for name, told in rows:
        cells = (f"`{name}`", _marked(told))
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
