"""The gate for all HTTP requests of the libraries: to the platform itself, or to the shared files.

`hardware_url` and `blueprint_url` come from the platform and are not trusted, so the gate allows known hosts only.
"""

from __future__ import annotations

import time

from scflows.errors import NotFound, ScflowsError
from scflows.integrations.smartcitizen.hardware import hardware_place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from requests import PreparedRequest, Response

    from scflows.integrations.smartcitizen.access import Access
    from scflows.integrations.smartcitizen.processing.shared_files import SharedFiles

FIRST_PAUSE = 0.5
#: The statuses of temporary errors. The libraries retry by themselves, but without a pause.
PASSING = (408, 429, 500, 502, 503, 504)


class Door:
    """The gate, with the problems it has seen."""

    def __init__(
        self, access: Access, files: SharedFiles, is_dry: bool, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.access = access
        self.files = files
        self.is_dry = is_dry  #: whether changes are blocked
        self.sleep = sleep
        self.problems: list[str] = []  #: requests that were refused, not found or unanswered
        self.changed: dict[str, Any] | None = None  #: the device in the response to the last PATCH
        self._waited = 0.0
        self._pause = FIRST_PAUSE

    def install(self) -> None:
        """Route every session of `requests` that is not ours through the gate."""
        import requests

        adapter, original = self._adapter(), requests.Session.get_adapter

        def get_adapter(session: requests.Session, url: str | bytes) -> Any:
            return adapter if type(session) is requests.Session else original(session, url)  # type: ignore[arg-type]

        requests.Session.get_adapter = get_adapter  # type: ignore[assignment, method-assign]
        self._guard_readings()

    def _guard_readings(self) -> None:
        """Restrict requests of `aiohttp` to the platform, without redirects."""
        import aiohttp

        door, original = self, aiohttp.ClientSession._request

        async def ask(session: Any, method: str, url: Any, **options: Any) -> Any:
            if not door.access.is_platform(str(url)):
                raise aiohttp.ClientError(f"{method} {url}: not the platform")
            if door.is_dry and method != "GET":
                raise aiohttp.ClientError(f"a dry run must not {method}")
            response = await original(session, method, url, **{**options, "allow_redirects": False})
            if 300 <= response.status < 400:
                message = (
                    f"{method} {str(url).partition('?')[0]}: {response.status}: it leads elsewhere, and is not followed"
                )
                door._note(message)
                response.close()
                raise aiohttp.ClientError(message)
            return response

        aiohttp.ClientSession._request = ask  # type: ignore[assignment, method-assign]

    def _adapter(self) -> Any:
        import requests

        door = self

        class Adapter(requests.adapters.HTTPAdapter):
            def send(self, request: PreparedRequest, *arguments: Any, **options: Any) -> Response:
                if not door.access.is_platform(request.url or ""):
                    return door.file(request)
                if door.is_dry and request.method != "GET":
                    raise RuntimeError(f"a dry run must not {request.method}")
                return door.judged(request, super().send(request, *arguments, **options))

        return Adapter()

    def judged(self, request: PreparedRequest, response: Response) -> Response:
        """Return the response of the platform; after a temporary error, wait before the library retries.

        Raises RequestException for a redirect to another host, whose response could be mistaken for the platform's.
        """
        import requests

        from scflows.connectors.http.session import redirect_host

        status = response.status_code
        if elsewhere := redirect_host(response):
            message = f"{request.method} {request.url}: {status}: it leads to {elsewhere}, which is not followed"
            self._note(message)
            raise requests.exceptions.RequestException(message, request=request)
        if status in PASSING:
            self._note(f"{request.method} {request.url}: {status} {response.reason or ''}".rstrip())
            self._wait(response)
        elif status >= 400:
            self._note(f"{request.method} {request.url}: {status} {response.reason or ''}".rstrip())
        else:
            self._waited, self._pause = 0.0, FIRST_PAUSE
            if request.method == "POST" and _json(response).get("id") == "bad":
                # The platform reports this error with a success status.
                response.status_code = 422
                self._note(f"POST {request.url}: {_json(response).get('message')}")
            elif request.method == "PATCH":
                self.changed = _json(response)
        return response

    def file(self, request: PreparedRequest) -> Response:
        """Return a shared file. Raises RequestException if it cannot be fetched."""
        import requests

        url = request.url or ""
        response = requests.Response()
        response.request, response.url, response.encoding = request, url, "utf-8"
        try:
            if request.method != "GET":
                raise ScflowsError(f"{request.method} {url}: files are only read")
            response._content = self.files.read(hardware_place(url, self.access))
            response.status_code, response.reason = 200, "OK"
        except NotFound as error:
            self._note(str(error))
            response._content, response.status_code, response.reason = b"404: Not Found", 404, "Not Found"
        except ScflowsError as error:
            self._note(str(error))
            raise requests.exceptions.RequestException(str(error), request=request) from error
        return response

    def _wait(self, response: Response) -> None:
        from scflows.connectors.http.response import retry_after

        wait = max(self._pause, retry_after(response, time.time()) or 0.0)
        if self._waited + wait <= self.access.retry_seconds:
            self.sleep(wait)
            self._waited += wait
            self._pause *= 2

    def _note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


def _json(response: Response) -> dict[str, Any]:
    try:
        value = response.json()
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
