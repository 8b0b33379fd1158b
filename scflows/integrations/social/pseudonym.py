"""Replace authors and mentions by keyed hashes: the same name has the same pseudonym in all harvests of a user."""

from __future__ import annotations

import hashlib
import hmac
import os
import re

from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.integrations.social.post import Post

#: The file with the key, in the state folder.
KEY = "pseudonyms.key"
KEY_BYTES = 32
MENTION = re.compile(r"@[\w.\-]+(?:@[\w.\-]+)?")


def read_key(state: str) -> bytes:
    """Return the key; made at the first use. Raises StepError, OSError."""
    path = os.path.join(state, KEY)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        with open(path, "rb") as file:
            key = file.read()
        if len(key) != KEY_BYTES:
            raise StepError(f"{path} does not have {KEY_BYTES} bytes; remove it to begin with new pseudonyms") from None
        return key
    with os.fdopen(descriptor, "wb") as new:
        key = os.urandom(KEY_BYTES)
        new.write(key)
        new.flush()
        os.fsync(new.fileno())
    return key


def pseudonym(key: bytes, name: str) -> str:
    """Return the pseudonym of a name; upper and lower case do not matter."""
    return "u" + hmac.new(key, name.lower().encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:16]


def hide(post: Post, key: bytes) -> Post:
    """Return a post whose author, mentions and addresses with a name are replaced."""

    def hidden(name: str | None) -> str | None:
        return None if name is None else pseudonym(key, name)

    def hidden_mention(found: re.Match[str]) -> str:
        return "@" + pseudonym(key, found.group()[1:].rstrip(".-"))

    is_named = post["source"] != "x"  # Names of posts at X are numbers, elsewhere they have the account.
    return {
        **post,
        "author_id": hidden(post["author_id"]),
        "author_handle": hidden(post["author_handle"]),
        "mentions": [pseudonym(key, name) for name in post["mentions"]],
        "text": None if post["text"] is None else MENTION.sub(hidden_mention, post["text"]),
        "post_uri": hidden(post["post_uri"]) if is_named else post["post_uri"],
        "reply_to": hidden(post["reply_to"]) if is_named else post["reply_to"],
        "quote_of": hidden(post["quote_of"]) if is_named else post["quote_of"],
        "url": None,
    }
