"""Forward messages between brokers, and see how the forwardings do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from scflows.cli.times import Moment, Status
from scflows.errors import UsageError

if TYPE_CHECKING:
    from scflows.cli.output import Output
    from scflows.integrations.forward.base import Message

SchemaFile = Annotated[str, typer.Option("--schema-file", metavar="FILE", help="What goes from where to where.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be sent; take and send nothing.")]
Count = Annotated[int, typer.Option(min=0, help="With --dry-run: end after so many messages; 0 for any number.")]


def mqtt(ctx: typer.Context, schema_file: SchemaFile, dry_run: DryRun = False, count: Count = 0) -> None:
    """Forward messages from one broker to another, in the foreground, until told to stop.

    A message is acknowledged where it came from once the other broker has taken it, or once it lies on the disk since
    that broker is away. Topics are rewritten, names mapped by a table, payloads kept or reshaped, as FILE says. Either
    end may also be Kafka. SIGTERM or Ctrl-C: takes nothing more, waits for what is on its way, ends with 0.
    """
    _forward(ctx.obj, schema_file, dry_run, count, ("http", "staplus+http"), "staplus")


def staplus(ctx: typer.Context, schema_file: SchemaFile, dry_run: DryRun = False, count: Count = 0) -> None:
    """Turn readings into observations of a SensorThings service, in the foreground, until told to stop.

    As `flows forward mqtt`, to the service whose address the schema's `to: url` has.
    """
    _forward(ctx.obj, schema_file, dry_run, count, ("mqtt", "kafka"), "mqtt")


def status(ctx: typer.Context) -> int:
    """How the forwardings do. Ends with 1 when one of them fails."""
    import time

    from scflows.integrations.forward.status import FAIL, evaluate, read_all

    out: Output = ctx.obj
    items: list[dict[str, Any]] = []
    for told in read_all(out.settings):
        level, text = evaluate(told, time.time())
        last = told.get("last_forwarded")
        items.append(
            {
                **told,
                "level": Status(level),
                "text": text,
                "forwarded": told.get("forwarded"),
                "waiting": told["spool"]["messages"] if "spool" in told else None,
                "last": Moment(last) if last else None,
            }
        )
    columns = {"LEVEL": "level", "NAME": "name", "FORWARDED": "forwarded", "WAITING": "waiting", "LAST": "last"}
    out.table({**columns, "STATE": "text"}, items)
    if not items:
        out.hint("none was ever started; start one with: flows forward mqtt --schema-file FILE")
    return 1 if any(item["level"] == FAIL for item in items) else 0


def _forward(out: Output, path: str, dry_run: bool, count: int, others: tuple[str, ...], other: str) -> None:
    from scflows.integrations.forward.schema import read_schema
    from scflows.integrations.forward.service import preview, serve

    schema = read_schema(path)
    if schema.sink.scheme in others:
        raise UsageError(f"{path}: `to` is {schema.sink.url}", f"that is the work of: flows forward {other}")
    if not dry_run:
        serve(schema, out.settings, out.line)
        return
    preview(schema, out.settings, lambda message, made: _show(out, message, made), count, out.warn)


def _show(out: Output, message: Message, made: object) -> None:
    from scflows.integrations.forward.base import Dropped, Outgoing, Refused

    item: dict[str, Any] = {"topic": message.topic, "bytes": len(message.payload)}
    if isinstance(made, Outgoing):
        item |= {"to": made.topic, "payload": made.payload.decode("utf-8", "backslashreplace")}
        text = f"{message.topic} → {made.topic}  {item['payload']}"
    elif isinstance(made, Dropped | Refused):
        what = "dropped" if isinstance(made, Dropped) else "refused"
        item[what] = made.reason
        text = f"{message.topic} {what}: {made.reason}"
    if out.json:
        out.object(item)
    else:
        out.line(out.cell(text))
