"""Photos of posts: fetched once per address, checked, hashed, and grouped by how they look.

Three hashes of 64 bits describe a photo: average, difference and perceptual (the package ImageHash). Photos whose
distances sum up to at most 40 match; groups are the connected parts.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
from dataclasses import dataclass

from scflows.connectors.tables import import_optional
from scflows.errors import StepError
from scflows.integrations.social import counts
from scflows.integrations.social.reading import read_posts
from scflows.storage import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from scflows.history.task_log import TaskLog
    from scflows.integrations.social.summary import Made, Order

#: The file with what is known of each photo, and the folder with the photos.
INDEX, FOLDER = "media.json", "media"
#: The kinds of pictures that are accepted, as Pillow calls them, with the extension of their files.
KINDS = {"JPEG": "jpg", "PNG": "png", "GIF": "gif", "WEBP": "webp"}
MAX_BYTES = 20 * 2**20
MAX_PIXELS = 50_000_000
TIMEOUT = 30.0
#: The largest sum of the three distances between photos that match.
MATCHING = 40
THUMBNAIL = (240, 240)


@dataclass(frozen=True)
class MediaOptions:
    """How photos are fetched."""

    public_only: bool  #: whether photos come only from addresses of the public internet
    max_photos: int
    timeout: Callable[[], float]  #: seconds that a call may take
    masked: Callable[[str], str]  #: takes secrets out of a text


def fetch_media(order: Order, made: Made, options: MediaOptions, log: TaskLog) -> None:
    """Fetch the photos of posts into the folder `media` and write `media.json`.

    What is there from an earlier try is not fetched again. Raises StepError, OSError.
    """
    import_optional("PIL", "media")
    import_optional("imagehash", "media")
    counter = counts.Media()
    for number, post in enumerate(read_posts(order.sources, made.reading)):
        counter.add(post)
        if number % 1000 == 0:
            order.progress(number)
    rows = counter.rows()
    known = _known(order.folder)
    order.note(os.path.join(order.folder, INDEX))
    photos: list[dict[str, Any]] = []
    for number, (url, name, count) in enumerate(rows[: options.max_photos], 1):
        photo = known.get(url)
        if photo is None or not os.path.isfile(os.path.join(order.folder, str(photo.get("file")))):
            photo = _fetch(order, url, options)
        photos.append({**photo, "url": url, "name": name, "count": count})
        order.progress(number)
        if number % 50 == 0:
            log.info(f"photos: {number}/{len(rows)}")
            _write(order.folder, photos, [])
    failed = [photo for photo in photos if photo.get("error")]
    for photo in failed[:10]:
        log.warning(f"photo left out: {photo['url']}: {photo['error']}")
    if len(failed) > 10:
        log.warning(f"photo left out: {len(failed) - 10} more, listed in {INDEX}")
    if len(rows) > options.max_photos:
        log.warning(f"{len(rows) - options.max_photos} photos were not fetched: there are more than max_photos")
    _write(order.folder, photos, groups_of(photos))
    made.files["media"] = INDEX
    made.rows["media"] = len(photos) - len(failed)


def _known(folder: str) -> dict[str, dict[str, Any]]:
    """Return the photos that an earlier try has fetched, by address."""
    import json

    try:
        with open(os.path.join(folder, INDEX), encoding="utf-8") as file:
            found = json.load(file)["photos"]
        return {each["url"]: each for each in found if not each.get("error")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _write(folder: str, photos: list[dict[str, Any]], groups: list[list[str]]) -> None:
    from scflows.documents import json_bytes

    replace(os.path.join(folder, INDEX), json_bytes({"photos": photos, "groups": groups}) + b"\n")


def _fetch(order: Order, url: str, options: MediaOptions) -> dict[str, Any]:
    """Fetch and describe one photo; with `error` if that is not possible."""
    try:
        content = _download(url, options)
        found, kind = describe(content)
    except StepError as error:
        return {"error": str(error)}
    name = f"{found['md5']}.{KINDS[kind]}"
    path = os.path.join(order.folder, FOLDER, name)
    order.note(path)
    replace(path, content)
    return {**found, "file": f"{FOLDER}/{name}"}


def _download(url: str, options: MediaOptions) -> bytes:
    from scflows.connectors.http.response import HttpError
    from scflows.connectors.http.session import call, read

    if not url.lower().startswith(("http://", "https://")):
        raise StepError("not an address on the web")
    if options.public_only and not is_public(url):
        raise StepError("not an address of the public internet")
    try:
        timeout = options.timeout()
        response = call(
            "GET",
            url,
            {"Accept": b"image/*"},
            timeout=timeout,
            may_follow=lambda target: not options.public_only or is_public(target),
            masked=options.masked,
        )
        with response:
            if response.status_code != 200:
                raise StepError(f"HTTP {response.status_code}")
            content, is_all = read(response, MAX_BYTES, timeout)
    except HttpError as error:
        raise StepError(str(error)) from error
    if not is_all:
        raise StepError(f"larger than {MAX_BYTES // 2**20} MiB")
    return content


def is_public(url: str) -> bool:
    """Return whether every address of a URL's host belongs to the public internet."""
    import ipaddress
    import socket
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        found = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
        return bool(found) and all(ipaddress.ip_address(each[4][0]).is_global for each in found)
    except (OSError, ValueError, UnicodeError):
        return False


