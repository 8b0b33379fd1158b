"""The one way out for what the libraries ask by `requests`: the platform itself, and the shared files.

`hardware_url` and `blueprint_url` come from the platform and are asked for as they stand there; here it is seen to
that they lead to known hosts only.
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
#: Answers that may be others in a while. The libraries ask again by themselves, but without a pause.
PASSING = (408, 429, 500, 502, 503, 504)


class Door:
    """What went through, and what did not."""

    def __init__(
        self, access: Access, files: SharedFiles, is_dry: bool, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.access = access
        self.files = files
        self.is_dry = is_dry  #: whether nothing may be changed out there
        self.sleep = sleep
        self.problems: list[str] = []  #: what was refused, missing or away
        self.changed: dict[str, Any] | None = None  #: the device as the last PATCH was answered
        self._waited = 0.0
        self._pause = FIRST_PAUSE

    def install(self) -> None:
        """Have every session of `requests` that is not ours go through here."""
        import requests

        adapter, original = self._adapter(), requests.Session.get_adapter

        def get_adapter(session: requests.Session, url: str | bytes) -> Any:
            return adapter if type(session) is requests.Session else original(session, url)  # type: ignore[arg-type]

        requests.Session.get_adapter = get_adapter  # type: ignore[assignment, method-assign]
        self._guard_readings()

    def _guard_readings(self) -> None:
        """Have those that are asked for by `aiohttp` come from the platform, too, and from nowhere that it leads to."""
        import aiohttp

        door, original = self, aiohttp.ClientSession._request

        async def ask(session: Any, method: str, url: Any, **options: Any) -> Any:
            if not door.access.is_platform(str(url)):
                raise aiohttp.ClientError(f"{method} {url}: not the platform")
            if door.is_dry and method != "GET":
                raise aiohttp.ClientError(f"a dry run must not {method}")
            response = await original(session, method, url, **{**options, "allow_redirects": False})
            if 300 <= response.status < 400:
                told = (
                    f"{method} {str(url).partition('?')[0]}: {response.status}: it leads elsewhere, and is not followed"
                )
                door._note(told)
                response.close()
                raise aiohttp.ClientError(told)
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
        """The answer of the platform; what may pass is waited for before it is asked again.

        Raises RequestException for one that leads elsewhere: a file from there would be taken for a device, and a
        change that was not made for one that was.
        """
        import requests

        from scflows.connectors.http.session import redirect_host

        status = response.status_code
        if elsewhere := redirect_host(response):
            told = f"{request.method} {request.url}: {status}: it leads to {elsewhere}, which is not followed"
            self._note(told)
            raise requests.exceptions.RequestException(told, request=request)
        if status in PASSING:
            self._note(f"{request.method} {request.url}: {status} {response.reason or ''}".rstrip())
            self._wait(response)
        elif status >= 400:
            self._note(f"{request.method} {request.url}: {status} {response.reason or ''}".rstrip())
        else:
            self._waited, self._pause = 0.0, FIRST_PAUSE
            if request.method == "POST" and _json(response).get("id") == "bad":
                # Said with a status that means success.
                response.status_code = 422
                self._note(f"POST {request.url}: {_json(response).get('message')}")
            elif request.method == "PATCH":
                self.changed = _json(response)
        return response

    def file(self, request: PreparedRequest) -> Response:
        """A file, from those that are shared. Raises RequestException for one that there is not."""
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
