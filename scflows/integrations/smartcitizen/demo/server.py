"""The HTTP server of the mock: API, file host, and `/control` for inspection and faults."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from zlib import crc32

from scflows.integrations.smartcitizen.demo.faults import Fault
from scflows.integrations.smartcitizen.demo.kinds import OPERATOR
from scflows.integrations.smartcitizen.demo.platform import LONGEST_RECORD, Answer, Platform, may_change

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeVar

    from scflows.integrations.smartcitizen.demo.kit import User

    Item = TypeVar("Item")

PER_PAGE = 25
JSON = "application/json; charset=utf-8"
PLAIN = "text/plain"
PAGE = b"<html><body>The platform is being looked after. Come back later.</body></html>"


class PlatformServer(ThreadingHTTPServer):
    """A server for a platform on a port of the loopback interface; 0 chooses a free port."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, platform: Platform, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.platform = platform
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def settings(self) -> dict[str, str]:
        """Return the settings that make scflows use this server."""
        return {
            "SC_API_URL": f"{self.url}/v0/",
            "BASE_POSTPROCESSING_URL": f"{self.url}/base/",
            "SC_BEARER": OPERATOR.token,
        }

    def server_close(self) -> None:
        self.closing.set()
        super().server_close()


@contextmanager
def serving(platform: Platform, port: int = 0) -> Iterator[PlatformServer]:
    """Run a server in the background until the end of the block."""
    server = PlatformServer(platform, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: PlatformServer
    # Send headers and body together, because sending them separately would wait for an acknowledgement.
    wbufsize = 65536
    disable_nagle_algorithm = True

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, TimeoutError):
            pass  # The client has closed the connection.

    def answer(self) -> None:
        from urllib.parse import parse_qsl, urlsplit

        platform = self.server.platform
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        length = int(self.headers.get("content-length") or 0)
        content = self.rfile.read(length) if length else b""
        path = parts.path.rstrip("/") or "/"
        if path.startswith("/control"):
            status, value = controlled(platform, self.command, path.removeprefix("/control"), query, content)
            self._say(status, json.dumps(value).encode(), JSON)
            return
        token = (self.headers.get("authorization") or "").removeprefix("Bearer ").strip()
        entry = {"method": self.command, "path": self.path, "token": token, "status": 0}
        with platform.lock:
            platform.requests.append(entry)
            del platform.requests[:-LONGEST_RECORD]
        entry["status"] = self._served(path, query, content, token)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def _served(self, path: str, query: dict[str, str], content: bytes, token: str) -> int:
        """Handle a request; return the status (0 if there was no response)."""
        platform = self.server.platform
        fault = platform.faults.take(self.command, self.path)
        if fault is not None and fault.how not in ("slow", "cut"):
            return self._fail(fault)
        if fault is not None and fault.how == "slow":
            self.server.closing.wait(fault.seconds)
        if path.startswith("/base/"):
            return self._file(path.removeprefix("/base/"), fault)
        try:
            user = platform.user_of(token)
            if platform.rate.refuses(user is not None and user.mask > 0, time.monotonic()):
                return self._say(429, b"Retry later\n", PLAIN)
            value, headers = self._asked(path, query, content, user)
            return self._say(200, json.dumps(value).encode(), JSON, headers, is_cut=_is_cut(fault))
        except Answer as error:
            return self._say(error.status, json.dumps(error.body).encode(), JSON)

    def _asked(self, path: str, query: dict[str, str], content: bytes, user: User | None) -> tuple[Any, dict[str, str]]:
        """Return the response of the API with its headers. Raises Answer."""
        platform = self.server.platform
        words = path.strip("/").split("/")
        if words[:1] != ["v0"]:
            raise Answer(404, "not_found", "Endpoint not found")
        match self.command, *words[1:]:
            case "GET", "devices":
                kits, headers = page_of(platform.devices(query, user), query, self._link, platform.overlap)
                return [kit.shown(platform.now, may_change(kit, user)) for kit in kits], headers
            case "GET", "users":
                users, headers = page_of(platform.users(query, user), query, self._link, platform.overlap)
                return [platform.shown_user(each, user) for each in users], headers
            case "GET", "me":
                if user is None:
                    raise Answer(401, "unauthorized", "Authorization required")
                return user.shown([], platform.now), {}
            case _, "devices", number, *rest if number.isdigit():
                kit = platform.device(int(number), user)
                match self.command, *rest:
                    case ["GET"]:
                        return kit.shown(platform.now, may_change(kit, user)), {}
                    case "GET", "readings":
                        return platform.readings(kit, query), {}
                    case "POST", "readings":
                        return platform.post(kit, user, _body(content)), {}
                    case ["PATCH"]:
                        return platform.patch(kit, user, _body(content)), {}
        raise Answer(404, "not_found", "Endpoint not found")

    def _link(self, query: dict[str, str]) -> str:
        from urllib.parse import urlencode, urlsplit

        host = self.headers.get("host") or f"127.0.0.1:{self.server.server_port}"
        return f"http://{host}{urlsplit(self.path).path}?{urlencode(query)}"

    def _file(self, name: str, fault: Fault | None) -> int:
        found = self.server.platform.files.get(name)
        if found is None:
            return self._say(404, b"404: Not Found", PLAIN)
        content = found if isinstance(found, bytes) else json.dumps(found).encode()
        tag = f'"{crc32(content):08x}"'
        if self.headers.get("if-none-match") == tag:
            return self._say(304, b"", PLAIN)
        return self._say(200, content, PLAIN, {"ETag": tag}, is_cut=_is_cut(fault))

    def _fail(self, fault: Fault) -> int:
        if fault.how == "drop":
            self.close_connection = True
            return 0
        if fault.how == "not-json":
            return self._say(200, PAGE, JSON)
        given = {"Retry-After": fault.retry_after, "Location": fault.location}
        headers = {name: value for name, value in given.items() if value}
        if fault.text:
            return self._say(fault.status, fault.text.encode(), PLAIN, headers)
        body = {"id": "error", "message": "injected fault", "url": "", "errors": ""}
        return self._say(fault.status, json.dumps(body).encode(), JSON, headers)

    def _say(
        self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None, is_cut: bool = False
    ) -> int:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if is_cut else body)
        self.close_connection = self.close_connection or is_cut
        return status

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def _is_cut(fault: Fault | None) -> bool:
    return fault is not None and fault.how == "cut"


