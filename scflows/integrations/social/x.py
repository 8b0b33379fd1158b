"""X: recent search of the API v2 (https://docs.x.com/x-api/posts/search-recent-posts)."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import StepError
from scflows.integrations.social.post import mapping, mappings, neutral, unique, utc, word
from scflows.integrations.social.service import Found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from scflows.integrations.social.post import Post
    from scflows.integrations.social.service import Caller, Search

SERVER = "https://api.x.com"
PATH = "/2/tweets/search/recent"
FIELDS = {
    "expansions": "author_id,attachments.media_keys,referenced_tweets.id,referenced_tweets.id.author_id,geo.place_id",
    "tweet.fields": "attachments,author_id,created_at,entities,geo,id,in_reply_to_user_id,lang,note_tweet,"
    "possibly_sensitive,public_metrics,referenced_tweets,source,text",
    "user.fields": "id,name,username,public_metrics",
    "media.fields": "media_key,type,url",
    "place.fields": "full_name,geo",
}
MEANING = {
    401: "the secret's `token` is not valid",
    402: "the account has no credits left",
    403: "the account may not use this search, or its monthly cap is reached; see the plan of the secret's `token`",
    404: "`server` or `path` is wrong",
}


#: What an answer includes besides posts, each with its key.
INCLUDED = (("users", "id"), ("tweets", "id"), ("media", "media_key"), ("places", "id"))


@dataclass(frozen=True)
class Included:
    """What an answer includes besides posts, by id."""

    users: dict[Any, dict[str, Any]]
    tweets: dict[Any, dict[str, Any]]
    media: dict[Any, dict[str, Any]]
    places: dict[Any, dict[str, Any]]


class X:
    """A search at X. It reaches back seven days, and costs credits for each post."""

    secret_fields = ("token",)

    def __init__(self, caller: Caller, search: Search, server: str | None, path: str | None, secret: Mapping[str, str]):
        self._caller, self._search = caller, search
        self._uri = (server or SERVER).rstrip("/") + (path or PATH)
        self._headers = {"Authorization": f"Bearer {secret['token']}"}

    def page(self, cursor: str | None, wanted: int) -> Found:
        """Return a page with at most `wanted` posts, as far as the service has pages that small."""
        parameters: dict[str, str | int] = {"query": self._search.term, **FIELDS}
        parameters["max_results"] = max(10, min(100, wanted))
        for name, value in (("start_time", self._search.since), ("end_time", self._search.until)):
            if value:
                parameters[name] = value
        if cursor is not None and cursor.startswith("until_id:"):
            parameters["until_id"] = cursor.removeprefix("until_id:")
        elif cursor is not None:
            parameters["next_token"] = cursor
        answer, _ = self._caller.json(
            "GET",
            self._uri,
            parameters,
            self._headers,
            MEANING,
            expired=lambda status, _: cursor is not None and status == 400,
        )
        if not isinstance(answer, dict) or not ("meta" in answer or "data" in answer):
            raise StepError(f"{self._uri}: the answer has no `data`; is `server` right?")
        following = word(mapping(answer, "meta"), "next_token")
        return Found(posts_of(answer), following or None, answer)

    def position(self, posts: list[Post]) -> str | None:
        """Return a cursor for what is older than the posts so far, for one that has expired."""
        ids = [int(post["post_id"]) for post in posts if (post["post_id"] or "").isdigit()]
        return f"until_id:{min(ids)}" if ids else None


def posts_of(answer: Any) -> list[Post]:
    """Return the posts of an answer. An empty page has no `data`."""
    included = mapping(answer, "includes")
    known = Included(*({each.get(key): each for each in mappings(included, name)} for name, key in INCLUDED))
    return [_post(each, known) for each in mappings(answer, "data") if each.get("id")]


def _post(tweet: dict[str, Any], known: Included) -> Post:
    user = known.users.get(tweet.get("author_id"), {})
    references = {each.get("type"): each.get("id") for each in mappings(tweet, "referenced_tweets")}
    # The text of a repost is cut off; text, hashtags and links come from its original.
    original = known.tweets.get(references.get("retweeted"), {})
    whole = original or tweet
    note = mapping(whole, "note_tweet")
    entities = {**mapping(whole, "entities"), **mapping(note, "entities")}
    text = word(note, "text") or word(whole, "text")
    mentions = _texts(entities, "mentions", "username")
    if original:
        author = known.users.get(original.get("author_id"), {}).get("username")
        text = f"RT @{author}: {text}" if author else text
        mentions = unique([*_texts(mapping(tweet, "entities"), "mentions", "username"), *mentions])
    metrics, followed = mapping(tweet, "public_metrics"), mapping(user, "public_metrics")
    place = known.places.get(word(mapping(tweet, "geo"), "place_id"), {})
    point = mapping(tweet, "geo", "coordinates").get("coordinates")
    lon, lat = point if isinstance(point, list) and len(point) == 2 else (None, None)
    keys = mapping(whole, "attachments").get("media_keys")
    media = [known.media.get(key, {}) for key in keys] if isinstance(keys, list) else []
    return neutral(
        {
            "source": "x",
            "post_uri": f"x:{tweet['id']}",
            "post_id": str(tweet["id"]),
            "created_at": utc(tweet.get("created_at")),
            "author_id": tweet.get("author_id"),
            "author_handle": user.get("username"),
            "author_followers": followed.get("followers_count"),
            "author_following": followed.get("following_count"),
            "text": text,
            "lang": tweet.get("lang"),
            "hashtags": _texts(entities, "hashtags", "tag"),
            "urls": _urls(entities),
            "mentions": mentions,
            "media": [word(each, "url") for each in media if each.get("type") == "photo"],
            "likes": metrics.get("like_count"),
            "reposts": (mapping(original, "public_metrics") or metrics).get("retweet_count"),
            "replies": metrics.get("reply_count"),
            "quotes": metrics.get("quote_count"),
            "repost_of": references.get("retweeted"),
            "reply_to": references.get("replied_to"),
            "quote_of": references.get("quoted"),
            "place": place.get("full_name"),
            "lon": lon,
            "lat": lat,
            "sensitive": tweet.get("possibly_sensitive"),
            "client": tweet.get("source"),
            "url": f"https://x.com/{user.get('username') or 'i'}/status/{tweet['id']}",
        }
    )


def _texts(entities: dict[str, Any], name: str, key: str) -> list[str]:
    return [word(each, key) for each in mappings(entities, name)]


def _urls(entities: dict[str, Any]) -> list[Any]:
    """Return the links, but not those to the post's own media."""
    found = []
    for each in mappings(entities, "urls"):
        url = word(each, "unwound_url") or word(each, "expanded_url") or word(each, "url")
        if not each.get("media_key") and not url.endswith(("/photo/1", "/video/1")):
            found.append(url)
    return found
