"""Connections to HTTP servers, shared by all the threads of a run; what is secret stays with the server it is for."""

from __future__ import annotations

import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from requests import PreparedRequest, Response, Session
    from requests.adapters import HTTPAdapter

#: How many connections to one server, and to how many servers, are kept for the next call.
KEPT = 64
CHUNK = 64 * 1024

_lock = threading.Lock()
_shared: dict[str, HTTPAdapter] = {}
#: A session for each thread: its cookies are nobody else's. The connections below it are shared.
_own = threading.local()


def call(
    method: str,
    uri: str,
    headers: Mapping[str, bytes],
    *,
    secret_headers: Iterable[str] = (),
    parameters: Iterable[tuple[str, str]] = (),
    body: bytes | None = None,
    verify: bool | str = True,
    timeout: float,
    may_follow: Callable[[str], bool] | None = None,
    masked: Callable[[str], str] = str,
) -> Response:
    """Return the answer to a call, redirects followed, its body not read yet.

    `secret_headers`, and `Authorization` in any case, are left out where a redirect leads to another server.
    `may_follow` says which addresses a redirect may lead to; one that leads elsewhere is itself the answer.
    `verify`: False, or the path of a file with certificates. `masked` takes secrets out of a text. Raises HttpError.
    """
    from requests.auth import HTTPBasicAuth
    from requests.utils import get_auth_from_url

    from scflows.connectors.http.response import http_error

    session = _session()
    # An API's cookies belong to one call with its redirects, not to the calls that come after.
    session.cookies.clear()
    session.secret_headers = tuple(secret_headers)  # type: ignore[attr-defined]
    session.may_follow = may_follow  # type: ignore[attr-defined]
    if verify is False:
        import urllib3

        # The step's own warning says it, once a step and not once a call.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    try:
        user, password = get_auth_from_url(uri)
        # Without any, requests would take a login from ~/.netrc and put it over the given header.
        login = HTTPBasicAuth(user.encode(), password.encode()) if user else _as_it_is
        return session.request(
            method,
            uri,
            params=list(parameters),
            data=body,
            headers=dict(headers),
            auth=login,
            timeout=timeout,
            verify=verify,
            stream=True,
        )
    except (OSError, ValueError) as error:
        # All of requests' own are OSErrors; a ValueError is what urllib3 finds wrong in a uri.
        raise http_error(error, timeout, masked) from error


def read(response: Response, most: int, wait: float, masked: Callable[[str], str] = str) -> tuple[bytes, bool]:
    """Return the body, unpacked, and whether that is all; reading ends after `most` bytes. Raises HttpError."""
    from scflows.connectors.http.content_coding import unpacked
    from scflows.connectors.http.response import http_error

    codings = response.headers.get("content-encoding", "")
    # The library returns what it has of a body that is cut, and a body in an unknown coding as it is.
    response.raw.headers.discard("content-encoding")
    content = bytearray()
    try:
        for chunk in unpacked(response.iter_content(CHUNK), codings):
            content += chunk
            if len(content) > most:
                return bytes(content), False
    except OSError as error:
        raise http_error(error, wait, masked) from error
    return bytes(content), True


def is_same_server(first: str, second: str) -> bool:
    """Whether what is secret for one uri may be sent to another."""
    return not _session().should_strip_auth(first, second)  # type: ignore[no-untyped-call]


def redirect_host(response: Response) -> str:
    """Where an answer leads that is a redirect; "" for one that is none."""
    from urllib.parse import urljoin, urlsplit

    target = response.headers.get("location") if 300 <= response.status_code < 400 else None
    try:
        return "" if target is None else urlsplit(urljoin(str(response.url), target)).netloc.rpartition("@")[2] or "?"
    except ValueError:
        return "?"


def _session() -> Session:
    found: Session | None = getattr(_own, "session", None)
    if found is None:
        found = _own.session = _new_session()
    return found


def _new_session() -> Session:
    from urllib.parse import urljoin

    import requests

    class OneServer(requests.Session):
        secret_headers: tuple[str, ...] = ()
        may_follow: Callable[[str], bool] | None = None

        def get_redirect_target(self, resp: Response) -> str | None:
            target: str | None = super().get_redirect_target(resp)
            if target is None or self.may_follow is None or self.may_follow(urljoin(str(resp.url), target)):
                return target
            return None

        def rebuild_auth(self, prepared_request: PreparedRequest, response: Response) -> None:
            # Not the library's own, which leaves all but Authorization in place and looks into ~/.netrc.
            before, after = str(response.request.url), str(prepared_request.url)
            if self.should_strip_auth(before, after):  # type: ignore[no-untyped-call]
                for name in ("Authorization", *self.secret_headers):
                    prepared_request.headers.pop(name, None)

    session = OneServer()
    # What `read` can unpack; the library would also ask for what other installed packages can.
    session.headers["Accept-Encoding"] = "gzip, deflate"
    for scheme in ("https://", "http://"):
        session.mount(scheme, _adapter())
    return session


def _adapter() -> HTTPAdapter:
    with _lock:
        if "adapter" not in _shared:
            from requests.adapters import HTTPAdapter

            _shared["adapter"] = HTTPAdapter(pool_connections=KEPT, pool_maxsize=KEPT)
        return _shared["adapter"]


def _as_it_is(request: Any) -> Any:
    return request
