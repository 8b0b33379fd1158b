"""Requests to a service: one page after another, with its limits, and what its refusals mean."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field

from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from requests import Response

    from scflows.integrations.social.post import Post

#: Seconds to wait for each response.
TIMEOUT = 30.0
MAX_BYTES = 64 * 2**20
#: How often a request is sent while the server does not answer or answers with 5xx, and the seconds before each.
PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
#: Seconds to wait after a 429 without a header that says how long.
DEFAULT_LIMIT_WAIT = 60.0
#: Headers with the end of a limit: epoch seconds, or ISO 8601.
RESETS = ("x-rate-limit-reset", "ratelimit-reset", "x-ratelimit-reset")


class RateLimited(StepError):
    """A limit of the service lasts longer than the step may wait."""

    reason = "rate_limit"
    is_tried = True


class CursorExpired(Exception):
    """The service does not know the cursor any more."""


@dataclass
class Found:
    """One page of a search."""

    posts: list[Post]
    following: str | None  #: the cursor of the next page; None at the end
    raw: Any  #: the answer as it came
    is_before: bool = False  #: whether all posts of the page are older than `since`


@dataclass(frozen=True)
class Search:
    """What is searched for."""

    term: str
    since: str | None = None  #: ISO 8601
    until: str | None = None


@dataclass
class Caller:
    """Sends the requests of a harvest."""

    remaining: Callable[[], float | None]  #: seconds until the step is interrupted
    sleep: Callable[[float], None]
    masked: Callable[[str], str]
    info: Callable[[str], None]
    limits: list[dict[str, Any]] = field(default_factory=list)  #: the limits that were met, for the provenance

    def json(
        self,
        method: str,
        uri: str,
        parameters: Mapping[str, str | int],
        headers: Mapping[str, str],
        meaning: Mapping[int, str],
        body: Any = None,
        expired: Callable[[int, Any], bool] = lambda status, answer: False,
    ) -> tuple[Any, Response]:
        """Return the JSON of a successful response, and the response.

        Waits for limits and tries again while the server is away. `meaning`: what a status of this service means.
        Raises StepError, RateLimited, CursorExpired.
        """
        pauses = iter(PAUSES)
        while True:
            try:
                status, content, response = self._send(method, uri, parameters, headers, body)
            except StepError as error:
                self._pause(pauses, error)
                continue
            if status == 429:
                self._wait_for_limit(response, uri)
                continue
            if status >= 500:
                self._pause(pauses, StepError(f"{shown(uri)}: {status} {response.reason or ''}".rstrip()))
                continue
            answer = _parsed(content)
            if 200 <= status < 300 and answer is not None:
                return answer, response
            if expired(status, answer):
                raise CursorExpired
            raise self._refused(uri, status, answer, content, meaning)

    def _send(
        self, method: str, uri: str, parameters: Mapping[str, str | int], headers: Mapping[str, str], body: Any
    ) -> tuple[int, bytes, Response]:
        from scflows import __version__
        from scflows.connectors.http.response import HttpError
        from scflows.connectors.http.session import call, read

        limit = self.remaining()
        timeout = TIMEOUT if limit is None else max(0.1, min(TIMEOUT, limit))
        sent = {"User-Agent": f"scflows/{__version__}", "Accept": "application/json", **headers}
        content = None if body is None else json.dumps(body).encode()
        if content is not None:
            sent["Content-Type"] = "application/json"
        try:
            response = call(
                method,
                uri,
                {name: value.encode("latin-1", "replace") for name, value in sent.items()},
                secret_headers=("Authorization",),
                parameters=[(name, str(value)) for name, value in parameters.items()],
                body=content,
                timeout=timeout,
                masked=self.masked,
            )
            with response:
                found, is_all = read(response, MAX_BYTES, timeout, self.masked)
        except HttpError as error:
            raise StepError(f"{shown(uri)}: {error}") from error
        if not is_all:
            raise StepError(f"{shown(uri)}: the answer is larger than {MAX_BYTES // 2**20} MiB")
        return response.status_code, found, response

    def _pause(self, pauses: Any, error: StepError) -> None:
        """Wait before the next try. Raises the error if there is none, or no time for it."""
        seconds = next(pauses, None)
        limit = self.remaining()
        if seconds is None or (limit is not None and limit <= seconds):
            error.is_temporary = True
            raise error
        self.info(f"{error}; trying again in {seconds:.0f} s")
        self.sleep(seconds)

    def _wait_for_limit(self, response: Response, uri: str) -> None:
        """Wait until the service accepts requests again. Raises RateLimited if that is after the step's time limit."""
        seconds = seconds_until_reset(response.headers, time.time())
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
        self.limits.append({"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "until": until})
        limit = self.remaining()
        if limit is not None and limit <= seconds:
            raise RateLimited(
                f"{shown(uri)}: the service's limit is reached; it continues after {until}: resume the run"
            )
        self.info(f"the service's limit is reached; waiting until {until}")
        self.sleep(seconds)

    def _refused(self, uri: str, status: int, answer: Any, content: bytes, meaning: Mapping[int, str]) -> StepError:
        if 200 <= status < 300:
            start = " ".join(content[:80].decode("utf-8", "replace").split())
            return StepError(f"{shown(uri)}: the answer is not JSON: {self.masked(start)!r}; is `server` right?")
        reason = _reason(answer)
        text = f"{shown(uri)}: {status}" + (f": {self.masked(reason)}" if reason else "")
        return StepError(text + (f"; {meaning[status]}" if status in meaning else ""), status_code=status)


def seconds_until_reset(headers: Mapping[str, str], now: float) -> float:
    """Return how long to wait after a 429: by `Retry-After`, or by the headers of the services; a minute without."""
    from datetime import UTC, datetime

    after = headers.get("retry-after", "")
    if after.isdigit():
        return max(1.0, float(after))
    for name in RESETS:
        value = headers.get(name, "")
        try:
            if value.isdigit():
                ends = float(value)
            else:
                moment = datetime.fromisoformat(value)
                ends = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            continue
        # A second more, because the header has whole seconds.
        return min(max(1.0, ends - now + 1), 86400.0)
    return DEFAULT_LIMIT_WAIT


def shown(uri: str) -> str:
    """Return an address for messages: without its query."""
    return uri.partition("?")[0]


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _reason(answer: Any) -> str:
    """Return what the service says about a refusal, on one line."""
    if not isinstance(answer, dict):
        return ""
    for name in ("detail", "message", "error_description", "error", "title"):
        if isinstance(answer.get(name), str):
            return " ".join(str(answer[name]).split())[:200]
    errors = answer.get("errors")
    if isinstance(errors, list) and errors:
        return _reason(errors[0])
    return ""
