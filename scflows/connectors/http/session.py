"""HTTP sessions that share connections between the threads of a run and send secrets only to their own server."""

from __future__ import annotations

import contextlib
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any

    from requests import Response, Session
    from requests.adapters import HTTPAdapter

#: How many connections to one server, and to how many servers, are retained for the next call.
KEPT = 64
CHUNK = 64 * 1024
MAX_REDIRECTS = 30
#: The status of a redirect whose target is read after a write (RFC 9110, 15.4.4). All others repeat the request.
SEE_OTHER = 303
READING = ("GET", "HEAD")
CONTENT_HEADERS = ("content-type", "content-length", "content-encoding", "content-language", "transfer-encoding")

_lock = threading.Lock()
_shared: dict[str, HTTPAdapter] = {}
#: A session for each thread, with its own cookies. The connections are shared.
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
    warn: Callable[[str], None] = lambda message: None,
) -> Response:
    """Return the response to a call, after redirects, its body not read yet.

    A redirect repeats the request with its method, body, headers and cookies; only 303 turns it into a `GET`, because
    then the write was carried out. `secret_headers`, `Authorization` and `Cookie` are not sent to another server.
    `may_follow` says which addresses a redirect may lead to; one that leads elsewhere is itself the answer.
    `verify`: False, or the path of a file with certificates. `masked` takes secrets out of a text. `warn` is called
    if another server does not get headers or a login. Raises HttpError.
    """
    from scflows.connectors.http.response import HttpError, http_error

    session = _session()
    # An API's cookies belong to one call with its redirects, not to the calls that come after.
    session.cookies.clear()
    if verify is False:
        import urllib3

        # The step's own warning says it, once a step and not once a call.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    headers = dict(headers)
    private = {name.lower() for name in ("Authorization", "Cookie", *secret_headers)}
    try:
        login = _login(uri)
        parameters = list(parameters)
        for _ in range(MAX_REDIRECTS + 1):
            response = session.request(
                method,
                uri,
                params=parameters,
                data=body,
                headers=_with_cookies(headers, uri, session),
                auth=login,
                timeout=timeout,
                verify=verify,
                stream=True,
                allow_redirects=False,
            )
            target = _redirect_target(response, session)
            if target is None or (may_follow is not None and not may_follow(target)):
                return response
            if response.status_code == SEE_OTHER and method not in READING:
                # The write was carried out; its result is at the other address.
                method, body = "GET", None
                headers = {name: value for name, value in headers.items() if name.lower() not in CONTENT_HEADERS}
            if not is_same_server(str(response.url), target):
                kept_back = [name for name in headers if name.lower() in private]
                if login is not _as_it_is:
                    kept_back.append("the login of the uri")
                if kept_back:
                    host = redirect_host(response)
                    warn(f"redirected to another server, {host}, which does not get {', '.join(kept_back)}")
                login = _as_it_is
                headers = {name: value for name, value in headers.items() if name.lower() not in private}
            _discard(response)
            uri, parameters = target, []
    except (OSError, ValueError) as error:
        # All of requests' own are OSErrors; a ValueError is what urllib3 finds wrong in a uri.
        raise http_error(error, timeout, masked) from error
    raise HttpError("too many redirects")


def read(response: Response, most: int, wait: float, masked: Callable[[str], str] = str) -> tuple[bytes, bool]:
    """Return the body, unpacked, and whether that is all; reading ends after `most` bytes. Raises HttpError."""
    from scflows.connectors.http.content_coding import unpacked
    from scflows.connectors.http.response import CodingError, http_error

    codings = response.headers.get("content-encoding", "")
    # The library returns what it has of a body that is cut, and a body in an unknown coding as it is.
    response.raw.headers.discard("content-encoding")
    content = bytearray()
    # Compressed data is hardly longer than what it unpacks to, unless it is made to have no end.
    received, longest = 0, 2 * most + CHUNK

    def chunks() -> Iterator[bytes]:
        nonlocal received
        for chunk in response.iter_content(CHUNK):
            received += len(chunk)
            if received > longest:
                return
            yield chunk

    try:
        for chunk in unpacked(chunks(), codings):
            content += chunk
            if len(content) > most:
                return bytes(content), False
    except OSError as error:
        raise http_error(error, wait, masked) from error
    except CodingError:
        if received <= longest:
            raise
    return bytes(content), received <= longest


def is_same_server(first: str, second: str) -> bool:
    """Return True if secrets for one uri may be sent to another."""
    return not _session().should_strip_auth(first, second)  # type: ignore[no-untyped-call]


def redirect_host(response: Response) -> str:
    """Return the host that a redirect leads to; "" if the response is not a redirect."""
    from urllib.parse import urljoin, urlsplit

    target = response.headers.get("location") if 300 <= response.status_code < 400 else None
    try:
        return "" if target is None else urlsplit(urljoin(str(response.url), target)).netloc.rpartition("@")[2] or "?"
    except ValueError:
        return "?"


def _login(uri: str) -> Any:
    from requests.auth import HTTPBasicAuth
    from requests.utils import get_auth_from_url

    user, password = get_auth_from_url(uri)
    # Without any, requests would take a login from ~/.netrc and put it over the given header.
    return HTTPBasicAuth(user.encode(), password.encode()) if user or password else _as_it_is


def _with_cookies(headers: dict[str, bytes], uri: str, session: Session) -> dict[str, bytes]:
    """Return the headers with the cookies that a redirect has set, if there is a `Cookie` header to add them to."""
    name = next((each for each in headers if each.lower() == "cookie"), None)
    if name is None or not session.cookies:
        return headers  # The library sends the cookies.
    import requests

    request = requests.Request("GET", uri).prepare()
    added = requests.cookies.get_cookie_header(session.cookies, request)  # type: ignore[no-untyped-call]
    if not added:
        return headers
    replaced = {each.partition("=")[0].strip() for each in added.split(";")}
    own = [each.strip() for each in headers[name].decode("latin-1").split(";")]
    retained = [each for each in own if each and each.partition("=")[0].strip() not in replaced]
    return {**headers, name: "; ".join([*retained, added]).encode("latin-1")}


def _redirect_target(response: Response, session: Session) -> str | None:
    """Return the absolute address that a response redirects to, None if it does not."""
    from urllib.parse import urldefrag, urljoin

    target: str | None = session.get_redirect_target(response)
    return None if target is None else urldefrag(urljoin(str(response.url), target)).url


def _discard(response: Response) -> None:
    """Make the connection of a redirect reusable if its body is short; otherwise close it."""
    length = response.headers.get("content-length", "")
    if length.isdecimal() and int(length[:9]) <= CHUNK:
        with contextlib.suppress(Exception):
            response.raw.read(CHUNK, decode_content=False)
    response.close()


def _session() -> Session:
    found: Session | None = getattr(_own, "session", None)
    if found is None:
        found = _own.session = _new_session()
    return found


def _new_session() -> Session:
    import requests

    class OwnSession(requests.Session):
        """A session that is not for libraries: in a device's process it does not go through their gate."""

        def resolve_redirects(self, *arguments: Any, **options: Any) -> Any:
            # Even if no redirect is to be followed, the library would read its whole body into memory here.
            return iter(())

    session = OwnSession()
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
