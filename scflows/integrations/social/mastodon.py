"""Mastodon: timelines of hashtags, and search (https://docs.joinmastodon.org/methods/timelines/#tag)."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import parse_qsl, quote, urlsplit

from scflows.errors import StepError
from scflows.integrations.social.post import mapping, mappings, neutral, utc, word
from scflows.integrations.social.service import Found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from scflows.integrations.social.post import Post
    from scflows.integrations.social.service import Caller, Search

PAGE = 40
MEANING = {
    401: "this server needs a token: name a secret with `token`",
    403: "the secret's `token` may not read this (scope read:statuses or read:search)",
    404: "`server` is not a Mastodon server, or it has no such timeline",
    410: "the server does not offer this any more",
    422: "the server does not accept the search term",
}


class Mastodon:
    """A search at a Mastodon server: the timeline of a hashtag for `#word`, otherwise a search over texts."""

    secret_fields = ()

    def __init__(self, caller: Caller, search: Search, server: str | None, path: str | None, secret: Mapping[str, str]):
        if not server:
            raise StepError("option 'server' is missing: mastodon needs it, for example https://mastodon.social")
        self._caller, self._search = caller, search
        self._server = server.rstrip("/")
        self._host = urlsplit(self._server).hostname or ""
        self._headers = {"Authorization": f"Bearer {secret['token']}"} if "token" in secret else {}
        term = search.term.strip()
        self._is_tag = term.startswith("#") and not any(letter.isspace() for letter in term)
        self._path = path or (f"/api/v1/timelines/tag/{quote(term[1:], safe='')}" if self._is_tag else "/api/v2/search")

    def page(self, cursor: str | None, wanted: int) -> Found:
        """Return a page of at most 40 posts."""
        uri = self._server + self._path
        parameters: dict[str, str | int] = {"limit": PAGE}
        if not self._is_tag:
            parameters |= {"type": "statuses", "q": self._search.term, "offset": int(cursor or 0)}
        elif cursor is not None:
            # The link as the server wrote it: its ids are not to be built by others.
            parameters = dict(parse_qsl(urlsplit(cursor).query)) if "?" in cursor else {"limit": PAGE, "max_id": cursor}
        expired = lambda status, _: cursor is not None and status in (400, 410)  # noqa: E731
        answer, response = self._caller.json("GET", uri, parameters, self._headers, MEANING, expired=expired)
        statuses = answer if isinstance(answer, list) else answer.get("statuses") if isinstance(answer, dict) else None
        if not isinstance(statuses, list):
            raise StepError(f"{uri}: the answer is not a list of posts; is `server` right?")
        posts = [post_of(each, self._host) for each in statuses if isinstance(each, dict) and each.get("id")]
        following = self._following(cursor, response, len(statuses))
        times = [post["created_at"] for post in posts if post["created_at"]]
        since = self._search.since
        return Found(posts, following, answer, bool(since and times and max(times) < since))

    def _following(self, cursor: str | None, response: Any, number: int) -> str | None:
        if not self._is_tag:
            return str(int(cursor or 0) + number) if number else None
        from scflows.connectors.http.link_header import next_link

        return next_link(response.headers.get("link") or "")

    def position(self, posts: list[Post]) -> str | None:
        """Return a cursor for what is older than the posts so far, for one that has expired."""
        ids = [post["post_id"] for post in posts if (post["post_id"] or "").isdigit()]
        return min(ids, key=int) if ids and self._is_tag else None


def post_of(status: dict[str, Any], host: str) -> Post:
    """Return a neutral post; `host` completes the names of the server's own accounts."""
    account = mapping(status, "account")
    reblog = mapping(status, "reblog")
    whole = reblog or status
    content = Content()
    content.feed(word(whole, "content"))
    content.close()
    return neutral(
        {
            "source": "mastodon",
            "post_uri": status.get("uri"),
            "post_id": str(status["id"]),
            "created_at": utc(status.get("created_at")),
            "author_id": account.get("id"),
            "author_handle": _full(account.get("acct"), host),
            "author_followers": account.get("followers_count"),
            "author_following": account.get("following_count"),
            "text": content.text.strip("\n"),
            "lang": status.get("language"),
            "hashtags": [each.get("name") for each in mappings(whole, "tags")],
            "urls": content.links,
            "mentions": [each.get("acct") for each in mappings(whole, "mentions")],
            "media": [each.get("url") for each in mappings(whole, "media_attachments") if each.get("type") == "image"],
            "likes": status.get("favourites_count"),
            "reposts": whole.get("reblogs_count"),
            "replies": status.get("replies_count"),
            "quotes": status.get("quotes_count"),
            "repost_of": reblog.get("id"),
            "reply_to": status.get("in_reply_to_id"),
            "quote_of": mapping(whole, "quote").get("id") or mapping(whole, "quote", "quoted_status").get("id"),
            "sensitive": status.get("sensitive"),
            "client": mapping(status, "application").get("name"),
            "url": status.get("url"),
        }
    )


def _full(name: Any, host: str) -> Any:
    return f"{name}@{host}" if isinstance(name, str) and name and "@" not in name else name


class Content(HTMLParser):
    """The text and the links of a post's HTML. Links to accounts and hashtags are left out."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "br":
            self.text += "\n"
        elif tag == "p" and self.text:
            self.text = self.text.rstrip("\n") + "\n\n"
        elif tag == "a":
            classes = (given.get("class") or "").split()
            address = given.get("href")
            if address and "mention" not in classes and "hashtag" not in classes:
                self.links.append(address)

    def handle_data(self, data: str) -> None:
        self.text += data
