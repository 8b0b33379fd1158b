"""What is counted in posts: each counter takes posts one by one and gives rows at the end.

Rows come sorted, highest first, equal ones by first appearance. Definitions: `docs/harvest.md`.
"""

from __future__ import annotations

import random

from scflows.integrations.social.post import COLUMNS, LISTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from scflows.integrations.social.post import Post

#: How many posts `retweets.csv` lists.
MOST_REPOSTED = 100


class Counter:
    """Counts of values in posts."""

    header: tuple[str, ...] = ()

    def add(self, post: Post) -> None:
        """Take a post into account."""
        raise NotImplementedError

    def rows(self) -> Iterable[tuple[Any, ...]]:
        """Return the rows of the result."""
        raise NotImplementedError


class Values(Counter):
    """How often each value appears."""

    def __init__(self, name: str, values: Callable[[Post], Iterable[str]]) -> None:
        self.header = (name, "count")
        self.counts: dict[str, int] = {}
        self._values = values

    def add(self, post: Post) -> None:
        counts = self.counts
        for value in self._values(post):
            counts[value] = counts.get(value, 0) + 1

    def rows(self) -> list[tuple[Any, ...]]:
        return sorted(self.counts.items(), key=lambda each: -each[1])


def hashtags(post: Post) -> Iterator[str]:
    """Yield the hashtags in lower case; one that a post has twice, twice."""
    return (tag.lower() for tag in post["hashtags"])


def urls(post: Post) -> Iterator[str]:
    """Yield the links as written."""
    return (url for url in post["urls"] if url.strip())


def domains(post: Post) -> Iterator[str]:
    """Yield the hosts of the links, in lower case; nothing for a link without a host."""
    from urllib.parse import urlsplit

    for url in post["urls"]:
        try:
            host = urlsplit(url).hostname
        except ValueError:
            continue
        if host:
            yield host


def mentions(post: Post) -> Iterator[str]:
    """Yield the mentioned names in lower case."""
    return (name.lower() for name in post["mentions"])


class Media(Values):
    """How often each photo appears."""

    def __init__(self) -> None:
        super().__init__("url", lambda post: post["media"])
        self.header = ("url", "file", "count")

    def rows(self) -> list[tuple[Any, ...]]:
        return [(url, last_part(url), count) for url, count in super().rows()]


def last_part(url: str) -> str:
    """Return the last part of the path of an address."""
    from urllib.parse import urlsplit

    try:
        path = urlsplit(url).path
    except ValueError:
        path = url
    return path.rstrip("/").rpartition("/")[2]


class Authors(Counter):
    """Followers of each author, from the author's newest post; `ratio`: divided by how many the author follows."""

    def __init__(self, ratio: bool = False) -> None:
        self.header = ("user", "count")
        self._ratio = ratio
        self._newest: dict[str, tuple[str, str, int | float]] = {}

    def add(self, post: Post) -> None:
        followers, following = post["author_followers"], post["author_following"]
        handle = post["author_handle"]
        if handle is None or followers is None or (self._ratio and not following):
            return
        key = post["author_id"] or handle
        created = post["created_at"] or ""
        known = self._newest.get(key)
        if known is None or created >= known[0]:
            self._newest[key] = (created, handle, followers / following if self._ratio else followers)

    def rows(self) -> list[tuple[Any, ...]]:
        found = [(handle, value) for _, handle, value in self._newest.values()]
        return sorted(found, key=lambda each: -each[1])


class Reposts(Counter):
    """The posts that were reposted most; a repost counts for its original, with the highest count seen."""

    header = ("tweet_id", "count")

    def __init__(self) -> None:
        self._highest: dict[tuple[str, str], int] = {}

    def add(self, post: Post) -> None:
        number = post["reposts"]
        if not number:
            return
        key = (post["source"], post["repost_of"] or post["post_id"])
        if number > self._highest.get(key, 0):
            self._highest[key] = number

    def rows(self) -> list[tuple[Any, ...]]:
        found = sorted(self._highest.items(), key=lambda each: -each[1])[:MOST_REPOSTED]
        return [(identity, number) for (_, identity), number in found]


class Sample(Counter):
    """Different posts drawn at random, in the order of the harvest."""

    header = COLUMNS

    def __init__(self, size: int) -> None:
        self.posts: list[tuple[int, Post]] = []
        self._size, self._seen = size, 0
        self._random = random.Random()

    def add(self, post: Post) -> None:
        # Algorithm R: Vitter, Random sampling with a reservoir, ACM Transactions on Mathematical Software 11 (1985).
        self._seen += 1
        if len(self.posts) < self._size:
            self.posts.append((self._seen, post))
            return
        place = self._random.randrange(self._seen)
        if place < self._size:
            self.posts[place] = (self._seen, post)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        return (row_of(post) for _, post in sorted(self.posts, key=lambda each: each[0]))


def row_of(post: Post) -> tuple[Any, ...]:
    """Return the cells of a post: lists joined by spaces, blank where nothing is known."""
    return tuple(" ".join(post[name]) if name in LISTS else post[name] for name in COLUMNS)
