"""Read posts from files of JSON lines, one at a time, each post once."""

from __future__ import annotations

import gzip
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass, field

from scflows.errors import StepError
from scflows.integrations.social import archive
from scflows.integrations.social.post import COLUMNS, neutral
from scflows.storage import open_regular

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, Any

    from scflows.integrations.social.post import Post

#: Bytes of one line at most. No service sends posts of that size.
MAX_LINE = 16 * 2**20


@dataclass
class Reading:
    """What was read so far, and what was left out."""

    posts: int = 0
    repeated: int = 0  #: posts that came before
    notices: int = 0  #: other lines, such as deletions
    broken: list[str] = field(default_factory=list)  #: places of lines that are cut off or not JSON, with the reason


def read_posts(paths: list[tuple[str, str]], reading: Reading) -> Iterator[Post]:
    """Yield the neutral posts of files, given as (path, name for messages); each post once, in the order of the files.

    Lines hold neutral posts or archived ones. What is left out is counted in `reading`. Raises StepError, OSError.
    """
    seen: set[int] = set()
    for path, shown in paths:
        for value in _values(path, shown, reading):
            post = neutral(value) if _is_neutral(value) else archive.post_of(value)
            if post is None or not post["post_uri"]:
                reading.notices += 1
                continue
            # A hash of 64 bits: a million texts would take four times the memory.
            identity = hash(post["post_uri"])
            if identity in seen:
                reading.repeated += 1
                continue
            seen.add(identity)
            reading.posts += 1
            yield post


def _is_neutral(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() >= set(COLUMNS)


def _values(path: str, shown: str, reading: Reading) -> Iterator[Any]:
    with _opened(path) as file:
        number = 0
        while True:
            try:
                line = file.readline(MAX_LINE)
            except (EOFError, gzip.BadGzipFile) as error:
                reading.broken.append(f"{shown}: after line {number}: {error or 'the file is cut off'}")
                return
            if not line:
                return
            number += 1
            if not line.strip():
                continue
            if len(line) == MAX_LINE:
                raise StepError(f"{shown}: line {number} is longer than {MAX_LINE // 2**20} MiB")
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                # The last line of a file that is still written, or that was cut off by a kill.
                reading.broken.append(f"{shown}: line {number} is cut off or not JSON")


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    with open(open_regular(path), "rb") as file:
        start = file.read(2)
        file.seek(0, os.SEEK_SET)
        if start == b"\x1f\x8b":
            with gzip.open(file) as unpacked:
                yield unpacked  # type: ignore[misc]
        else:
            yield file
