"""Collect posts of a social-media service by a search term."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from scflows.errors import StepError
from scflows.steps import Context, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from scflows.integrations.social.collection import Collection
    from scflows.integrations.social.post import Post
    from scflows.integrations.social.service import Caller, Found

SERVICES = ("x", "mastodon", "bluesky")
#: Pages without a new post, one after another, before a harvest ends.
MAX_FRUITLESS = 20


@dataclass(frozen=True)
class HarvestStep(Step):
    """Collect posts of X, Mastodon or Bluesky by a search term, or read archived posts.

    The secret has `token` for X and Mastodon, `username` and `password` (an app password) for Bluesky. The result is
    `{posts: PATH, number: N, requested: N, folder: PATH}`. A harvest continues where it stopped.

    - name: fetch
      type: harvest
      harvest: {source: x, secret: x, term: "{{ params.term }}", count: 2000, folder: "{{ __run_folder__ }}"}
    - name: fetch
      type: harvest
      harvest: {source: archive, path: input/posts.jsonl.gz, folder: "{{ __run_folder__ }}"}
    """

    source: str = option(template=True, help="x, mastodon, bluesky or archive")
    folder: str = option(template=True, help="the folder of the harvest, in DATA_PATH; a folder for each search")
    term: str = option("", template=True, help="what to search for, as the service's own search takes it")
    count: Any = option(1000, template=True, help="number of posts at most")
    secret: str | None = option(
        None, help="name of the secret with the credentials; default: that of the source, if there is one"
    )
    server: str | None = option(None, template=True, help="address of the service; mastodon needs it")
    path: str | None = option(
        None, template=True, help="of archive: the file with posts in DATA_PATH; otherwise another path of the search"
    )
    since: str | None = option(None, template=True, help="only posts from this time on (ISO 8601)")
    until: str | None = option(None, template=True, help="only posts before this time (ISO 8601)")
    pseudonyms: bool = option(False, help="replace authors and mentions by keyed hashes, except in the raw posts")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        source = options.get("source")
        if isinstance(source, str) and "{" not in source:
            yield from _check_source(source, options)
        for name in ("since", "until"):
            written = options.get(name)
            if isinstance(written, str) and "{" not in written and _time(written) is None:
                yield name, f"{name!r} must be a time, for example 2026-03-01T00:00:00Z"
        number = options.get("count")
        if number is not None and not (isinstance(number, str) and "{" in number) and _count(number) is None:
            yield "count", "'count' must be a number of posts from 1"

    def writes(self) -> bool:
        return True

    def intention(self) -> str:
        return f"collect up to {self.count} posts of {self.source} about {self.term!r}"

    def dry_result(self) -> Any:
        return {"posts": "", "number": 0, "requested": 0, "folder": self.folder}

    def run(self, ctx: Context) -> Any:
        for _, mistake in _check_source(self.source, self.__dict__):
            raise StepError(mistake)
        count = _count(self.count)
        if count is None:
            raise StepError(f"'count' must be a number of posts from 1, not {self.count!r}")
        try:
            return self._collect(ctx, count)
        except OSError as error:
            raise StepError(f"{error.filename or self.folder}: {error.strerror or error}") from error

    def _collect(self, ctx: Context, count: int) -> Any:
        from scflows.integrations.social.collection import POSTS, PROVENANCE, RAW, Collection
        from scflows.locks import FOLDER, locked

        folder = ctx.writable(self.folder)
        search = {name: getattr(self, name) for name in ("source", "term", "server", "path", "pseudonyms")}
        search |= {name: _time(str(getattr(self, name))) for name in ("since", "until") if getattr(self, name)}
        os.makedirs(folder, exist_ok=True)
        for name in (POSTS, RAW, PROVENANCE):
            ctx.add_file(os.path.join(folder, name))
        try:
            with locked(folder, wait=False, how=FOLDER):
                number = self._fill(ctx, Collection(folder, self.folder, search, _now()), count)
        except BlockingIOError as error:
            raise StepError(f"{self.folder} is in use by another harvest") from error
        return {
            "posts": f"{self.folder.rstrip('/')}/{POSTS}",
            "number": number,
            "requested": count,
            "folder": self.folder,
        }

    def _fill(self, ctx: Context, collection: Collection, count: int) -> int:
        """Collect what is missing; return the number of posts."""
        progress = collection.progress
        try:
            if progress.pages:
                ctx.log.info(f"continues after {progress.pages} pages with {progress.posts} posts")
            if self.source == "archive":
                self._read_archive(ctx, collection, count)
            else:
                self._request_pages(ctx, collection, count)
            self._write_provenance(ctx, collection, count)
        finally:
            collection.close()
        return progress.posts

    def _request_pages(self, ctx: Context, collection: Collection, count: int) -> None:
        from scflows.integrations.social.collection import digest
        from scflows.integrations.social.service import Caller, CursorExpired

        caller = Caller(ctx.remaining, ctx.sleep, ctx.masked, ctx.log.info, collection.progress.limits)
        service = self._service(ctx, caller)
        progress, fruitless, expired = collection.progress, 0, False
        if progress.posts < count and progress.following is not None:
            progress.is_done = False
        while not progress.is_done and progress.posts < count:
            pending = collection.pending_page()
            try:
                found: Found = _again(pending) if pending else service.page(progress.following, count - progress.posts)
                expired = False
            except CursorExpired:
                position = service.position(list(collection.posts()))
                if expired or position is None:
                    raise StepError("the service does not know the cursor any more; start a new search") from None
                ctx.log.warning("the cursor has expired; continuing with posts older than those so far")
                progress.following, expired = position, True
                continue
            if pending is None:
                collection.add_raw(_page_line(found, progress.following))
            new = self._new(ctx, collection, found, count)
            fruitless = 0 if new else fruitless + 1
            is_done = found.following is None or found.is_before or fruitless > MAX_FRUITLESS
            if found.following is not None and digest(found.following) in progress.seen:
                ctx.log.warning("the service repeats a cursor; the search ends here")
                is_done = True
            collection.add_posts(len(found.posts), new, found.following, is_done)
            ctx.progress(f"{progress.posts}/{count}")
            ctx.sleep(0)

    def _new(self, ctx: Context, collection: Collection, found: Found, count: int) -> list[Post]:
        """Return the posts of a page that are new and within the times, up to the number that is left."""
        since, until = (_time(each) if each else None for each in (self.since, self.until))
        new: dict[str, Post] = {}
        for post in found.posts:
            shown = self._hidden(ctx, post)
            created = post["created_at"]
            uri = shown["post_uri"]
            if not uri or uri in collection.uris or uri in new:
                continue
            if created and ((since and created < since) or (until and created >= until)):
                continue
            new[uri] = shown
        return list(new.values())[: count - collection.progress.posts]

    def _hidden(self, ctx: Context, post: Post) -> Post:
        if not self.pseudonyms:
            return post
        from scflows.integrations.social.pseudonym import hide, read_key

        key = ctx.shared.get("pseudonym_key")
        if key is None:
            key = ctx.shared["pseudonym_key"] = read_key(ctx.settings.state_path)
        return hide(post, key)

    def _read_archive(self, ctx: Context, collection: Collection, count: int) -> None:
        from scflows.integrations.social.reading import Reading, read_posts

        reading = Reading()
        new: list[Post] = []
        collection.progress.posts = collection.progress.posts_bytes = collection.progress.received = 0
        collection.uris.clear()
        for post in read_posts([(ctx.readable(str(self.path)), str(self.path))], reading):
            new.append(self._hidden(ctx, post))
            if len(new) == 1000 or collection.progress.posts + len(new) == count:
                collection.add_posts(len(new), new, None, False)
                new = []
                ctx.sleep(0)
            if collection.progress.posts == count:
                break
        collection.add_posts(len(new), new, None, True)
        for place in reading.broken[:10]:
            ctx.log.warning(f"left out: {place}")

    def _service(self, ctx: Context, caller: Caller) -> Any:
        from scflows.integrations.social.bluesky import Bluesky
        from scflows.integrations.social.mastodon import Mastodon
        from scflows.integrations.social.service import Search
        from scflows.integrations.social.x import X

        kinds: dict[str, Any] = {"x": X, "mastodon": Mastodon, "bluesky": Bluesky}
        kind = kinds[self.source]
        secret = self._secret_fields(ctx)
        needed = ("username", "password") if self.source == "bluesky" and secret else kind.secret_fields
        for name in needed:
            if name not in secret:
                raise StepError(f"{self.source} needs a secret with `{name}`; {self.secret or self.source!r} has none")
        times = [_time(each) if each else None for each in (self.since, self.until)]
        return kind(caller, Search(self.term, *times), self.server, self.path, secret)

    def _secret_fields(self, ctx: Context) -> dict[str, str]:
        """Return the credentials: of the secret that is named, otherwise of one with the name of the source."""
        if self.secret:
            return ctx.secret_fields(self.secret)
        try:
            return ctx.secret_fields(self.source)
        except StepError as error:
            ctx.log.info(f"without credentials: {error}")
            return {}

    def _write_provenance(self, ctx: Context, collection: Collection, count: int) -> None:
        from scflows import __version__

        progress = collection.progress
        collection.write_provenance(
            {
                "service": self.source,
                "server": self.server,
                "term": self.term,
                "options": {"path": self.path, "since": self.since, "until": self.until, "pseudonyms": self.pseudonyms},
                "started": progress.started,
                "finished": _now(),
                "requested": count,
                "received": progress.received,
                "posts": progress.posts,
                "pages": progress.pages,
                "limits": progress.limits,
                "scflows": __version__,
                "run": ctx.data.get("__job_id__"),
                "started_by": _user(),
            }
        )


def _check_source(source: str, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if source not in (*SERVICES, "archive"):
        yield "source", f"unknown source {source!r}; use one of {', '.join((*SERVICES, 'archive'))}"
    elif source == "archive":
        if not options.get("path"):
            yield "path", "option 'path' is missing: 'archive' needs it"
    elif not str(options.get("term") or "").strip():
        yield "term", f"option 'term' is missing: {source!r} needs it"
    if source == "mastodon" and not options.get("server"):
        yield "server", "option 'server' is missing: 'mastodon' needs it, for example https://mastodon.social"


def _page_line(found: Found, cursor: str | None) -> dict[str, Any]:
    """Return what is written of a page: the answer as it came, and what was made of it."""
    return {
        "cursor": cursor,
        "received": _now(),
        "answer": found.raw,
        "posts": found.posts,
        "following": found.following,
        "is_before": found.is_before,
    }


def _again(page: dict[str, Any]) -> Found:
    """Return a page that was received before a kill."""
    from scflows.integrations.social.service import Found

    return Found(page["posts"], page["following"], page["answer"], page["is_before"])


def _count(value: Any) -> int | None:
    text = str(value).strip()
    return int(text) if not isinstance(value, bool) and text.isdecimal() and text.isascii() and int(text) > 0 else None


def _time(text: str) -> str | None:
    from scflows.integrations.social.post import utc

    return utc(text.strip())


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _user() -> str:
    from getpass import getuser

    try:
        return getuser()
    except (KeyError, OSError):
        return ""
