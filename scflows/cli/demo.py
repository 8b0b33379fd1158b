"""Start a local mock of an external service, and a workspace that uses it."""

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

#: Settings of the demo's workspace; if the environment sets them, it takes precedence over `.env`.
OWN = ("XDG_STATE_HOME", "XDG_CACHE_HOME", "CRONTAB_PROGRAM")
PORT = 8766


def smartcitizen(
    ctx: typer.Context,
    folder: Annotated[
        str | None, typer.Argument(metavar="DIR", help="The folder of the demo's workspace (default: a temporary one).")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port of the mock; 0: any free port.")] = PORT,
    rate_limit: Annotated[
        int | None, typer.Option(min=1, help="Refuse more than N requests per minute, as the platform does.")
    ] = None,
) -> int:
    """Serve a mock of the Smart Citizen platform.

    Its devices are scheduled in a separate workspace; devices, readings and files are invented. The workspace has
    its own state, so your crontab and tasks are not touched. Stop it with Ctrl-C.
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
            out.say(f"The mock listens on {server.url}; its workspace is {top}.")
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
                out.say("Stopped.")
    except OSError as error:
        raise _not_started(error, port) from error
    return 0


def harvest(
    ctx: typer.Context,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port of the stand-ins; 0: any free port.")] = PORT,
    posts: Annotated[int, typer.Option(min=1, help="How many posts each service has.")] = 3000,
    limit_every: Annotated[int, typer.Option(min=0, help="Answer each Nth request with a limit (429).")] = 0,
    cut_every: Annotated[int, typer.Option(min=0, help="Cut the connection at each Nth request.")] = 0,
    expire_at: Annotated[int, typer.Option(min=0, help="Refuse the cursor of the Nth request as expired.")] = 0,
) -> int:
    """Serve mocks of X, Mastodon and Bluesky with invented posts.

    They listen on the loopback interface until Ctrl-C. Options add limits, cut connections and expired cursors.
    """
    import threading

    from scflows.integrations.social.demo import TOKEN, Faults, Service, serving

    out: Output = ctx.obj
    faults = Faults(limit_every=limit_every, cut_every=cut_every, expire_at=expire_at)
    try:
        with serving(Service(posts, faults), port) as server:
            out.say(f"The stand-ins listen on {server.url}. Their token and password is {TOKEN}. In a flow:")
            out.say("")
            out.say("  steps:")
            out.say("    - name: fetch")
            out.say("      type: harvest")
            out.say(f"      harvest: {{source: mastodon, server: '{server.url}', term: '#air', folder: harvest}}")
            out.say("")
            out.say("Stop them with Ctrl-C.")
            sys.stdout.flush()
            try:
                threading.Event().wait()
            except KeyboardInterrupt:
                out.say("Stopped.")
    except OSError as error:
        raise _not_started(error, port) from error
    return 0


def _not_started(error: OSError, port: int) -> Busy | Refused:
    import errno

    if error.errno == errno.EADDRINUSE:
        return Busy(f"port {port} is in use", "choose another with --port; 0 picks any free port")
    return Refused(f"the mock could not be started: {error}")


def _own(top: str) -> dict[str, str]:
    folders = {"XDG_STATE_HOME": ".state", "XDG_CACHE_HOME": ".cache"}
    return {**{name: os.path.join(top, folder) for name, folder in folders.items()}, "CRONTAB_PROGRAM": "none"}


def _write_settings(top: str, settings: dict[str, str]) -> None:
    """Write settings to the workspace's `.env`, replacing those of the same name."""
    from scflows.storage import replace

    path = os.path.join(top, ".env")
    with open(path, encoding="utf-8") as file:
        lines = [line for line in file.read().splitlines() if line.partition("=")[0] not in settings]
    lines += [f"{name}={value}" for name, value in settings.items()]
    replace(path, ("\n".join(lines) + "\n").encode(), mode=0o600)


def _hints(top: str, url: str) -> Iterator[str]:
    set_here = [name for name in OWN if os.environ.get(name)]
    yield ""
    yield "In another terminal:"
    if set_here:
        yield f"  unset {' '.join(set_here)}     # they would override the demo's own"
    yield f"  cd {top}"
    yield "  flows list-tasks"
    yield "  flows devices search demo"
    yield "  flows devices show 13001"
    yield "  flows auto-schedule --source smartcitizen --kind backup --dry-run"
    yield f"  curl {url}/control/posted?device=13001"
    yield "Stop the mock with Ctrl-C."
