"""Call an HTTP API."""

from __future__ import annotations

import time
from dataclasses import dataclass

from scflows import __version__
from scflows.errors import StepError
from scflows.steps import Context, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from requests import Response, Session

#: Seconds that a connection, and each wait for more of the answer, may take.
WAIT = 60.0
CHUNK = 64 * 1024
#: How much of an answer that is an error is kept: it goes into the data and the run's record.
ERROR_BYTES = 256 * 1024
#: What has a body even if none is given.
WITH_BODY = ("POST", "PUT", "PATCH")

#: What the name of a header may have besides letters and digits (RFC 9110, 5.6.2).
HEADER_SIGNS = "!#$%&'*+-.^_`|~"

#: One for each thread: connections are used again, by one request at a time.
_sessions: dict[int, Session] = {}


@dataclass(frozen=True)
class RestStep(Step):
    """Call an HTTP API. The result is the answer's JSON, its text where it is no JSON, null without a body.

    Certificates are verified. Any status but 2xx is an error with `status_code` and `response_content`.

    - name: readings
      type: rest
      rest:
        uri: "https://api.example.org/readings?tag={{ __input__.tag }}"
        query: {limit: 100, fields: [temp, hum]}
    - name: tell
      type: rest
      rest: {uri: "https://api.example.org/reports", method: post, data_key: readings}
    """

    uri: str = option(template=True)
    method: str = option("GET", choices=("GET", "POST", "PUT", "PATCH", "DELETE"), any_case=True)
    query: dict[str, Any] | None = option(None, template=True, help="added to what the uri already has")
    headers: dict[str, Any] | None = option(None, template=True)
    body: dict[str, Any] | list[Any] | None = option(None, help="sent as JSON exactly as written")
    data_key: str | None = option(None, help="key whose value is the body; wins over `body`")
    max_bytes: int = option(64 * 1024 * 1024, minimum=1, help="the most an answer may have")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        for name, value in (options.get("headers") or {}).items():
            if not name or not all(
                letter in HEADER_SIGNS or (letter.isascii() and letter.isalnum()) for letter in name
            ):
                yield "headers", f"{name!r} is no name for a header"
            if isinstance(value, list | dict):
                yield "headers", f"the header {name!r} must be a text, a number or true or false"
        for name, value in (options.get("query") or {}).items():
            items = value if isinstance(value, list) else [value]
            if any(isinstance(item, list | dict) for item in items):
                yield "query", f"the parameter {name!r} must be a text, a number, true or false, or a list of those"

    def writes(self) -> bool:
        return self.method.upper() != "GET"

    def intention(self) -> str:
        return f"send {self._shown()}"

    def run(self, ctx: Context) -> Any:
        from urllib.parse import urlsplit

        try:
            parts = urlsplit(self.uri)
        except ValueError as error:
            raise StepError(f"{self.uri!r} is no uri: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise StepError(f"{self._shown()}: only http:// and https:// can be called")
        body = self._body(ctx)
        limit = ctx.remaining()
        wait = WAIT if limit is None else max(0.001, min(WAIT, limit))
        response = self._send(body, wait)
        try:
            return self._result(response)
        finally:
            response.close()

    def _body(self, ctx: Context) -> bytes | None:
        from scflows import document

        method = self.method.upper()
        if method == "GET" or (method == "DELETE" and self.body is None and self.data_key is None):
            return None
        value = ctx.look(self.data_key) if self.data_key is not None else self.body
        if value is None and self.data_key is None:
            value = {}
        if not isinstance(value, dict | list):
            raise StepError(f"the body must be a mapping or a list; parse {self.data_key!r} first")
        return document.json_bytes(value)

    def _send(self, body: bytes | None, wait: float) -> Response:
        import requests
        from requests.auth import HTTPBasicAuth
        from requests.utils import get_auth_from_url

        from scflows.answer import reason_of

        headers = {"User-Agent": f"scflows/{__version__}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        given = {name: _text(value) for name, value in (self.headers or {}).items() if value is not None}
        names = {name.lower() for name in given}
        headers = {name: value for name, value in headers.items() if name.lower() not in names} | given
        user, password = get_auth_from_url(self.uri)
        session = _session()
        # An API's cookies belong to one call with its redirects, not to the calls that come after.
        session.cookies.clear()
        try:
            return session.request(
                self.method.upper(),
                self.uri,
                params=list(self._parameters()),
                data=body,
                headers={name: value.encode("latin-1") for name, value in headers.items()},
                # Without any, requests would take a login from ~/.netrc and put it over the given header.
                auth=HTTPBasicAuth(user, password) if user else _as_it_is,
                timeout=wait,
                stream=True,
            )
        except requests.RequestException as error:
            raise self._failed(reason_of(error, wait)) from error
        except UnicodeEncodeError as error:
            raise self._failed("a header may only have Latin-1 characters") from error
        except ValueError as error:
            # What urllib3 finds wrong in a uri, such as a host label that is too long.
            raise self._failed(str(error)) from error

    def _result(self, response: Response) -> Any:
        from scflows.answer import answered, retry_after

        succeeded = 200 <= response.status_code < 300
        content, is_whole = self._content(response, self.max_bytes if succeeded else ERROR_BYTES)
        if not succeeded:
            reason = f" {response.reason}" if response.reason else ""
            refused = StepError(
                f"{self._shown()}: {response.status_code}{reason}",
                status_code=response.status_code,
                response_content=answered(content, response),
            )
            refused.retry_after = retry_after(response, time.time())
            raise refused
        if not is_whole:
            raise self._failed(f"the answer has more than {self.max_bytes} bytes (max_bytes)")
        return answered(content, response)

    def _content(self, response: Response, most: int) -> tuple[bytes, bool]:
        """The body up to `most` bytes, unpacked, and whether that is all."""
        import requests

        from scflows.answer import reason_of

        content = bytearray()
        try:
            for chunk in response.iter_content(CHUNK):
                content.extend(chunk)
                if len(content) > most:
                    return bytes(content[:most]), False
        except requests.RequestException as error:
            raise self._failed(f"the answer broke off: {reason_of(error, WAIT)}") from error
        return bytes(content), True

    def _parameters(self) -> Iterator[tuple[str, str]]:
        for name, value in (self.query or {}).items():
            for item in value if isinstance(value, list) else [value]:
                if item is not None:
                    yield name, _text(item)

    def _failed(self, reason: str) -> StepError:
        return StepError(f"{self._shown()}: {reason}", status_code=None, response_content=None)

    def _shown(self) -> str:
        """Method and uri without what may be secret in it: login and query."""
        before, _, rest = self.uri.partition("://")
        place = rest.partition("?")[0].partition("#")[0]
        host, slash, path = place.partition("/")
        return f"{self.method.upper()} {before}://{host.rpartition('@')[2]}{slash}{path}"


def _session() -> Session:
    import threading

    import requests

    thread = threading.get_ident()
    found = _sessions.get(thread)
    if found is None:
        found = _sessions[thread] = requests.Session()
    return found


def _as_it_is(request: Any) -> Any:
    return request


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
