"""A client of the platform and its file host, with retries."""

from __future__ import annotations

import time
from dataclasses import dataclass

from scflows.connectors.http.response import HttpError
from scflows.errors import NotFound, Refused, ScflowsError, Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeVar

    from requests import Response

    from scflows.integrations.smartcitizen.access import Access

    Answer = TypeVar("Answer")

#: Seconds to wait for a connection and for each part of the response. The platform gives up after 20.
WAIT = 30.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
LARGEST = 64 * 2**20  #: bytes of an answer
PER_PAGE = 100
MOST_PAGES = 10_000


@dataclass(frozen=True)
class Page:
    """One page of a list."""

    items: list[Any]
    total: int | None  #: how many items there are on all pages
    pages: int | None  #: how many pages there are
    is_last: bool


class Client:
    """A client for JSON. `report` is called with a message (and 0, 0) before each wait."""

    def __init__(
        self,
        access: Access,
        report: Callable[[str, int, int], None] = lambda text, done, count: None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.access = access
        self.report = report
        self.sleep = sleep
        self.clock = clock

    def api(self, path: str) -> Any:
        """Return the response of the API for a path such as `devices/13486`.

        Raises Unreachable, Refused for an invalid token, NotFound.
        """
        return self._ask(self.access.api_url + path, [], self.access.token)[0]

    def pages(self, path: str, query: list[tuple[str, str]]) -> Iterator[Page]:
        """Yield the pages of a list, ordered by id. Raises the same errors as `api`.

        Pages are counted instead of following the link to the next page, which could lead anywhere.
        """
        for number in range(1, MOST_PAGES):
            asked = [*query, ("q[s]", "id asc"), ("per_page", str(PER_PAGE))]
            if number > 1:
                asked.append(("page", str(number)))
            items, response = self._ask(f"{self.access.api_url}{path}", asked, self.access.token, list)
            total = _number(response.headers.get("total"))
            size = _number(response.headers.get("per-page"))
            is_last = "next" not in response.links or not items
            yield Page(items, total, -(-total // size) if total is not None and size else None, is_last)
            if is_last:
                return

    def file(self, url: str, is_patient: bool = True) -> Any:
        """Return the JSON of a file; without `is_patient` there are no retries.

        Raises Unreachable, NotFound, and Refused, also for a file that is not JSON.
        """
        return self._ask(url, [], "", is_patient=is_patient)[0]

    def _ask(
        self,
        url: str,
        query: list[tuple[str, str]],
        token: str,
        wanted: type | None = None,
        is_patient: bool = True,
    ) -> tuple[Any, Response]:
        def wait(seconds: float, error: HttpError) -> None:
            self.report(f"{_shown(url)}: {error}; again in {seconds:g} s", 0, 0)
            self.sleep(seconds)

        def ask() -> tuple[Any, Response]:
            return self._ask_once(url, query, token, wanted)

        patience = self.access.retry_seconds if is_patient else 0.0
        return ask_again(ask, _shown(url), patience, wait, self.clock)

    def _ask_once(
        self, url: str, query: list[tuple[str, str]], token: str, wanted: type | None
    ) -> tuple[Any, Response]:
        import json

        from scflows import __version__
        from scflows.connectors.http import session

        headers = {"User-Agent": f"scflows/{__version__}".encode(), "Accept": b"application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}".encode()
        follow = self._may_follow(url)
        with session.call("GET", url, headers, parameters=query, timeout=WAIT, may_follow=follow) as response:
            self._judge(url, response, token)
            content, is_whole = session.read(response, LARGEST, WAIT)
        if not is_whole:
            raise HttpError(f"the answer has more than {LARGEST} bytes")
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            raise self._not_json(url, "the answer is not JSON") from None
        if wanted is not None and not isinstance(value, wanted):
            raise HttpError("the answer is not a list")
        return value, response

    def _judge(self, url: str, response: Response, token: str) -> None:
        """Raises what an error of the server means."""
        from scflows.connectors.http import session
        from scflows.connectors.http.response import retry_after

        status = response.status_code
        if status == 429 or status >= 500 or status == 408:
            raise HttpError(f"{status} {response.reason or ''}".rstrip(), retry_after(response, time.time()))
        if status in (401, 403):
            help = "is SC_BEARER correct and not expired?" if token else "set SC_BEARER"
            raise Refused(f"{_shown(url)}: {status} {response.reason}", help)
        if status == 404:
            raise NotFound(f"{_shown(url)}: 404 Not Found")
        if elsewhere := session.redirect_host(response):
            raise self._not_json(url, f"{status}: it leads to {elsewhere}, which is not followed")
        if status != 200:
            raise Refused(f"{_shown(url)}: {status} {response.reason}", "the platform refused the request")

    def _not_json(self, url: str, problem: str) -> ScflowsError:
        """Return the error for a page in place of an answer: the API may recover, a file stays what it is."""
        return HttpError(problem) if url.startswith(self.access.api_url) else Refused(f"{_shown(url)}: {problem}")

    def _may_follow(self, url: str) -> Callable[[str], bool]:
        """Return a filter for redirects: the API's must stay on the API, those of files on allowed hosts."""
        return self.access.is_platform if self.access.is_platform(url) else self.access.is_file_host


def ask_again(
    ask: Callable[[], Answer],
    address: str,
    patience: float,
    wait: Callable[[float, HttpError], None],
    clock: Callable[[], float] = time.monotonic,
) -> Answer:
    """Return the result of `ask`, which is repeated as long as it raises HttpError, for at most `patience` seconds.

    `wait` waits for a number of seconds after an error. Raises Unreachable, which names the address.
    """
    waited, pause, begun = 0.0, FIRST_PAUSE, clock()
    while True:
        try:
            return ask()
        except HttpError as error:
            # There is always a pause, even if the server says to retry immediately.
            seconds = max(pause, error.retry_after or 0.0)
            if max(waited, clock() - begun) + seconds > patience:
                asked = "" if error.retry_after is None else f"; it asked to wait {seconds:g} s"
                raise Unreachable(f"{address}: {error}{asked}", error.help) from error
            wait(seconds, error)
            waited += seconds
            pause = min(LONGEST_PAUSE, pause * 2)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None


def _shown(url: str) -> str:
    from scflows.connectors.http.request import shown

    return shown(url)
