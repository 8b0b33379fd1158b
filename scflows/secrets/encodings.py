"""The ways in which a secret text gets written: quoted, escaped, encoded, line by line."""

from __future__ import annotations

from scflows.secrets.masking import SHORTEST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: What requests leaves as it is in a uri.
URI_SIGNS = "!#$%&'()*+,/:;=?@[]~"


def encodings_of(text: str) -> set[str]:
    """Every text that shows a secret; none for one that is too short.

    A secret of several lines is also recognised by each of its lines.
    """
    parts = {text, text.strip(), " ".join(text.split()), *(line.strip() for line in text.splitlines())}
    written = {form for part in parts if len(part.strip()) >= SHORTEST for form in _written(part)}
    return {form for form in written if len(form.strip()) >= SHORTEST}


def basic(username: str, password: str) -> set[str]:
    """A login as basic authentication writes it."""
    from base64 import b64encode

    login = f"{username}:{password}"
    found = {b64encode(login.encode("utf-8", "surrogatepass")).decode()}
    try:
        found.add(b64encode(login.encode("latin-1")).decode())
    except UnicodeEncodeError:
        pass
    return found


def _written(text: str) -> Iterator[str]:
    import html
    import json
    import unicodedata

    yield text
    for form in ("NFC", "NFD"):
        yield unicodedata.normalize(form, text)
    for ascii_only in (True, False):
        once = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        yield once
        yield once.replace("/", "\\/")
        yield json.dumps(once, ensure_ascii=ascii_only)[1:-1]
    for shown in (repr(text)[1:-1], ascii(text)[1:-1], repr('"' + text)[2:-1]):
        yield shown
        yield shown.replace("\\'", "'")
        yield shown.replace("'", "\\'")
    yield html.escape(text, quote=False)
    yield html.escape(text)
    yield html.escape(text).replace("&#x27;", "&#39;")
    yield text.replace("'", "'\"'\"'")  # as the shell wants it
    content = text.encode("utf-8", "surrogatepass")
    yield repr(content)[2:-1]
    yield content.decode("latin-1")  # UTF-8 that was taken for Latin-1, as in headers
    yield content.hex()
    yield from _in_uris(content)
    yield from _in_base64(content)
    yield from _in_yaml(text)


def _in_uris(content: bytes) -> Iterator[str]:
    from urllib.parse import quote, quote_plus

    for safe in ("", "/", "~", "/~", URI_SIGNS, URI_SIGNS.replace("%", "")):
        for quoted in (quote(content, safe), quote_plus(content, safe)):
            yield quoted
            yield quoted.replace("'", "%27")
            yield _lower_hex(quoted)
    yield quote(quote(content, ""), "")


def _lower_hex(quoted: str) -> str:
    first, *rest = quoted.split("%")
    return "%".join([first, *(part[:2].lower() + part[2:] for part in rest)])


def _in_base64(content: bytes) -> Iterator[str]:
    from base64 import encodebytes, standard_b64encode, urlsafe_b64encode

    for encode in (standard_b64encode, urlsafe_b64encode):
        yield encode(content).decode()
        # In the midst of a longer text that was encoded, it can begin at any of three places of a group.
        for before, spoilt in ((0, 0), (1, 2), (2, 3)):
            encoded = encode(bytes(before) + content).decode()
            yield encoded[spoilt : (before + len(content)) * 8 // 6]
    yield from encodebytes(content).decode().splitlines()


def _in_yaml(text: str) -> Iterator[str]:
    import yaml

    for style in (None, "'", '"'):
        for as_it_is in (True, False):
            try:
                made = yaml.safe_dump(
                    text, default_style=style, allow_unicode=as_it_is, width=1_000_000_000, explicit_end=False
                )
            except (yaml.YAMLError, UnicodeEncodeError):
                continue
            for line in made.removesuffix("...\n").splitlines():
                whole = line.strip()
                yield whole
                yield whole.strip("\"'\\")
    yield text.replace("'", "''")
