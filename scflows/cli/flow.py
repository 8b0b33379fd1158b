"""Check and list flow files."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import replace
from typing import Annotated, Any

import typer

from scflows.cli import completion
from scflows.cli.output import Output, mistake_item
from scflows.cli.stream import escaped
from scflows.errors import FlowError, Mistake, NotFound, ScflowsError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.flows.loader import FlowPath
    from scflows.settings import Settings

FORMATS = ("text", "json", "github")


def validate(
    ctx: typer.Context,
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE|FOLDER]...",
            help="Files or folders (default: the flows folder).",
            autocompletion=completion.flows,
        ),
    ] = None,
    format: Annotated[str, typer.Option("--format", help="The output format: text, json, or github.")] = "text",
    strict: Annotated[bool, typer.Option("--strict", help="Fail on warnings too.")] = False,
) -> int:
    """Check flow files without running them.

    Without FILE and FOLDER, also checks `.env` and `config.yml`. Prints every mistake with file, line and column. Exits
    with 1 if a flow is invalid, with 2 if a file does not exist.
    """
    from scflows.health.workspace_files import file_mistakes

    out: Output = ctx.obj
    if format not in FORMATS:
        raise UsageError(f"--format must be one of {', '.join(FORMATS)}, not {format!r}")
    files = 0
    found: list[Mistake] = []
    sources: dict[str, list[str]] = {}
    missing = False
    for shown, flow in _named(paths or [], out.settings):
        if flow is None:
            missing = True
            found.append(Mistake(shown, "flow file not found"))
            continue
        files += 1
        mistakes, source = _checked(shown, flow, out.settings)
        found += mistakes
        sources[shown] = source
    if not paths:
        for mistake in file_mistakes(out.settings):
            lines = _lines(mistake.path)
            mistake.path = _near(mistake.path)
            sources[mistake.path] = lines
            found.append(mistake)
    errors = sum(each.severity == "error" for each in found)
    warnings = len(found) - errors
    if out.json or format == "json":
        items = [mistake_item(each) for each in found]
        out.object({"schema": 1, "items": items, "files": files, "errors": errors, "warnings": warnings})
    else:
        for each in found:
            for line in _annotation(each) if format == "github" else _pointed(each, sources.get(each.path, []), out):
                out.line(line)
        out.say(_summary(files, errors, warnings))
    if missing:
        return 2
    return 1 if errors or (strict and warnings) else 0


def list_flows(ctx: typer.Context) -> None:
    """List flow files with their schedules, steps and problems."""
    from scflows.flows.loader import flow_files

    out: Output = ctx.obj
    folder = out.settings.flows_path
    if not os.path.isdir(folder):
        raise _no_folder(out.settings)
    items = [_item(flow, out.settings) for flow in flow_files(out.settings)]
    columns = {"FLOW": "flow", "NAME": "name", "SCHEDULE": "schedule", "STEPS": "steps", "PROBLEMS": "summary"}
    out.table(columns, items, less=("name", "steps"))
    if not items:
        out.hint(f"No flows in {folder} · add the examples: flows init {shlex.quote(out.settings.home)}")
    elif any(item["problems"] for item in items):
        out.hint("Show the problems: flows validate")


def _named(paths: list[str], settings: Settings) -> Iterator[tuple[str, FlowPath | None]]:
    """Return the named flow files, each with the name to show; None for one that does not exist."""
    from scflows.flows.loader import ENDINGS, FlowPath, find_flow, flow_files

    if not paths and not os.path.isdir(settings.flows_path):
        raise _no_folder(settings)
    for path in paths or [settings.flows_path]:
        if os.path.isdir(path):
            folder = os.path.realpath(path)
            for each in flow_files(replace(settings, environment={"FLOWS_PATH": folder})):
                shown = os.path.join(path if paths else folder, each.written)
                yield (shown if paths else _near(shown)), each
        elif os.path.exists(path) and "\n" not in path:
            file = os.path.realpath(path)
            yield path, FlowPath(file, os.path.basename(path), os.path.dirname(file))
        else:
            try:
                found = find_flow(path, settings)
            except FlowError:
                yield path, None
            else:
                yield (path if path.endswith(ENDINGS) else _near(found.file)), found


def _checked(shown: str, flow: FlowPath, settings: Settings) -> tuple[list[Mistake], list[str]]:
    """Return the mistakes in a file, and its lines."""
    from scflows.flows.loader import SCHEMAS, THRESHOLDS, check_name
    from scflows.flows.missing import missing_hooks, missing_secrets
    from scflows.flows.parser import parse_flow
    from scflows.storage import open_regular
    from scflows.validation import MAX_BYTES

    try:
        check_name(flow.file, shown)
        with open(open_regular(flow.file), "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FlowError as error:
        return error.mistakes, []
    except OSError as error:
        return [Mistake(shown, f"cannot be read: {error.strerror}")], []
    lines = content.decode("utf-8", "replace").splitlines()
    if flow.file in (os.path.realpath(settings.config_file), os.path.realpath(settings.env_file)):
        from scflows.health.workspace_files import config_mistakes, env_mistakes

        check = config_mistakes if flow.file == os.path.realpath(settings.config_file) else env_mistakes
        return [Mistake(shown, each.message, each.line, each.column, each.severity) for each in check(settings)], lines
    try:
        if flow.file.endswith(SCHEMAS):
            from scflows.integrations.forward.preflight import schema_mistakes

            return schema_mistakes(flow.file, shown, settings), lines
        if flow.file.endswith(THRESHOLDS):
            from scflows.integrations.smartcitizen.checks.thresholds import read_thresholds

            read_thresholds(flow.file, shown)
            return [], lines
        parsed, warnings = parse_flow(content, flow.written, flow.file, shown)
        missing = [
            *missing_hooks(parsed.hooks, flow.folder, flow.file, shown),
            *missing_secrets(parsed, settings, shown, always=False),
        ]
        return [*warnings, *missing], lines
    except FlowError as error:
        return error.mistakes, lines
    except UsageError as error:
        return [Mistake(shown, str(error).removeprefix(f"{shown}: "))], lines


def _lines(path: str) -> list[str]:
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def _pointed(mistake: Mistake, source: list[str], out: Output) -> Iterator[str]:
    """Return the mistake, then its line of the file with a mark below the column."""
    yield out.mistake(sys.stdout, mistake)
    if 0 < mistake.line <= len(source):
        text = source[mistake.line - 1].replace("\t", " ")
        yield f"{mistake.line:>5} | {escaped(text)}"
        at = mistake.column - 1
        if 0 <= at < len(text) and text.isprintable():
            length = 1
            while at + length < len(text) and (text[at + length].isalnum() or text[at + length] in "_-."):
                length += 1
            yield f"      | {' ' * at}{out.caret(mistake, '^' * length)}"


def _annotation(mistake: Mistake) -> Iterator[str]:
    """Return the mistake as a GitHub workflow command.

    See https://docs.github.com/actions/reference/workflow-commands.
    """

    def quoted(text: str) -> str:
        return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")

    file = quoted(mistake.path).replace(":", "%3A").replace(",", "%2C")
    position = f",line={mistake.line},col={mistake.column}" if mistake.line else ""
    yield f"::{mistake.severity} file={file}{position}::{quoted(mistake.message)}"


def _summary(files: int, errors: int, warnings: int) -> str:
    def counted(count: int, word: str) -> str:
        return f"{count} {word}" if count == 1 else f"{count} {word}s"

    summary = f"{counted(files, 'file')}, {counted(errors, 'error') if errors else 'no errors'}"
    return summary + (f", {counted(warnings, 'warning')}" if warnings else "")


def _item(path: FlowPath, settings: Settings) -> dict[str, Any]:
    from scflows.flows.loader import load_flow

    item: dict[str, Any] = {"flow": path.written, "file": path.file, "name": "", "schedule": None, "steps": None}
    try:
        flow = load_flow(path, settings)
    except FlowError as error:
        count = sum(each.severity == "error" for each in error.mistakes)
        summary = f"{count} error" if count == 1 else f"{count} errors"
        problems = [mistake_item(each) for each in error.mistakes]
        return {**item, "description": "", "problems": problems, "summary": summary}
    schedule = None if flow.schedule is None else _words(flow.schedule)
    item |= {"name": flow.name, "schedule": schedule, "steps": len(flow.steps), "description": flow.description}
    return {**item, "problems": [], "summary": ""}


def _words(schedule: dict[str, Any]) -> str:
    """Describe a schedule that has no slot yet."""
    from scflows.cron.schedule.describe import duration
    from scflows.cron.schedule.schedule import Schedule
    from scflows.cron.schedule.spec import parse_schedule

    try:
        spec = parse_schedule(schedule)
    except ScflowsError as error:
        return str(error)  # For example a time zone that this machine does not have.
    if spec.cron is not None:
        return Schedule(spec.cron, timezone=spec.timezone).words()
    assert spec.every is not None
    return f"every {duration(spec.every)}"


def _near(path: str) -> str:
    """Return the path relative to the current folder if it is below it."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def _no_folder(settings: Settings) -> NotFound:
    help = f"create a workspace here: flows init {shlex.quote(settings.home)}"
    return NotFound(f"flows folder {settings.flows_path} not found", help)
