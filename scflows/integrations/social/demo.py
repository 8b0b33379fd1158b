"""Stand-ins of X, Mastodon and Bluesky on the loopback interface, for `flows demo harvest` and the tests.

`/control/requests` lists the requests so far. Limits, cut connections and expired cursors come on demand.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Answer = tuple[int, Any, dict[str, str]]

TOKEN = "demo-token"
WORDS = ("air", "water", "noise", "station", "morning", "data")
#: The time of the newest post, in seconds since the epoch, and the seconds between two posts.
NEWEST, APART = 1_772_500_000, 60


@dataclass
class Faults:
    """What goes wrong, by the number of the request for posts; 0: nothing."""

    limit_every: int = 0  #: each Nth request gets a 429
    limit_seconds: int = 1  #: how long such a limit lasts
    cut_every: int = 0  #: the connection is cut amid each Nth answer
    down_every: int = 0  #: each Nth request gets a 503
    expire_at: int = 0  #: at this request, the cursor has expired


@dataclass
class Service:
    """The posts of the stand-ins and what was asked of them."""

    number: int  #: of posts that each service has
    faults: Faults = field(default_factory=Faults)
    requests: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    limited_until: float = 0.0

    def answer(self, path: str, query: dict[str, str], token: str, url: str) -> Answer:
        """Return the answer to a request: status, JSON, headers."""
        if path == "/2/tweets/search/recent":
            return self._x(query, token)
        if path.startswith("/api/v1/timelines/tag/") or path == "/api/v2/search":
            return self._mastodon(path, query, url)
        if path == "/xrpc/app.bsky.feed.searchPosts":
            return self._bluesky(query, token)
        if path == "/xrpc/app.bsky.actor.getProfiles":
            return 200, {"profiles": []}, {}
        return 404, {"title": "not found"}, {}

    def refusal(self, shown: str) -> Answer | None:
        """Count a request for posts; return what it gets in place of posts, if anything."""
        with self.lock:
            self.requests.append(shown)
            count = len(self.requests)
        faults = self.faults
        if time.time() < self.limited_until:
            return self._limited()
        if faults.limit_every and count % faults.limit_every == 0:
            self.limited_until = time.time() + faults.limit_seconds
            return self._limited()
        if faults.down_every and count % faults.down_every == 0:
            return 503, {"title": "down"}, {}
        return None

    def _limited(self) -> Answer:
        ends = int(self.limited_until)
        return 429, {"title": "Too Many Requests"}, {"x-rate-limit-reset": str(ends)}

    def _is_expired(self, cursor: str) -> bool:
        return bool(cursor) and self.faults.expire_at == len(self.requests)

    def _x(self, query: dict[str, str], token: str) -> Answer:
        if token != TOKEN:
            return 401, {"title": "Unauthorized"}, {}
        size = int(query.get("max_results", "10"))
        if not 10 <= size <= 100:
            return 400, {"errors": [{"message": "max_results must be between 10 and 100"}]}, {}
        cursor = query.get("next_token", "")
        if self._is_expired(cursor):
            return 400, {"errors": [{"message": "invalid next_token"}]}, {}
        start = int(cursor.removeprefix("p")) if cursor else 0
        if "until_id" in query:
            start = self.number - int(query["until_id"]) + 1
        numbers = range(start, min(start + size, self.number))
        answer: dict[str, Any] = {"meta": {"result_count": len(numbers)}}
        if numbers:
            answer["data"] = [_tweet(self.number - each) for each in numbers]
            users = {each["author_id"] for each in answer["data"]}
            answer["includes"] = {"users": [_user(each) for each in sorted(users)]}
        if start + size < self.number:
            answer["meta"]["next_token"] = f"p{start + size}"
        return 200, answer, {}

    def _mastodon(self, path: str, query: dict[str, str], url: str) -> Answer:
        size = min(40, int(query.get("limit", "20")))
        below = int(query.get("max_id", str(self.number + 1)))
        if self._is_expired(query.get("max_id", "")):
            return 410, {"error": "gone"}, {}
        if path == "/api/v2/search":
            below -= int(query.get("offset", "0"))
        numbers = range(below - 1, max(0, below - 1 - size), -1)
        statuses = [_status(each) for each in numbers]
        if path == "/api/v2/search":
            return 200, {"statuses": statuses}, {}
        link = f'<{url}{path}?limit={size}&max_id={numbers[-1]}>; rel="next"' if statuses else ""
        return 200, statuses, {"link": link} if link else {}

    def _bluesky(self, query: dict[str, str], token: str) -> Answer:
        if token != TOKEN:
            return 403, {"error": "Forbidden", "message": "log in to search"}, {}
        size = min(100, int(query.get("limit", "25")))
        cursor = query.get("cursor", "")
        if self._is_expired(cursor):
            return 400, {"error": "InvalidRequest", "message": "bad cursor"}, {}
        start = int(cursor) if cursor else 0
        if "until" in query:
            start = next((n for n in range(self.number) if _time(self.number - n) <= query["until"]), self.number)
        numbers = range(start, min(start + size, self.number))
        answer: dict[str, Any] = {"posts": [_view(self.number - each) for each in numbers]}
        if start + size < self.number:
            answer["cursor"] = str(start + size)
        return 200, answer, {}


def _time(number: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NEWEST + number * APART))


def _text(number: int) -> str:
    word = WORDS[number % len(WORDS)]
    return f"post {number} about #{word}, see https://site{number % 5}.example/{number} @name{number % 7}"


def _tweet(number: int) -> dict[str, Any]:
    return {
        "id": str(number),
        "text": _text(number),
        "created_at": _time(number),
        "author_id": str(1000 + number % 13),
        "lang": "en",
        "public_metrics": {"retweet_count": number % 17, "like_count": 2, "reply_count": 0, "quote_count": 0},
        "entities": {
            "hashtags": [{"tag": WORDS[number % len(WORDS)]}],
            "mentions": [{"username": f"name{number % 7}"}],
            "urls": [{"url": "https://t.co/x", "expanded_url": f"https://site{number % 5}.example/{number}"}],
        },
    }


def _user(identity: str) -> dict[str, Any]:
    number = int(identity)
    return {
        "id": identity,
        "username": f"user{number}",
        "public_metrics": {"followers_count": number * 3, "following_count": number % 50},
    }


def _status(number: int) -> dict[str, Any]:
    word = WORDS[number % len(WORDS)]
    link = f"https://site{number % 5}.example/{number}"
    tag = f'<a class="mention hashtag" href="x">#{word}</a>'
    content = f'<p>post {number} about {tag}</p><p>see <a href="{link}">{link}</a></p>'
    return {
        "id": str(number),
        "uri": f"https://social.example/users/user{number % 13}/statuses/{number}",
        "url": f"https://social.example/@user{number % 13}/{number}",
        "created_at": _time(number),
        "account": {
            "id": str(number % 13),
            "acct": f"user{number % 13}",
            "followers_count": number % 13 * 5,
            "following_count": 4,
        },
        "content": content,
        "language": "en",
        "tags": [{"name": word}],
        "mentions": [{"acct": f"name{number % 7}@other.example"}],
        "media_attachments": [],
        "favourites_count": 1,
        "reblogs_count": number % 17,
        "replies_count": 0,
        "reblog": None,
    }


def _view(number: int) -> dict[str, Any]:
    text = f"é post {number} #{WORDS[number % len(WORDS)]} @name{number % 7}.example"
    start = len(text.encode()) - len(f"@name{number % 7}.example".encode())
    return {
        "uri": f"at://did:plc:{number % 13}/app.bsky.feed.post/{number}",
        "author": {"did": f"did:plc:{number % 13}", "handle": f"user{number % 13}.example"},
        "record": {
            "text": text,
            "createdAt": _time(number),
            "langs": ["en"],
            "facets": [
                {
                    "index": {"byteStart": start, "byteEnd": len(text.encode())},
                    "features": [{"$type": "app.bsky.richtext.facet#mention", "did": "did:plc:x"}],
                },
                {
                    "index": {"byteStart": 0, "byteEnd": 1},
                    "features": [{"$type": "app.bsky.richtext.facet#tag", "tag": WORDS[number % len(WORDS)]}],
                },
            ],
        },
        "likeCount": 1,
        "repostCount": number % 17,
        "replyCount": 0,
        "quoteCount": 0,
    }


class HarvestServer(ThreadingHTTPServer):
    """The stand-ins on a port of the loopback interface; 0 chooses a free port."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, service: Service, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.service = service

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serving(service: Service, port: int = 0) -> Iterator[HarvestServer]:
    """Run the stand-ins in the background until the end of the block."""
    server = HarvestServer(service, port)
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
    server: HarvestServer
    wbufsize = 65536
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        service = self.server.service
        if parts.path == "/control/requests":
            self._send(200, service.requests, {})
            return
        is_search = not parts.path.endswith("getProfiles")
        refusal = service.refusal(f"{parts.path}?{parts.query}") if is_search else None
        token = (self.headers.get("authorization") or "").removeprefix("Bearer ")
        status, answer, headers = refusal or service.answer(parts.path, query, token, self.server.url)
        every = service.faults.cut_every
        is_cut = bool(every and is_search and len(service.requests) % every == 0 and status == 200)
        self._send(status, answer, headers, is_cut)

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        given = json.loads(self.rfile.read(length) or b"{}")
        if self.path == "/xrpc/com.atproto.server.createSession" and given.get("password") == TOKEN:
            self._send(200, {"accessJwt": TOKEN}, {})
        else:
            self._send(401, {"error": "AuthenticationRequired", "message": "invalid identifier or password"}, {})

    def _send(self, status: int, answer: Any, headers: dict[str, str], is_cut: bool = False) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if is_cut else content)
        self.close_connection = is_cut

    def log_message(self, format: str, *args: Any) -> None:
        pass