def describe(content: bytes) -> tuple[dict[str, Any], str]:
    """Return size, hashes and a small version of a picture, and its kind. Raises StepError for anything else."""
    import warnings

    import imagehash
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Image.open(io.BytesIO(content), formats=tuple(KINDS)) as picture:
                kind, size = str(picture.format), picture.size
                if size[0] * size[1] > MAX_PIXELS:
                    raise StepError(f"more than {MAX_PIXELS:,} pixels")
                flat = picture.convert("RGB")
    except StepError:
        raise
    except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError) as error:
        raise StepError(f"not a picture that can be read: {' '.join(str(error).split())[:100]}") from error
    hashes = [str(each(flat)) for each in (imagehash.average_hash, imagehash.dhash, imagehash.phash)]
    flat.thumbnail(THUMBNAIL)
    small = io.BytesIO()
    flat.save(small, "JPEG", quality=70)
    found = {
        "md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
        "bytes": len(content),
        "width": size[0],
        "height": size[1],
        "hashes": hashes,
        "thumbnail": base64.b64encode(small.getvalue()).decode(),
    }
    return found, kind


def groups_of(photos: list[dict[str, Any]]) -> list[list[str]]:
    """Return the addresses of photos that match, the largest group first."""
    import numpy as np

    hashed = [photo for photo in photos if photo.get("hashes")]
    if not hashed:
        return []
    table = np.array([[int(each, 16) for each in photo["hashes"]] for photo in hashed], dtype=np.uint64)
    leaders = list(range(len(hashed)))

    def leader(number: int) -> int:
        while leaders[number] != number:
            leaders[number] = leaders[leaders[number]]
            number = leaders[number]
        return number

    for number in range(len(hashed) - 1):
        distances = _bits(table[number + 1 :] ^ table[number]).sum(axis=1)
        for other in np.flatnonzero(distances <= MATCHING):
            leaders[leader(number + 1 + int(other))] = leader(number)
    groups: dict[int, list[str]] = {}
    for number, photo in enumerate(hashed):
        groups.setdefault(leader(number), []).append(photo["url"])
    return sorted((group for group in groups.values() if len(group) > 1), key=lambda group: -len(group))


def _bits(values: Any) -> Any:
    """Return how many bits are set in each number."""
    import numpy as np

    return np.unpackbits(values.view(np.uint8).reshape(*values.shape, 8), axis=-1).sum(axis=-1)
