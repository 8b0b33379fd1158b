"""Archived posts of the older interface of X (v1.1): JSON lines, also compressed with gzip.

Long texts and their entities take precedence over shortened ones, `extended_entities` over `entities`. Stream notices
and blank lines are not posts.
"""

from __future__ import annotations

from scflows.integrations.social.post import mapping, mappings, neutral, unique, utc, word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scflows.integrations.social.post import Post

CREATED = "%a %b %d %H:%M:%S %z %Y"


def post_of(tweet: Any) -> Post | None:
    """Return the neutral post of an archived one; None for a notice and anything else."""
    if not isinstance(tweet, dict):
        return None
    identity = word(tweet, "id_str") or str(tweet.get("id") or "")
    user = mapping(tweet, "user")
    if not identity or not user:
        return None
    original = mapping(tweet, "retweeted_status")
    text, entities, media = _content(tweet)
    mentions = _names(entities, "user_mentions", "screen_name")
    if original and text.endswith("…"):
        # The text and the entities of a repost are cut off, those of its original are not.
        whole, entities, media = _content(original)
        author = word(mapping(original, "user"), "screen_name")
        text = f"RT @{author}: {whole}"
        mentions = unique([*mentions, *_names(entities, "user_mentions", "screen_name")])
    handle = word(user, "screen_name")
    point = mapping(tweet, "coordinates").get("coordinates")
    lon, lat = point if isinstance(point, list) and len(point) == 2 else (None, None)
    return neutral(
        {
            "source": "x",
            "post_uri": f"x:{identity}",
            "post_id": identity,
            "created_at": utc(tweet.get("created_at"), CREATED),
            "author_id": word(user, "id_str") or user.get("id"),
            "author_handle": handle,
            "author_followers": user.get("followers_count"),
            "author_following": user.get("friends_count"),
            "text": text,
            "lang": tweet.get("lang"),
            "hashtags": _names(entities, "hashtags", "text"),
            "urls": [word(each, "expanded_url") or word(each, "url") for each in mappings(entities, "urls")],
            "mentions": mentions,
            "media": [
                word(each, "media_url_https") or word(each, "media_url")
                for each in (media if isinstance(media, list) else [])
                if isinstance(each, dict) and each.get("type") == "photo"
            ],
            "likes": tweet.get("favorite_count"),
            "reposts": (original or tweet).get("retweet_count"),
            "repost_of": (word(original, "id_str") or original.get("id")) if original else None,
            "reply_to": tweet.get("in_reply_to_status_id_str"),
            "quote_of": tweet.get("quoted_status_id_str"),
            "place": mapping(tweet, "place").get("full_name"),
            "lon": lon,
            "lat": lat,
            "sensitive": tweet.get("possibly_sensitive"),
            "client": tweet.get("source"),
            "url": f"https://x.com/{handle}/status/{identity}",
        }
    )


def _content(tweet: dict[str, Any]) -> tuple[str, dict[str, Any], Any]:
    """Return text, entities and media of an archived post, the long forms where it has them."""
    extended = mapping(tweet, "extended_tweet")
    text = word(extended, "full_text") or word(tweet, "full_text") or word(tweet, "text")
    entities = mapping(extended, "entities") or mapping(tweet, "entities")
    media = mapping(extended, "extended_entities") or mapping(tweet, "extended_entities") or entities
    return text, entities, media.get("media")


def _names(entities: dict[str, Any], name: str, key: str) -> list[str]:
    return [word(each, key) for each in mappings(entities, name)]
