"""Unpacking the body of an answer; one that is cut or in an unknown coding is an error."""

from __future__ import annotations

import zlib

from scflows.connectors.http.response import CodingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

GZIP = ("gzip", "x-gzip")
#: The most codings, one over the other, of one answer.
MAX_CODINGS = 10
#: The most bytes of one piece, so that a small body that unpacks to a huge one is stopped in time.
PIECE = 1024 * 1024


def unpacked(chunks: Iterable[bytes], codings: str) -> Iterator[bytes]:
    """Yield the body of an answer without the codings of its `Content-Encoding`. Raises CodingError."""
    names = [each.strip().lower() for each in codings.split(",")]
    if len(names) > MAX_CODINGS:
        raise CodingError(f"the answer has more than {MAX_CODINGS} content codings")
    for coding in reversed(names):
        if coding in GZIP or coding == "deflate":
            chunks = _inflated(chunks, coding)
        elif coding not in ("", "identity"):
            raise CodingError(f"the answer has the unknown content coding {coding!r}")
    yield from chunks


def _inflated(chunks: Iterable[bytes], coding: str) -> Iterator[bytes]:
    unpacker: Any = None
    for chunk in chunks:
        data = chunk
        while data:
            if unpacker is None:
                unpacker = _unpacker(coding, data)
            elif unpacker.eof:
                if coding == "deflate" or not data.startswith(b"\x1f"):
                    break  # Padding after the end, which other clients ignore too.
                unpacker = _unpacker(coding, data)
            try:
                piece = unpacker.decompress(data, PIECE)
            except zlib.error as error:
                raise CodingError(f"the answer cannot be unpacked ({coding}): {error}") from error
            data = unpacker.unconsumed_tail or unpacker.unused_data
            if piece:
                yield piece
    if unpacker is not None and not unpacker.eof:
        raise CodingError(f"the answer is cut: its compressed body ({coding}) is not complete")


def _unpacker(coding: str, begin: bytes) -> Any:
    if coding in GZIP:
        return zlib.decompressobj(16 + zlib.MAX_WBITS)
    # "deflate" means the zlib format, which begins with 0x78 in practice; some servers send it without its header.
    has_header = begin[0] & 0x0F == 8 and (len(begin) < 2 or (begin[0] * 256 + begin[1]) % 31 == 0)
    return zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)