def _body(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise Answer(400, "bad_request", f"not JSON: {error}") from error


def controlled(platform: Platform, method: str, path: str, query: dict[str, str], content: bytes) -> tuple[int, Any]:
    """Handle a request; return status and body.

    GET /requests, /posted (?device=ID), /patches, /kinds; DELETE /requests clears them; POST /faults adds a fault or a
    list, DELETE /faults removes all; POST /devices/ID overrides properties; POST /rate {"limit": 150}.
    """
    try:
        with platform.lock:
            match method, *path.strip("/").split("/"):
                case "GET", "requests":
                    return 200, platform.requests
                case "GET", "posted":
                    asked = query.get("device")
                    return 200, [each for each in platform.posted if asked in (None, str(each["device"]))]
                case "GET", "patches":
                    return 200, platform.patches
                case "GET", "kinds":
                    return 200, {kit.id: kit.kind for kit in platform.kits.values()}
                case "DELETE", "requests":
                    platform.requests.clear()
                    platform.posted.clear()
                    platform.patches.clear()
                    return 200, {}
                case "POST", "faults":
                    given = json.loads(content)
                    for each in given if isinstance(given, list) else [given]:
                        platform.faults.add(Fault.from_dict(each))
                    return 200, {}
                case "DELETE", "faults":
                    platform.faults.clear()
                    return 200, {}
                case "POST", "devices", number:
                    platform.kits[int(number)].shown_as.update(json.loads(content))
                    return 200, {}
                case "POST", "rate":
                    platform.rate.limit = json.loads(content)["limit"]
                    return 200, {}
    except (ValueError, TypeError, KeyError) as error:
        return 400, {"error": f"{type(error).__name__}: {error}"}
    return 404, {"error": f"no such endpoint: {method} /control{path}"}


def page_of(
    items: list[Item], query: dict[str, str], link: Callable[[dict[str, str]], str], overlap: int = 0
) -> tuple[list[Item], dict[str, str]]:
    """Return the items of the requested page and the headers, repeating `overlap` items of the page before."""
    size = max(1, _number(query.get("per_page"), PER_PAGE))
    page = max(1, _number(query.get("page"), 1))
    last = max(1, -(-len(items) // size))
    start = (page - 1) * size
    if "q[s]" not in query and page > 1:
        overlap = max(overlap, 1)  # Without an order, pages overlap.
    links = [f'<{link({**query, "page": str(last)})}>; rel="last"']
    if page < last:
        links.append(f'<{link({**query, "page": str(page + 1)})}>; rel="next"')
    headers = {"Total": str(len(items)), "Per-Page": str(size), "Link": ", ".join(links)}
    return items[max(0, start - overlap if page > 1 else start) : start + size], headers


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isdigit() else default
