"""Commands for writing flows: step types, a JSON Schema for editors, a drawing of a flow."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from scflows.cli import completion
from scflows.cli.output import SCHEMA, Output
from scflows.cli.stream import escaped
from scflows.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.flows.step_types import StepType
    from scflows.steps import Option

FORMATS = ("text", "dot", "json")


def steps(
    ctx: typer.Context,
    type: Annotated[
        str | None,
        typer.Argument(metavar="TYPE", help="Show only this step type, in full.", autocompletion=completion.step_types),
    ] = None,
) -> None:
    """List step types; show one with its options and an example.

    The list includes step types from other packages.
    """
    from scflows.flows.step_types import all_step_types, find_step_type

    out: Output = ctx.obj
    if type is not None:
        _show(find_step_type(type), out)
        return
    items = [_item(each) for each in all_step_types()]
    shown = [
        {**item, "from": item["package"] or "built-in", "does": item["problem"] or item["summary"]} for item in items
    ]
    if out.json:
        out.table({}, items)
        return
    out.table({"TYPE": "name", "FROM": "from", "DOES": "does"}, shown, less=("from",))
    out.hint("Show the options of one, with an example: flows steps rest")


def schema(ctx: typer.Context) -> None:
    """Print a JSON Schema of flow files, for editors.

    Save it as flow.schema.json and start a flow with: # yaml-language-server: $schema=flow.schema.json
    """
    import json

    from scflows.flows.json_schema import flow_schema

    out: Output = ctx.obj
    out.line(json.dumps(flow_schema(), indent=2))


def graph(
    ctx: typer.Context,
    flow: Annotated[str, typer.Argument(metavar="FLOW", help="A flow file.", autocompletion=completion.flows)],
    format: Annotated[str, typer.Option("--format", help="text, json, or dot (for Graphviz).")] = "text",
) -> None:
    """Draw a flow: its steps, jumps and child flows.

    Graphviz turns the dot format into a picture: flows graph FLOW --format dot | dot -Tsvg -o flow.svg
    """
    from scflows.flows.drawing import draw
    from scflows.flows.loader import find_flow, load_flow

    out: Output = ctx.obj
    if format not in FORMATS:
        raise UsageError(f"--format must be one of {', '.join(FORMATS)}, not {format!r}")
    drawing = draw(load_flow(find_flow(flow, out.settings), out.settings))
    if out.json or format == "json":
        out.object({"schema": SCHEMA, **drawing.to_dict()})
        return
    if format == "dot":
        from scflows.flows.drawing.dot import dot

        for line in dot(drawing):
            out.line(line)
        return
    from scflows.flows.drawing.text import text

    for line in text(drawing):
        out.line(escaped(line))


def _show(found: StepType, out: Output) -> None:
    item = _item(found)
    if out.json:
        out.object(item)
        return
    about = [("type", found.name), ("from", found.package), ("does", found.summary)]
    out.fields(
        [*((title, value) for title, value in about if value), *(("", line) for line in found.more.splitlines())]
    )
    columns = {"OPTION": "name", "KIND": "kind", "DEFAULT": "default", "TEMPLATE": "template"}
    if found.options:
        out.line("")
        rows = [{**_option(each), "kind": _kind(each), "default": _default(each)} for each in found.options]
        columns |= {"CHOICES": "choices", "HELP": "help"}
        out.table(columns, [{**row, "choices": _words(row)} for row in rows], less=("choices", "template", "default"))
    out.line("")
    for line in found.example.splitlines():
        out.line(line)


def _item(found: StepType) -> dict[str, Any]:
    """Return a step type as JSON values."""
    names = ("name", "package", "summary", "more", "example", "problem")
    return {name: getattr(found, name) for name in names} | {"options": [_option(each) for each in found.options]}


def _option(option: Option) -> dict[str, Any]:
    names = ("name", "required", "default", "template", "minimum", "help")
    return {name: getattr(option, name) for name in names} | {
        "kinds": list(option.kinds),
        "choices": list(option.choices),
    }


def _kind(option: Option) -> str:
    return " or ".join(kind for kind in option.kinds if kind != "null") or "any"


def _default(option: Option) -> str | None:
    if option.required:
        return "required"
    if option.default is None:
        return None
    from scflows.documents import json_text

    return option.default if isinstance(option.default, str) else json_text(option.default)


def _words(row: dict[str, Any]) -> str:
    return " ".join(row["choices"])
