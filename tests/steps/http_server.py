"""A small HTTP server for the tests of `rest`; prints its port. One path for each thing an API may do.

With a certificate and its key as arguments it speaks HTTPS.
"""

from __future__ import annotations

import gzip
import json
import ssl
import sys
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PACKED = b'{"rows": [1, 2, 3], "name": "packed"}'
CODED = {
    "gzip": ("gzip", gzip.compress(PACKED)),
    "x-gzip": ("X-GZip", gzip.compress(PACKED)),
    "two-members": ("gzip", gzip.compress(PACKED[:9]) + gzip.compress(PACKED[9:])),
    "padded": ("gzip", gzip.compress(PACKED) + b"\0\0"),
    "deflate": ("deflate", zlib.compress(PACKED)),
    "raw-deflate": ("deflate", zlib.compress(PACKED)[2:-4]),
    "twice": ("deflate, gzip", gzip.compress(zlib.compress(PACKED))),
    "identity": ("identity", PACKED),
    "cut-gzip": ("gzip", gzip.compress(PACKED)[:-12]),
    "cut-trailer": ("gzip", gzip.compress(PACKED)[:-3]),
    "cut-deflate": ("deflate", zlib.compress(PACKED)[:-6]),
    "damaged": ("gzip", gzip.compress(PACKED)[:-8] + b"\0" * 8),
    "many": (", ".join(["gzip"] * 2000), PACKED),
    "unknown": ("snappy", PACKED),
    "unknown-after": ("gzip, zstandard", PACKED),
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    calls = 0  #: of /busy
    sent = 0  #: how many MiB of the body of /moved-huge were taken
    has_ended = threading.Event()
    seen: set[str] = set()  # noqa: RUF012  # what was asked of /rows/flaky

    def answer(self) -> None:
        path = self.path.partition("?")[0]
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length) if length else None
        if path == "/echo":
            seen = {
                "method": self.command,
                "path": self.path,
                "headers": dict(self.headers.items()),
                "body": None if body is None else json.loads(body),
                "port": self.client_address[1],
            }
            self.say(200, json.dumps(seen).encode(), "application/json")
        elif path in ("/echo-500", "/fail-echo"):
            seen = {"headers": dict(self.headers.items()), "path": self.path, "body": str(body)}
            self.say(500, json.dumps(seen).encode(), "application/json")
        elif path == "/unicode":
            self.say(200, '{"name": "Plaça de l’Àngel 😀"}'.encode(), "application/json")
        elif path == "/text":
            self.say(200, b"plain, no JSON", "text/plain")
        elif path == "/number":
            self.say(200, b"42", "text/plain")
        elif path == "/latin":
            self.say(200, "Plaça".encode("latin-1"), "text/plain; charset=iso-8859-1")
        elif path == "/latin-unsaid":
            self.say(200, "Plaça".encode("latin-1"), "text/plain")
        elif path == "/nan":
            self.say(200, b'{"v": NaN}', "application/json")
        elif path == "/created":
            self.say(201, b"{}", "application/json")
        elif path == "/nothing":
            self.say(204, b"")
        elif path == "/empty":
            self.say(200, b"", "application/json")
        elif path == "/gzip":
            self.say(200, gzip.compress(b'{"packed": true}'), "application/json", ("content-encoding", "gzip"))
        elif path.startswith("/charset/"):
            charset = path.removeprefix("/charset/")
            self.say(200, '{"name": "Peñíscola"}'.encode(charset), f"application/json; charset={charset}")
        elif path.startswith("/undeclared/"):
            self.say(200, '{"name": "Peñíscola"}'.encode(path.removeprefix("/undeclared/")), "application/json")
        elif path.startswith("/coded/"):
            coding, body = CODED[path.removeprefix("/coded/")]
            self.say(200, body, "application/json", ("content-encoding", coding))
        elif path == "/digits":
            self.say(200, b'{"rows": [12345678901234567890,\n 0.1234567890123456789012]}', "application/json")
        elif path == "/error-digits":
            self.say(500, b"[0.1234567890123456789012]", "application/json")
        elif path == "/gzip-bomb":
            self.say(200, gzip.compress(b"x" * 5_000_000), "text/plain", ("content-encoding", "gzip"))
        elif path == "/huge":
            self.say(200, b"x" * 3_000_000, "text/plain")
        elif path == "/error":
            self.say(500, b'{"why": "broken"}', "application/json")
        elif path == "/error-text":
            self.say(418, b"I am a teapot", "text/plain")
        elif path == "/refuse":
            self.say(404, parse_qs(urlsplit(self.path).query, keep_blank_values=True)["body"][0].encode())
        elif path == "/error-empty":
            self.say(404, b"")
        elif path == "/error-huge":
            self.say(500, b"x" * 3_000_000, "text/plain")
        elif path == "/moved":
            self.say(302, b"", None, ("location", "/echo?moved=1"))
        elif path == "/moved-307":
            self.say(307, b"", None, ("location", "/echo"))
        elif path == "/moved-away":
            self.say(302, b"", None, ("location", f"http://localhost:{self.server.server_port}/echo"))
        elif path == "/moved-huge":
            self.say_huge()
        elif path == "/moved-huge-target":
            Handler.has_ended.wait(10)
            self.say(200, str(Handler.sent).encode(), "application/json")
        elif path == "/empty-members":
            self.say_members()
        elif path.startswith("/moved/"):
            self.say(
                int(path.split("/")[2]), b"", None, ("location", "../../echo"), ("set-cookie", "via=moved; path=/")
            )
        elif path.startswith("/rows/"):
            self.rows(path.removeprefix("/rows/"))
        elif path == "/moved-to-file":
            self.say(302, b"", None, ("location", "file:///etc/hostname"))
        elif path == "/moved-to-error":
            self.say(302, b"", None, ("location", "/error-text"))
        elif path == "/round":
            self.say(302, b"", None, ("location", "/round"))
        elif path == "/cookie":
            self.say(200, b"{}", None, ("set-cookie", "session=1; path=/"))
        elif path == "/busy":
            Handler.calls += 1
            if Handler.calls % 3:
                self.say(429, b"{}", "application/json", ("retry-after", "0"))
            else:
                self.say(200, b"[]", "application/json")
        elif path == "/slow":
            time.sleep(30)
        elif path == "/cut":
            self.send_response(200)
            self.send_header("content-length", "100")
            self.end_headers()
            self.wfile.write(b"only this")
            self.close_connection = True
        else:
            self.say(404, b"{}")

    def say_huge(self) -> None:
        """Redirect with a body of 100 MiB; count what the client takes of it."""
        Handler.has_ended.clear()
        Handler.sent = 0
        self.send_response(302)
        self.send_header("location", "/moved-huge-target")
        self.send_header("content-length", str(100 << 20))
        self.end_headers()
        try:
            for Handler.sent in range(100):
                self.wfile.write(bytes(1 << 20))
        except OSError:
            self.close_connection = True
        Handler.has_ended.set()

    def say_members(self) -> None:
        """Send compressed data that unpacks to nothing, without an end."""
        self.send_response(200)
        self.send_header("content-encoding", "gzip")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            while True:
                self.wfile.write(gzip.compress(b"") * 5000)
        except OSError:
            pass

    def rows(self, by: str) -> None:
        """Five rows, two at a time; the second page is empty where `gap` is asked for."""
        query = {name: values[-1] for name, values in parse_qs(urlsplit(self.path).query).items()}
        here = f"http://{self.headers['host']}/rows/{by}"
        rows = [1, 2, 3, 4, 5]
        headers = []
        following = None
        if by == "page":
            start = (int(query.get("p", "1")) - 1) * 2
        elif by == "flaky":
            start = (int(query.get("p", "1")) - 1) * 2
            if self.path not in Handler.seen:
                Handler.seen.add(self.path)
                self.say(503, b"{}")
                return
            # Asked for again, a page is another one: nothing but its retry may ask.
            Handler.seen.remove(self.path)
        elif by == "page-fails":
            start = (int(query.get("p", "1")) - 1) * 2
            if start:
                self.say(503, b"{}")
                return
        else:
            start = int(query.get("at", "0"))
        if start + 2 < len(rows):
            following = start + 2
        if by in ("link", "link-relative", "link-away"):
            place = {"link": here, "link-relative": "/rows/link-relative", "link-away": here}[by]
            if by == "link-away":
                place = f"http://localhost:{self.server.server_port}/rows/link-away"
            if following is not None:
                headers = [("link", f'<{place}?at={following}>; rel="next", <{here}>; rel="first"')]
        if by.startswith("gap"):
            # As of a service that filters its rows after it has paged them.
            rows = [1, 2, None, None, 5]
            headers = [] if following is None else [("LINK", f"<{by}?at={following}>; title=\"a, <b>; c\"; REL='x'")]
            if following is not None:
                headers.append(("link", f'<?at={following}&v=1;x>; foo; rel="last NEXT"; rel=prev'))
        if by == "ends" and start > 4:
            self.say(416, b'{"why": "no such page"}', "application/json")
            return
        answer = {
            "rows": [row for row in rows[start : start + 2] if row is not None],
            "next": following if by != "ends" else start + 2,
            "path-next": None if following is None else f"/rows/{by}?at={following}",
            "query-next": None if following is None else f"?at={following}",
            "uri": None if following is None else f"{here}?at={following}",
            "login": [self.headers.get("authorization"), self.headers.get("x-auth"), self.headers.get("x-plain")],
            "same": 0,
            "path": self.path,
        }
        self.say(200, json.dumps(answer).encode(), "application/json", *headers)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def say(self, status: int, body: bytes, kind: str | None = None, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        if kind:
            self.send_header("content-type", kind)
        for name, value in headers:
            self.send_header(name, value)
        if status != 204:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except ConnectionError:
            pass  # The client has had enough.

    def log_message(self, format: str, *arguments: object) -> None:
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if len(sys.argv) > 1:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*sys.argv[1:])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()
