"""One HTTP call and its answer; whatever goes wrong is a step error that shows no secret."""

from __future__ import annotations

import time
from dataclasses import dataclass

from scflows import __version__
from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from requests import Response

    class Mask(Protocol):
        """Takes secrets out of a text."""

        def text(self, text: str) -> str: ...

        def texts(self) -> list[str]: ...


#: Seconds that a connection, and each wait for more of the answer, may take.
WAIT = 60.0
#: How much of an answer that is an error is kept: it goes into the data and the run's record.
ERROR_BYTES = 256 * 1024


@dataclass(frozen=True)
class Page:
    """The value of a response, and where it came from."""

    value: Any
    address: str  #: after redirects
    link: str | None = None  #: the address of its `rel="next"` link


@dataclass(frozen=True)
class HttpRequest:
    """All that the calls of one step have in common."""

    method: str  #: in capitals
    uri: str  #: the first one; it decides which server the secrets are for
    headers: dict[str, str]
    authorization: tuple[str, str] | None  #: name and value of a header, over those above
    body: bytes | None
    verify: bool | str
    max_bytes: int
    remaining: Callable[[], float | None]  #: seconds until the step is interrupted
    mask: Mask
    warn: Callable[[str], None] = lambda message: None

    def fetch(self, uri: str, parameters: list[tuple[str, str]]) -> Page:
        """Return the value of the response with its address and its link to the next page. Raises StepError."""
        from urllib.parse import urljoin

        from scflows.connectors.http.link_header import next_link

        response = self._send(uri, parameters)
        try:
            value = self._value(uri, response)
            address = str(response.url)
            link = next_link(response.headers.get("link") or "")
            return Page(value, address, None if link is None else urljoin(address, link))
        finally:
            response.close()

    def _send(self, uri: str, parameters: list[tuple[str, str]]) -> Response:
        from scflows.connectors.http import session
        from scflows.connectors.http.response import HttpError

        self._check(uri)
        limit = self.remaining()
        try:
            headers, secret = self._headers(uri)
            return session.call(
                self.method,
                uri,
                {name: self._encoded(uri, name, value) for name, value in headers.items()},
                secret_headers=secret,
                parameters=parameters,
                body=self.body,
                verify=self.verify,
                timeout=WAIT if limit is None else max(0.001, min(WAIT, limit)),
                masked=self.mask.text,
                warn=lambda message: self.warn(f"{self.shown(uri)}: {message}"),
            )
        except (HttpError, ValueError) as error:
            raise self._failed(uri, str(error)) from error

    def _check(self, uri: str) -> None:
        from urllib.parse import urlsplit

        try:
            parts = urlsplit(uri)
        except ValueError as error:
            raise StepError(f"{self.shown(uri)}: not a valid uri: {error}") from error
        if any(sign in uri for sign in "\r\n\t"):
            raise StepError(f"{self.shown(' '.join(uri.split()))}: a uri must not contain line breaks or tabs")
        from scflows.connectors.endpoint import login_in

        login = ":".join(login_in(uri))
        if any(sign in login for sign in "/?#"):
            # The library would take its beginning for a host, and show it in its error.
            raise StepError(f"{self.shown(uri)}: the login in the uri must be percent-encoded, for example %2F for a /")
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise StepError(f"{self.shown(uri)}: only http:// and https:// can be called")

    def _headers(self, uri: str) -> tuple[dict[str, str], list[str]]:
        """The headers for a uri, and the names of those that are for the first uri's server alone."""
        from scflows.connectors.http import session

        headers = {"User-Agent": f"scflows/{__version__}"}
        if self.body is not None:
            headers["Content-Type"] = "application/json"
        headers = _over(headers, self.headers)
        secret = [name for name, value in self.headers.items() if self.mask.text(value) != value]
        if self.authorization is not None:
            name, value = self.authorization
            headers = _over(headers, {name: value})
            secret.append(name)
        if uri != self.uri and not session.is_same_server(self.uri, uri):
            private = {name.lower() for name in (*secret, "Authorization")}
            headers = {name: value for name, value in headers.items() if name.lower() not in private}
        return headers, secret

    def _encoded(self, uri: str, name: str, value: str) -> bytes:
        # The library's own errors show the value.
        if "\n" in value or "\r" in value or value[:1].isspace():
            raise self._failed(uri, f"the header {name!r} may not have line ends or begin with a blank")
        try:
            return value.encode("latin-1")
        except UnicodeEncodeError:
            raise self._failed(uri, f"the header {name!r} may only have Latin-1 characters") from None

    def _value(self, uri: str, response: Response) -> Any:
        from scflows.connectors.http.response import answered, body_text, reason_in, retry_after
        from scflows.documents import InexactNumber

        succeeded = 200 <= response.status_code < 300
        content, is_whole = self._content(uri, response, self.max_bytes if succeeded else ERROR_BYTES)
        try:
            value = answered(content, response) if is_whole or not succeeded else None
        except InexactNumber as error:
            if succeeded:
                raise self._failed(uri, str(error)) from error
            value = body_text(content, response)
        if not succeeded:
            reason = f" {response.reason}" if response.reason else ""
            message = reason_in(value, self.mask.text)
            because = f": {message}" if message and message != response.reason else ""
            refused = StepError(
                f"{self.shown(uri)}: {response.status_code}{reason}{because}",
                status_code=response.status_code,
                response_content=value,
            )
            refused.retry_after = retry_after(response, time.time())
            raise refused
        if not is_whole:
            raise self._failed(uri, f"the answer has more than {self.max_bytes} bytes (max_bytes)")
        return value

    def _content(self, uri: str, response: Response, most: int) -> tuple[bytes, bool]:
        """The body up to `most` bytes, unpacked, and whether that is all."""
        from scflows.connectors.http.response import CodingError, HttpError
        from scflows.connectors.http.session import read

        try:
            content, is_whole = read(response, most, WAIT, self.mask.text)
        except HttpError as error:
            reason = str(error) if isinstance(error, CodingError) else f"the answer broke off: {error}"
            raise self._failed(uri, reason) from error
        return content if is_whole else content[: self._cut(content, most)], is_whole

    def _cut(self, content: bytes, most: int) -> int:
        """Where to cut: before a secret that the cut would make unrecognisable."""
        for text in self.mask.texts():
            secret = text.encode("utf-8", "replace")
            place = content.find(secret, max(0, most - len(secret)))
            if 0 <= place < most:
                most = place
        return most

    def _failed(self, uri: str, reason: str) -> StepError:
        return StepError(f"{self.shown(uri)}: {reason}", status_code=None, response_content=None)

    def shown(self, uri: str) -> str:
        return f"{self.method} {shown(uri)}"


def shown(uri: str) -> str:
    """Return a uri without the parts that may be secret: login and query."""
    from scflows.connectors.endpoint import login_in

    scheme, separator, rest = uri.strip().partition("://")
    user, password = login_in(uri)
    if user or password:
        rest = rest[len(user) + 1 :] if rest.startswith(f"{user}@") else rest[len(user) + len(password) + 2 :]
    return scheme + separator + rest.partition("?")[0].partition("#")[0]


def _over(headers: dict[str, str], given: dict[str, str]) -> dict[str, str]:
    names = {name.lower() for name in given}
    return {name: value for name, value in headers.items() if name.lower() not in names} | given
