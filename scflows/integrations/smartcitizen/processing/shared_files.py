"""A cache of the file host's files, shared by all processes of a user."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass
from functools import partial

from scflows.connectors.http.response import HttpError
from scflows.errors import NotFound, Refused, Unreachable
from scflows.integrations.smartcitizen.client import WAIT, ask_again
from scflows.locks import locked
from scflows.storage import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scflows.integrations.smartcitizen.access import Access

HOUR = 3600.0
#: How long a file is used without checking for changes, in seconds.
FRESH = HOUR
#: How long it is used while the host does not respond, in seconds.
STALE = 7 * 24 * HOUR
#: How long to wait before another attempt after a failure, in seconds.
QUIET = 60.0
#: How long to retry for a cached file, in seconds.
KNOWN_PATIENCE = 5.0
LARGEST = 16 * 2**20  #: maximum size of a file, in bytes


@dataclass
class Entry:
    """A cached file, or why it could not be fetched."""

    url: str
    asked: float = 0.0  #: when the host last responded (epoch)
    tried: float = 0.0  #: when the last attempt failed; 0: it succeeded
    problem: str = ""  #: why it failed
    etag: str = ""
    modified: str = ""
    content: str | None = None


class SharedFiles:
    """The cache, in a folder. `report` is called when an old file is used because the host does not respond."""

    def __init__(
        self,
        folder: str,
        access: Access,
        report: Callable[[str], None] = lambda text: None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.folder = folder
        self.access = access
        self.report = report
        self.clock = clock
        self.sleep = sleep

    def read(self, url: str) -> bytes:
        """Return the content of a JSON file. The host of `url` is not checked here, but redirects are.

        Raises NotFound, Refused for a file that is not JSON, Unreachable if the host does not respond and the file is
        not cached or too old.
        """
        path = os.path.join(self.folder, hashlib.sha256(url.encode()).hexdigest()[:32] + ".json")
        entry = self._known(path, url)
        if self._is_fresh(entry):
            return _content(entry)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with locked(path + ".lock"):
            # Another process may have fetched it in the meantime.
            entry = self._known(path, url)
            now = self.clock()
            if self._is_fresh(entry):
                return _content(entry)
            if not 0 <= now - entry.tried < QUIET:
                try:
                    # Retries are short if there is a cached version.
                    longest = self.access.retry_seconds
                    patience = min(KNOWN_PATIENCE, longest) if entry.content else longest
                    ask_again(partial(self._ask, entry), url, patience, lambda seconds, _: self.sleep(seconds))
                except Unreachable as error:
                    entry.tried, entry.problem = self.clock(), str(error)
                replace(path, json.dumps(asdict(entry)).encode(), mode=0o600, durable=False)
        if entry.tried:
            if entry.content is None or now - entry.asked > STALE:
                raise Unreachable(entry.problem)
            self.report(f"{entry.problem}; using the file from {(now - entry.asked) / HOUR:.0f} h ago")
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
        """Update the entry. Raises HttpError, NotFound and Refused."""
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
