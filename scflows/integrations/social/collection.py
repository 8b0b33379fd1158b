"""The files of a harvest: raw answers, posts, the cursor, the provenance.

A page is safe before its cursor is: the raw answer is on the disk first, then the posts, then the cursor. After a kill
the files are cut to what the cursor knows; a raw answer that is complete is used again rather than requested again.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field

from scflows.errors import StepError
from scflows.storage import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from scflows.integrations.social.post import Post

RAW, POSTS, CURSOR, PROVENANCE = "raw.jsonl", "posts.jsonl", "cursor.json", "provenance.json"


@dataclass
class Progress:
    """How far a harvest is: `cursor.json`."""

    search: dict[str, Any]  #: what is searched for; a folder belongs to one search
    started: str
    following: str | None = None  #: the cursor of the next page
    pages: int = 0
    received: int = 0  #: posts as they came, repeated ones included
    posts: int = 0
    raw_bytes: int = 0
    posts_bytes: int = 0
    is_done: bool = False
    limits: list[dict[str, Any]] = field(default_factory=list)  #: of the service that were met
    seen: list[str] = field(default_factory=list)  #: digests of the cursors so far


class Collection:
    """The folder of a harvest, open for more pages."""

    def __init__(self, folder: str, shown: str, search: dict[str, Any], started: str) -> None:
        """Open the folder, with what an earlier try has collected. Raises StepError for one of another search."""
        self.folder, self.shown = folder, shown
        self.progress = self._read_progress(search) or Progress(search, started)
        self.uris: set[str] = set()
        self._raw = self._open(RAW)
        self._posts = self._open(POSTS)
        _cut(self._posts, self.progress.posts_bytes)
        for post in self.posts():
            self.uris.add(post["post_uri"])

    def _open(self, name: str) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(os.path.join(self.folder, name), flags, 0o666)

    def _read_progress(self, search: dict[str, Any]) -> Progress | None:
        path = os.path.join(self.folder, CURSOR)
        try:
            with open(path, encoding="utf-8") as file:
                found = Progress(**json.load(file))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise StepError(f"{self.shown}/{CURSOR} is damaged: {error}; use another folder") from error
        if found.search != search:
            changed = [name for name in search if found.search.get(name) != search[name]]
            raise StepError(
                f"{self.shown} has the posts of another search ({', '.join(changed)} differ); use another folder"
            )
        return found

    def close(self) -> None:
        """Close the files."""
        for descriptor in (self._raw, self._posts):
            os.close(descriptor)

    def posts(self) -> Iterator[Post]:
        """Yield the posts so far."""
        with open(os.path.join(self.folder, POSTS), "rb") as file:
            for line in file:
                yield json.loads(line)

    def pending_page(self) -> Any:
        """Return the raw page that a killed try received and did not finish; None if there is none.

        A page that is cut off is removed.
        """
        size = os.fstat(self._raw).st_size
        if size > self.progress.raw_bytes:
            content = os.pread(self._raw, size - self.progress.raw_bytes, self.progress.raw_bytes)
            line, end, _ = content.partition(b"\n")
            if end:
                try:
                    return json.loads(line)
                except ValueError:
                    pass
        _cut(self._raw, self.progress.raw_bytes)
        return None

    def add_raw(self, page: dict[str, Any]) -> None:
        """Write a raw page to the disk."""
        _cut(self._raw, self.progress.raw_bytes)
        _write(self._raw, json.dumps(page).encode() + b"\n")

    def add_posts(self, received: int, posts: list[Post], following: str | None, is_done: bool) -> None:
        """Write the new posts of the raw page, then the cursor for what follows."""
        _cut(self._posts, self.progress.posts_bytes)
        if posts:
            _write(self._posts, b"".join(json.dumps(post).encode() + b"\n" for post in posts))
        progress = self.progress
        self.uris.update(post["post_uri"] for post in posts)
        progress.following, progress.is_done = following, is_done
        progress.pages += 1
        progress.received += received
        progress.posts += len(posts)
        progress.raw_bytes = os.fstat(self._raw).st_size
        progress.posts_bytes = os.fstat(self._posts).st_size
        if following is not None:
            progress.seen.append(digest(following))
        self.save()

    def save(self) -> None:
        """Write the cursor."""
        replace(os.path.join(self.folder, CURSOR), json.dumps(asdict(self.progress)).encode() + b"\n")

    def write_provenance(self, values: dict[str, Any]) -> None:
        """Write where the posts come from, with the checksums of the files."""
        from scflows.documents import json_text

        sums = {name: _checksum(os.path.join(self.folder, name)) for name in (RAW, POSTS)}
        content = json.loads(json_text({**values, "sha256": sums}))
        replace(
            os.path.join(self.folder, PROVENANCE), json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n"
        )


def digest(cursor: str) -> str:
    """Return a short name of a cursor."""
    return hashlib.sha256(cursor.encode("utf-8", "replace")).hexdigest()[:16]


def _cut(descriptor: int, size: int) -> None:
    if os.fstat(descriptor).st_size > size:
        os.ftruncate(descriptor, size)


def _write(descriptor: int, content: bytes) -> None:
    """Append to a file and wait for the disk."""
    place = os.lseek(descriptor, 0, os.SEEK_END)
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, place)
        view, place = view[written:], place + written
    os.fsync(descriptor)


def _checksum(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
