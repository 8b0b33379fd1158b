"""The encodings in which a secret can appear: quoted, escaped, encoded, split into lines."""

from __future__ import annotations

from scflows.secrets.masking import SHORTEST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: The characters that requests does not escape in a uri.
URI_SIGNS = "!#$%&'()*+,/:;=?@[]~"
#: Those that encodeURIComponent and encodeURI of JavaScript do not escape.
SCRIPT_SIGNS = ("!'()*~", ";/?:@&=+$,#!'()*~")
#: The characters that libraries escape in JSON so that it can stand in HTML: Go and Rails, Jinja and Flask, PHP.
SAFE_JSON = ("<>&", "<>&'", "<>&'\"")
QUOTES_IN_HTML = ('"', "&quot;", "&#34;", "&#x22;")
APOSTROPHES_IN_HTML = ("'", "&#x27;", "&#39;", "&#039;", "&apos;")


def encodings_of(text: str) -> set[str]:
    """Return every text that would reveal a secret; none for a secret that is too short.

    For a secret of several lines that includes each line.
    """
    parts = {text, text.strip(), " ".join(text.split()), *(line.strip() for line in text.splitlines())}
    written = {form for part in parts if len(part.strip()) >= SHORTEST for form in _encoded(part)}
    return {form for form in written if len(form.strip()) >= SHORTEST}


def basic(username: str, password: str) -> set[str]:
    """Return the encodings of a login in basic authentication."""
    from base64 import b64encode

    login = f"{username}:{password}"
    found = {b64encode(login.encode("utf-8", "surrogatepass")).decode()}
    try:
        found.add(b64encode(login.encode("latin-1")).decode())
    except UnicodeEncodeError:
        pass
    return found


def _encoded(text: str) -> Iterator[str]:
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
        yield from _in_safe_json(once)
    for shown in (repr(text)[1:-1], ascii(text)[1:-1], repr('"' + text)[2:-1]):
        yield shown
        yield shown.replace("\\'", "'")
        yield shown.replace("'", "\\'")
    for double in QUOTES_IN_HTML:
        for single in APOSTROPHES_IN_HTML:
            yield html.escape(text, quote=False).replace('"', double).replace("'", single)
    yield from _in_shells(text)
    content = text.encode("utf-8", "surrogatepass")
    yield repr(content)[2:-1]
    yield content.decode("latin-1")  # UTF-8 that was decoded as Latin-1, as in headers
    for separator in ("", ":", " "):
        written = content.hex(separator) if separator else content.hex()
        yield written
        yield written.upper()
    yield from _in_uris(content)
    yield from _in_base64(content)
    yield from _in_yaml(text)


def _in_safe_json(escaped: str) -> Iterator[str]:
    """Yield JSON with the characters of HTML escaped too, in small and capital hexadecimal, with and without `\\/`."""
    for signs in SAFE_JSON:
        for form in ("\\u{:04x}", "\\u{:04X}"):
            text = escaped.replace('\\"', '"') if '"' in signs else escaped
            for sign in (*signs, "\u2028", "\u2029"):
                text = text.replace(sign, form.format(ord(sign)))
            yield text
            yield text.replace("/", "\\/")


def _in_shells(text: str) -> Iterator[str]:
    """Yield a text as it is quoted for a shell: in apostrophes, in quotes, with backslashes."""
    import re

    yield text.replace("'", "'\"'\"'")
    yield text.replace("'", "'\\''")
    yield re.sub(r'(["\\$`])', r"\\\1", text)
    for unquoted in ("", ",", "~", ",~"):
        yield re.sub(rf"([^\w@%+=:./{unquoted}-])", r"\\\1", text)


def _in_uris(content: bytes) -> Iterator[str]:
    from urllib.parse import quote, quote_plus

    for safe in ("", "/", "~", "/~", URI_SIGNS, URI_SIGNS.replace("%", ""), *SCRIPT_SIGNS):
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
        # Inside a longer encoded text, a secret can start at any of the three positions of a group.
        for before, spoilt in ((0, 0), (1, 2), (2, 3)):
            encoded = encode(bytes(before) + content).decode()
            yield encoded[spoilt : (before + len(content)) * 8 // 6]
    yield from encodebytes(content).decode().splitlines()


def _in_yaml(text: str) -> Iterator[str]:
    import yaml

    for style in (None, "'", '"'):
        for allow_unicode in (True, False):
            try:
                dumped = yaml.safe_dump(
                    text, default_style=style, allow_unicode=allow_unicode, width=1_000_000_000, explicit_end=False
                )
            except (yaml.YAMLError, UnicodeEncodeError):
                continue
            for line in dumped.removesuffix("...\n").splitlines():
                stripped = line.strip()
                yield stripped
                yield stripped.strip("\"'\\")
    yield text.replace("'", "''")
