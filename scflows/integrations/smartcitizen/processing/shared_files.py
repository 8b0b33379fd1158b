"""Files of the file host, shared by all the processes of a user: each is asked for once, and again when it is old."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass

from scflows.connectors.http.response import HttpError
from scflows.errors import NotFound, Refused, Unreachable
from scflows.locks import locked
from scflows.storage import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scflows.integrations.smartcitizen.access import Access

HOUR = 3600.0
#: For how long a file is taken as it is, in seconds. Then the host is asked whether it has changed.
FRESH = HOUR
#: For how long it is used while the host does not answer, in seconds.
STALE = 7 * 24 * HOUR
#: For how long nobody asks again after a host that did not answer, in seconds.
QUIET = 60.0
#: How long the host is asked again for a file that is known, in seconds.
KNOWN_PATIENCE = 5.0
#: Seconds that a connection, and each wait for more of the answer, may take.
WAIT = 30.0
LARGEST = 16 * 2**20  #: bytes of a file


@dataclass
class Entry:
    """A file as it was got, or why it was not."""

    url: str
    asked: float = 0.0  #: when the host last answered for it (epoch)
    tried: float = 0.0  #: when it was last asked in vain
    problem: str = ""  #: why in vain
    etag: str = ""
    modified: str = ""
    content: str | None = None


class SharedFiles:
    """The files, kept in a folder. `tell` hears of an old file that is used while the host is away."""

    def __init__(
        self,
        folder: str,
        access: Access,
        tell: Callable[[str], None] = lambda text: None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.folder = folder
        self.access = access
        self.tell = tell
        self.clock = clock
        self.sleep = sleep

    def read(self, url: str) -> bytes:
        """The content of a file, which is JSON. Where it may lie is not looked at here, but where it leads is.

        Raises NotFound, Refused for what is no JSON, Unreachable when the host does not answer and the file is not
        known, or too old.
        """
        path = os.path.join(self.folder, hashlib.sha256(url.encode()).hexdigest()[:32] + ".json")
        entry = self._known(path, url)
        if self._is_fresh(entry):
            return _content(entry)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with locked(path + ".lock"):
            # Somebody else may have asked while we waited.
            entry = self._known(path, url)
            now = self.clock()
            if self._is_fresh(entry):
                return _content(entry)
            if not 0 <= now - entry.tried < QUIET:
                try:
                    self._ask(entry)
                except Unreachable as error:
                    entry.tried, entry.problem = self.clock(), str(error)
                replace(path, json.dumps(asdict(entry)).encode(), mode=0o600, durable=False)
        if entry.tried:
            if entry.content is None or now - entry.asked > STALE:
                raise Unreachable(entry.problem)
            self.tell(f"{entry.problem}; what it said {(now - entry.asked) / HOUR:.0f} h ago is used")
        return _content(entry)

    def _is_fresh(self, entry: Entry) -> bool:
        return entry.content is not None and 0 <= self.clock() - entry.asked < FRESH

    def _known(self, path: str, url: str) -> Entry:
        try:
            with open(path, encoding="utf-8") as file:
                found = Entry(**json.load(file))
        except (OSError, ValueError, TypeError):
            return Entry(url)
        return found if found.url == url else Entry(url)

    def _ask(self, entry: Entry) -> None:
        """Bring the entry up to date. Raises Unreachable, NotFound and Refused."""
        waited, pause, begun = 0.0, 0.5, time.monotonic()
        # Nobody waits long for news of what is known.
        patience = min(KNOWN_PATIENCE, self.access.retry_seconds) if entry.content else self.access.retry_seconds
        while True:
            try:
                self._ask_once(entry)
                return
            except HttpError as error:
                wait = max(pause, error.retry_after or 0.0)
                if max(waited, time.monotonic() - begun) + wait > patience:
                    raise Unreachable(f"{entry.url}: {error}") from error
                self.sleep(wait)
                waited += wait
                pause *= 2

    def _ask_once(self, entry: Entry) -> None:
        from scflows import __version__
        from scflows.connectors.http import session
        from scflows.connectors.http.response import retry_after

        headers = {"User-Agent": f"scflows/{__version__}", "Accept": "application/json"}
        if entry.content is not None:
            if entry.etag:
                headers["If-None-Match"] = entry.etag
            if entry.modified:
                headers["If-Modified-Since"] = entry.modified
        with session.call(
            "GET",
            entry.url,
            {name: value.encode("latin-1") for name, value in headers.items()},
            timeout=WAIT,
            may_follow=self.access.is_file_host,
        ) as response:
            status = response.status_code
            if status in (408, 429) or status >= 500:
                raise HttpError(f"{status} {response.reason or ''}".rstrip(), retry_after(response, self.clock()))
            if status == 304 and entry.content is not None:
                entry.asked, entry.tried = self.clock(), 0.0
                return
            if status == 404:
                raise NotFound(f"{entry.url}: 404 Not Found")
            if elsewhere := session.redirect_host(response):
                raise Refused(f"{entry.url}: {status}: it leads to {elsewhere}, which is not followed")
            if status != 200:
                raise Refused(f"{entry.url}: {status} {response.reason or ''}".rstrip())
            content, is_whole = session.read(response, LARGEST, WAIT)
        if not is_whole:
            raise Refused(f"{entry.url}: more than {LARGEST} bytes")
        try:
            text = content.decode("utf-8-sig")
            json.loads(text)
        except (ValueError, RecursionError):
            raise Refused(f"{entry.url}: it is not JSON") from None
        entry.content, entry.asked, entry.tried, entry.problem = text, self.clock(), 0.0, ""
        entry.etag = response.headers.get("etag") or ""
        entry.modified = response.headers.get("last-modified") or ""


def _content(entry: Entry) -> bytes:
    assert entry.content is not None
    return entry.content.encode()
