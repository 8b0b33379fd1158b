"""Bluesky: `app.bsky.feed.searchPosts` (https://docs.bsky.app/docs/api/app-bsky-feed-search-posts)."""

from __future__ import annotations

from scflows.errors import StepError
from scflows.integrations.social.post import mapping, mappings, neutral, unique, utc, word
from scflows.integrations.social.service import Found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from scflows.integrations.social.post import Post
    from scflows.integrations.social.service import Caller, Search

SERVER = "https://bsky.social"
PATH = "/xrpc/app.bsky.feed.searchPosts"
SESSION = "/xrpc/com.atproto.server.createSession"
PROFILES = "/xrpc/app.bsky.actor.getProfiles"
#: How many profiles one call returns.
PROFILES_PAGE = 25
MEANING = {
    401: "the secret's `username` and `password` (an app password) are not valid",
    403: "the service wants a login: name a secret with `username` and `password` (an app password)",
    404: "`server` or `path` is wrong",
}


class Bluesky:
    """A search at Bluesky, with an app password."""

    secret_fields = ()

    def __init__(self, caller: Caller, search: Search, server: str | None, path: str | None, secret: Mapping[str, str]):
        self._caller, self._search = caller, search
        self._server = (server or SERVER).rstrip("/")
        self._path = path or PATH
        self._secret = secret
        self._headers: dict[str, str] = {}
        self._profiles: dict[str, dict[str, Any]] = {}

    def page(self, cursor: str | None, wanted: int) -> Found:
        """Return a page with at most `wanted` posts."""
        parameters: dict[str, str | int] = {"q": self._search.term, "limit": max(1, min(100, wanted)), "sort": "latest"}
        until = self._search.until
        if cursor is not None and cursor.startswith("until:"):
            until = cursor.removeprefix("until:")
        elif cursor is not None:
            parameters["cursor"] = cursor
        for name, value in (("since", self._search.since), ("until", until)):
            if value:
                parameters[name] = value

        def expired(status: int, answer: Any) -> bool:
            return cursor is not None and status == 400 and "cursor" in str(answer).lower()

        answer = self._signed_in(self._path, parameters, expired)
        if not isinstance(answer, dict) or not isinstance(answer.get("posts"), list):
            raise StepError(f"{self._server}{self._path}: the answer has no `posts`; is `path` right?")
        views = [each for each in answer["posts"] if isinstance(each, dict) and each.get("uri")]
        authors = unique(word(mapping(each, "author"), "did") for each in views)
        self._load_profiles(authors)
        following = answer.get("cursor")
        shown = {did: self._profiles[did] for did in authors if did in self._profiles}
        raw = {**answer, "profiles": shown}
        return Found(
            [post_of(each, self._profiles) for each in views],
            following if isinstance(following, str) and following else None,
            raw,
        )

    def position(self, posts: list[Post]) -> str | None:
        """Return a cursor for what is older than the posts so far, for one that has expired."""
        times = [post["created_at"] for post in posts if post["created_at"]]
        return f"until:{min(times)}" if times else None

    def _signed_in(self, path: str, parameters: dict[str, Any], expired: Any = lambda status, answer: False) -> Any:
        if not self._headers and "password" in self._secret:
            self._sign_in()
        for attempt in (1, 2):
            try:
                answer, _ = self._caller.json(
                    "GET", self._server + path, parameters, self._headers, MEANING, expired=expired
                )
                return answer
            except StepError as error:
                # The token lasts for some hours.
                is_old = error.details.get("status_code") in (400, 401) and "token" in str(error).lower()
                if attempt == 2 or not is_old or not self._headers:
                    raise
                self._sign_in()
        raise AssertionError

    def _sign_in(self) -> None:
        body = {"identifier": self._secret["username"], "password": self._secret["password"]}
        answer, _ = self._caller.json("POST", self._server + SESSION, {}, {}, MEANING, body)
        token = answer.get("accessJwt") if isinstance(answer, dict) else None
        if not isinstance(token, str):
            raise StepError(f"{self._server}{SESSION}: the answer has no `accessJwt`")
        self._headers = {"Authorization": f"Bearer {token}"}

    def _load_profiles(self, authors: list[str]) -> None:
        """Ask for the followers of authors. They stay blank if the service refuses."""
        missing = [each for each in authors if each and each not in self._profiles]
        for start in range(0, len(missing), PROFILES_PAGE):
            part = missing[start : start + PROFILES_PAGE]
            query = "&".join(f"actors={each}" for each in part)
            try:
                answer = self._signed_in(f"{PROFILES}?{query}", {})
            except StepError as error:
                if error.details.get("status_code") is None:
                    raise
                self._caller.info(f"no followers for {len(part)} authors: {error}")
                continue
            self._profiles |= {each["did"]: each for each in mappings(answer, "profiles") if word(each, "did")}


def post_of(view: dict[str, Any], profiles: Mapping[str, dict[str, Any]]) -> Post:
    """Return the neutral post of a `postView`."""
    author, record, embed = mapping(view, "author"), mapping(view, "record"), mapping(view, "embed")
    profile = profiles.get(word(author, "did"), {})
    text = word(record, "text")
    hashtags, links, mentions = _facets(text, record)
    media = mapping(embed, "media") or embed
    external = word(mapping(media, "external"), "uri")
    quoted = mapping(embed, "record", "record") or mapping(embed, "record")
    identity = str(view["uri"]).rpartition("/")[2]
    languages = record.get("langs")
    return neutral(
        {
            "source": "bluesky",
            "post_uri": view["uri"],
            "post_id": identity,
            "created_at": utc(record.get("createdAt")),
            "author_id": author.get("did"),
            "author_handle": author.get("handle"),
            "author_followers": profile.get("followersCount"),
            "author_following": profile.get("followsCount"),
            "text": text,
            "lang": languages[0] if isinstance(languages, list) and languages else None,
            "hashtags": [*hashtags, *(each for each in record.get("tags") or [] if isinstance(each, str))],
            "urls": unique([*links, *([external] if external else [])]),
            "mentions": mentions,
            "media": [each.get("fullsize") for each in mappings(media, "images")],
            "likes": view.get("likeCount"),
            "reposts": view.get("repostCount"),
            "replies": view.get("replyCount"),
            "quotes": view.get("quoteCount"),
            "reply_to": mapping(record, "reply", "parent").get("uri"),
            "quote_of": quoted.get("uri"),
            "url": f"https://bsky.app/profile/{author.get('handle')}/post/{identity}",
        }
    )


def _facets(text: str, record: dict[str, Any]) -> tuple[list[Any], list[Any], list[str]]:
    """Return hashtags, links and mentions. A facet counts bytes of UTF-8, not characters."""
    content = text.encode("utf-8", "surrogatepass")
    hashtags: list[Any] = []
    links: list[Any] = []
    mentions: list[str] = []
    for facet in mappings(record, "facets"):
        place = mapping(facet, "index")
        start, end = place.get("byteStart"), place.get("byteEnd")
        for feature in mappings(facet, "features"):
            kind = word(feature, "$type")
            if kind.endswith("#tag"):
                hashtags.append(feature.get("tag"))
            elif kind.endswith("#link"):
                links.append(feature.get("uri"))
            elif kind.endswith("#mention") and isinstance(start, int) and isinstance(end, int):
                mentions.append(content[max(0, start) : max(0, end)].decode("utf-8", "ignore").removeprefix("@"))
    return hashtags, links, mentions
