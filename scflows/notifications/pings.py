"""Pings: short calls to a dead man's switch service, which alerts when pings stop or report a failure."""

from __future__ import annotations

import os
import select
import signal
import time

from scflows import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Seconds that an attempt may wait for the other side, and how many attempts are made.
TIMEOUT = 5.0
ATTEMPTS = 2
#: Seconds after which a ping is ended, whatever it does: an answer that trickles never exceeds TIMEOUT.
TOTAL = 10.0
#: Seconds that its process may need to start and to end.
MARGIN = 2.0
#: How much of a failed run's log is sent, in bytes; such services truncate longer bodies.
BODY_BYTES = 10_000
#: What the process of a ping reports if nothing went wrong.
OK = "ok"


class Ping:
    """A call to an address, with a body if there is one, from a process of its own.

    `{task}` in the address stands for the task's name. The parameter `rid` connects the pings of a run; such services
    expect a UUID, so it is derived from the run's id. Raises OSError if the process cannot be started.
    """

    def __init__(self, address: str, run: str, task: str, body: str = "") -> None:
        from scflows.connectors.process import run_detached

        self._url = _address(address, run, task)
        self._ends = time.monotonic() + TOTAL + MARGIN
        self._answer, writer = os.pipe2(os.O_CLOEXEC)
        try:
            self._pid = run_detached(lambda: _report(self._url, body), stdout=writer)
        except OSError:
            os.close(self._answer)
            raise
        finally:
            os.close(writer)

    def wait(self) -> str:
        """Wait for its end and return what went wrong, or an empty text."""
        answer = b""
        poll = select.poll()
        poll.register(self._answer)
        while poll.poll(max(0.0, self._ends - time.monotonic()) * 1000):
            chunk = os.read(self._answer, 4096)
            if not chunk:
                break
            answer += chunk
        os.close(self._answer)
        try:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        except OSError:
            pass  # It was reaped by others.
        problem = answer.decode("utf-8", "replace") if answer else f"ended after {TOTAL:g} s without an answer"
        return "" if problem == OK else f"ping {_shown(self._url)}: {' '.join(problem.split())[:200]}"


def _report(url: str, body: str) -> None:
    # The kernel ends the process, also while it is in a C library, and after the process of the run has died.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    signal.setitimer(signal.ITIMER_REAL, TOTAL)
    os.write(1, (_call(url, body) or OK).encode("utf-8", "replace"))


def _call(url: str, body: str) -> str:
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request

    data = body.encode("utf-8", "replace")[-BODY_BYTES:] if body else None
    headers = {"User-Agent": f"scflows/{__version__}"}
    if data is not None:
        headers["Content-Type"] = "text/plain; charset=utf-8"
    problem = ""
    opener = _opener(url)
    for _ in range(ATTEMPTS):
        try:
            # The scheme is http or https, checked when the address was read.
            with opener.open(Request(url, data, headers), timeout=TIMEOUT):
                return ""
        except HTTPError as error:
            error.close()
            problem = f"status {error.code}"
            if error.code < 500:
                break
        except (OSError, ValueError, HTTPException) as error:
            problem = str(getattr(error, "reason", error)) or type(error).__name__
    return problem


def _opener(url: str) -> Any:
    """Return what opens an address and follows its redirects, but not to another scheme or to a link-local address.

    At link-local addresses, machines of cloud providers offer their credentials.
    """
    from http.client import HTTPConnection, HTTPSConnection
    from urllib.error import URLError
    from urllib.parse import urlsplit
    from urllib.request import HTTPHandler, HTTPRedirectHandler, HTTPSHandler, build_opener

    first = urlsplit(url)

    def check(address: str) -> None:
        if _is_link_local(address):
            raise URLError(f"redirected to the link-local address {address}")

    class Redirects(HTTPRedirectHandler):
        def redirect_request(self, request: Any, fp: Any, code: int, reason: str, headers: Any, target: str) -> Any:
            parts = urlsplit(target)
            if parts.scheme != first.scheme:
                raise URLError(f"redirected from {first.scheme} to {parts.scheme[:20]}")
            if parts.hostname != first.hostname:
                check(parts.hostname or "")
            return super().redirect_request(request, fp, code, reason, headers, target)

    def checked(kind: type[Any]) -> Any:
        class Connection(kind):  # type: ignore[misc]
            def connect(self) -> None:
                super().connect()
                # A name may stand for such an address, too.
                if self.host != first.hostname:
                    check(self.sock.getpeername()[0])

        return Connection

    class Plain(HTTPHandler):
        def http_open(self, request: Any) -> Any:
            return self.do_open(checked(HTTPConnection), request)

    class Encrypted(HTTPSHandler):
        def https_open(self, request: Any) -> Any:
            return self.do_open(checked(HTTPSConnection), request)

    return build_opener(Redirects, Plain, Encrypted)


def _is_link_local(address: str) -> bool:
    from ipaddress import ip_address

    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False  # A name, which is checked once it is connected to.
    mapped = getattr(found, "ipv4_mapped", None)
    return found.is_link_local or (mapped is not None and mapped.is_link_local)


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
