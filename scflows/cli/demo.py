"""Start a stand-in for a service of others, and a workspace that uses it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from scflows import command_line
from scflows.errors import Busy, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.cli.output import Output

#: Of the demo's tasks, records and caches; what the environment says would win over the workspace's `.env`.
OWN = ("XDG_STATE_HOME", "XDG_CACHE_HOME", "CRONTAB_PROGRAM")
PORT = 8766


def smartcitizen(
    ctx: typer.Context,
    folder: Annotated[
        str | None, typer.Argument(metavar="DIR", help="The folder of the demo's workspace; else a temporary one.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where it listens; 0: any free port.")] = PORT,
    rate_limit: Annotated[
        int | None, typer.Option(min=1, help="Refuse more than N requests a minute, as the platform does.")
    ] = None,
) -> int:
    """Serve a stand-in for the Smart Citizen platform, and schedule its devices in a workspace of its own.

    Devices, readings and files are made up. Neither your crontab nor your tasks are touched: the workspace has its
    own state. It goes on until Ctrl-C.
    """
    import tempfile

    from scflows.flows.workspace import make_workspace
    from scflows.integrations.smartcitizen.demo.platform import Platform
    from scflows.integrations.smartcitizen.demo.server import serving

    out: Output = ctx.obj
    top = os.path.abspath(os.path.expanduser(folder)) if folder else tempfile.mkdtemp(prefix="flows-demo-")
    try:
        with serving(Platform(rate_limit=rate_limit), port) as server:
            make_workspace(top)
            settings = {**server.settings, **_own(top)}
            _write_settings(top, settings)
            out.say(f"the stand-in listens on {server.url}, its workspace is {top}")
            command = command_line("auto-schedule", "--source", "smartcitizen", "--once")
            clean = {name: value for name, value in os.environ.items() if name not in settings}
            sys.stdout.flush()
            subprocess.run([*command, "--home", top], env=clean, check=False, stdin=subprocess.DEVNULL)
            for line in _hints(top, server.url):
                out.say(line)
            sys.stdout.flush()
            try:
                server.closing.wait()
            except KeyboardInterrupt:
                out.say("stopped")
    except OSError as error:
        import errno

        if error.errno == errno.EADDRINUSE:
            raise Busy(f"port {port} is taken", "choose another with --port; 0 takes any that is free") from error
        raise Refused(f"the stand-in cannot be started: {error}") from error
    return 0


def _own(top: str) -> dict[str, str]:
    places = {"XDG_STATE_HOME": ".state", "XDG_CACHE_HOME": ".cache"}
    return {**{name: os.path.join(top, place) for name, place in places.items()}, "CRONTAB_PROGRAM": "none"}


def _write_settings(top: str, settings: dict[str, str]) -> None:
    """Put settings into the workspace's `.env`, in the place of those of the same name."""
    from scflows.storage import replace

    path = os.path.join(top, ".env")
    with open(path, encoding="utf-8") as file:
        lines = [line for line in file.read().splitlines() if line.partition("=")[0] not in settings]
    lines += [f"{name}={value}" for name, value in settings.items()]
    replace(path, ("\n".join(lines) + "\n").encode(), mode=0o600)


def _hints(top: str, url: str) -> Iterator[str]:
    set_here = [name for name in OWN if os.environ.get(name)]
    yield ""
    yield "in another terminal:"
    if set_here:
        yield f"  unset {' '.join(set_here)}     # else they win over the demo's own"
    yield f"  cd {top}"
    yield "  flows list-tasks"
    yield "  flows devices search demo"
    yield "  flows devices show 13001"
    yield "  flows auto-schedule --source smartcitizen --kind backup --dry-run"
    yield f"  curl {url}/control/posted?device=13001"
    yield "it goes on until Ctrl-C"
