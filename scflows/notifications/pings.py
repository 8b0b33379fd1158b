"""Pings: short calls to a dead man's switch service, which alerts when pings stop or report a failure."""

from __future__ import annotations

import os
import signal
import time

from scflows import __version__

#: Seconds that an attempt may take, and how many attempts are made.
TIMEOUT = 5.0
ATTEMPTS = 2
#: How much of a failed run's log is sent, in bytes; such services truncate longer bodies.
BODY_BYTES = 10_000


def ping(address: str, run: str, task: str, body: str = "") -> str:
    """Call an address, with a body if there is one. Return what went wrong, or an empty text.

    `{task}` in the address stands for the task's name. The parameter `rid` connects the pings of a run; such services
    expect a UUID, so it is derived from the run's id.
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
    for _ in range(ATTEMPTS):
        try:
            # The scheme is http or https, checked when the address was read.
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


def ping_in_background(address: str, run: str, task: str) -> int:
    """Call an address from a separate process and return its process id, for `wait_for`."""
    from scflows.connectors.process import run_detached

    return run_detached(lambda: ping(address, run, task))


def wait_for(pid: int) -> None:
    """Wait for a ping in the background, so that a run's end is not reported before its start."""
    ends = time.monotonic() + TIMEOUT * ATTEMPTS + 1
    try:
        while not os.waitpid(pid, os.WNOHANG)[0]:
            if time.monotonic() > ends:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return
            time.sleep(0.01)
    except OSError:
        pass  # The process has ended.


def _address(address: str, run: str, task: str) -> str:
    from urllib.parse import quote, urlsplit, urlunsplit
    from uuid import NAMESPACE_URL, uuid5

    parts = urlsplit(address.replace("{task}", quote(task, safe="")))
    rid = f"rid={uuid5(NAMESPACE_URL, f'scflows:run:{run}')}"
    return urlunsplit(parts._replace(query=f"{parts.query}&{rid}" if parts.query else rid))


def _shown(url: str) -> str:
    """Return the address without its path, which is often a key."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}/…"
