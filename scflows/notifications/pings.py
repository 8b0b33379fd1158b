"""Pings: short calls to a dead-man service, which tells when they stay away or say that something failed."""

from __future__ import annotations

import os
import signal
import time

from scflows import __version__

#: Seconds that one try may take, and how often it is tried.
TIMEOUT = 5.0
TRIES = 2
#: How much of a failed run is told along, in bytes; such services cut what is longer.
BODY_BYTES = 10_000


def ping(address: str, run: str, task: str, body: str = "") -> str:
    """Call an address, with a body if there is one; what went wrong, or nothing.

    `{task}` in it stands for the task's name. The parameter `rid` ties start and end of a run together: such
    services want a UUID, so it is one made of the run's id.
    """
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    url = _address(address, run, task)
    data = body.encode("utf-8", "replace")[-BODY_BYTES:] if body else None
    headers = {"User-Agent": f"scflows/{__version__}"}
    if data is not None:
        headers["Content-Type"] = "text/plain; charset=utf-8"
    problem = ""
    for _ in range(TRIES):
        try:
            # The scheme was checked to be http or https when the address was read.
            with urlopen(Request(url, data, headers), timeout=TIMEOUT):
                return ""
        except HTTPError as error:
            error.close()
            problem = f"status {error.code}"
            if error.code < 500:
                break
        except (OSError, ValueError, HTTPException) as error:
            problem = str(getattr(error, "reason", error)) or type(error).__name__
    return f"ping {_shown(url)}: {' '.join(problem.split())[:200]}"


def ping_aside(address: str, run: str, task: str) -> int:
    """The same from a process of its own, so that nobody waits for it; its number, for `wait_for`."""
    from scflows.connectors.process import run_detached

    return run_detached(lambda: ping(address, run, task))


def wait_for(pid: int) -> None:
    """Wait until a ping that was sent aside is over, so that a run's end is not told before its start."""
    ends = time.monotonic() + TIMEOUT * TRIES + 1
    try:
        while not os.waitpid(pid, os.WNOHANG)[0]:
            if time.monotonic() > ends:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return
            time.sleep(0.01)
    except OSError:
        pass  # It is gone.


def _address(address: str, run: str, task: str) -> str:
    from urllib.parse import quote, urlsplit, urlunsplit
    from uuid import NAMESPACE_URL, uuid5

    parts = urlsplit(address.replace("{task}", quote(task, safe="")))
    rid = f"rid={uuid5(NAMESPACE_URL, f'scflows:run:{run}')}"
    return urlunsplit(parts._replace(query=f"{parts.query}&{rid}" if parts.query else rid))


def _shown(url: str) -> str:
    """The address without what may be secret: its path is often the key."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}/…"
