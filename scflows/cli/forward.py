"""Forward messages between brokers; show forwarder status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from scflows.cli.times import Moment, Status
from scflows.errors import UsageError

if TYPE_CHECKING:
    from scflows.cli.output import Output
    from scflows.integrations.forward.contract import Message

SchemaFile = Annotated[
    str, typer.Option("--schema-file", metavar="FILE", help="The source, the destination and the mapping.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be sent; receive and send nothing.")]
Count = Annotated[int, typer.Option(min=0, help="With --dry-run: exit after N messages; 0 = no limit.")]


def mqtt(ctx: typer.Context, schema_file: SchemaFile, dry_run: DryRun = False, count: Count = 0) -> None:
    """Forward messages from one broker to another, in the foreground.

    A message is acknowledged to the source once the destination has accepted it or, if the destination is down, once
    it is stored on disk. FILE defines how to rewrite topics, map names with a table, and transform payloads. Either
    end may also be Kafka. On SIGTERM or Ctrl-C it receives no further messages, delivers those in flight and exits
    with 0.
    """
    _forward(ctx.obj, schema_file, dry_run, count, ("http", "staplus+http"), "staplus")


def staplus(ctx: typer.Context, schema_file: SchemaFile, dry_run: DryRun = False, count: Count = 0) -> None:
    """Forward readings as observations to a SensorThings service.

    Works like `flows forward mqtt`; `to: url` in FILE is the address of the service.
    """
    _forward(ctx.obj, schema_file, dry_run, count, ("mqtt", "kafka"), "mqtt")


def status(ctx: typer.Context) -> int:
    """Show the status of forwarders. Exits with 1 if one of them fails."""
    import time

    from scflows.integrations.forward.status import FAIL, evaluate, read_all

    out: Output = ctx.obj
    items: list[dict[str, Any]] = []
    for forwarder in read_all(out.settings):
        level, text = evaluate(forwarder, time.time())
        last = forwarder.get("last_forwarded")
        items.append(
            {
                **forwarder,
                "level": Status(level),
                "text": text,
                "forwarded": forwarder.get("forwarded"),
                "waiting": forwarder["spool"]["messages"] if "spool" in forwarder else None,
                "last": Moment(last) if last else None,
            }
        )
    columns = {"LEVEL": "level", "NAME": "name", "FORWARDED": "forwarded", "WAITING": "waiting", "LAST": "last"}
    out.table({**columns, "STATE": "text"}, items, less=("last", "waiting"))
    if not items:
        out.hint("No forwarder has been started. How to start one: flows forward mqtt --help")
    return 1 if any(item["level"] == FAIL for item in items) else 0


def _forward(out: Output, path: str, dry_run: bool, count: int, others: tuple[str, ...], other: str) -> None:
    from scflows.integrations.forward.schema import read_schema
    from scflows.integrations.forward.service import preview, serve

    schema = read_schema(path)
    if schema.sink.scheme in others:
        raise UsageError(f"{path}: `to` is {schema.sink.url}", f"use: flows forward {other}")
    if not dry_run:
        serve(schema, out.settings, out.line)
        return
    preview(schema, out.settings, lambda message, made: _show(out, message, made), count, out.warn)


def _show(out: Output, message: Message, made: object) -> None:
    from scflows.integrations.forward.contract import Dropped, Outgoing, Refused

    item: dict[str, Any] = {"topic": message.topic, "bytes": len(message.payload)}
    if isinstance(made, Outgoing):
        item |= {"to": made.topic, "payload": made.payload.decode("utf-8", "backslashreplace")}
        text = f"{message.topic} → {made.topic}  {item['payload']}"
    elif isinstance(made, Dropped | Refused):
        result = "dropped" if isinstance(made, Dropped) else "refused"
        item[result] = made.reason
        text = f"{message.topic} {result}: {made.reason}"
    if out.json:
        out.object(item)
    else:
        out.line(out.cell(text))
