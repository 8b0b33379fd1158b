"""What an HTTP answer says, and what went wrong where there is none."""

from __future__ import annotations

from scflows import documents
from scflows.errors import ScflowsError, StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from requests import Response


def answered(content: bytes, response: Response) -> Any:
    """Return the body's JSON, otherwise its text, null if it is empty.

    JSON is in the charset that the header declares, otherwise in UTF-8, UTF-16 or UTF-32. Raises InexactNumber.
    """
    from json import detect_encoding

    if not content:
        return None
    for encoding in dict.fromkeys((_charset(response), detect_encoding(content))):
        try:
            return documents.parse_json(content.decode(encoding or "utf-8").removeprefix("\ufeff"), "the answer")
        except documents.InexactNumber:
            raise
        except (StepError, LookupError, UnicodeDecodeError):
            continue
    return body_text(content, response)


def body_text(content: bytes, response: Response) -> str:
    """Return the body as text, in the charset that the header declares if that is right."""
    for encoding in (_charset(response), "utf-8"):
        try:
            return content.decode(encoding or "utf-8")
        except (LookupError, UnicodeDecodeError):
            continue
    # HTTP's default before; it has a character for every byte.
    return content.decode("latin-1")


#: The keys of a JSON body under which APIs say what went wrong, and how many characters of it are shown.
REASONS = ("detail", "message", "error_description", "error", "title", "reason", "msg", "errors")
MAX_REASON = 200


def reason_in(value: Any, masked: Callable[[str], str]) -> str:
    """Return what a failed answer says went wrong, on one short line; empty if it says nothing."""
    # Masked before it is cut: half of a secret would not be found any more.
    text = " ".join(masked(_reason(value)).split())
    text = "".join(sign if sign.isprintable() else "�" for sign in text)
    return text if len(text) <= MAX_REASON else f"{text[:MAX_REASON]}…"


def _reason(value: Any, depth: int = 0) -> str:
    if isinstance(value, str):
        text = value.strip()
        if text[:1] != "<":
            return next(iter(text.splitlines()), "")
        import re

        # A page: its title says most, and the rest is for browsers.
        title = re.search(r"<title[^>]*>([^<]*)", text[:10_000], re.IGNORECASE)
        return title[1] if title else ""
    if value is None or value in ({}, []):
        return ""
    if depth < 4 and isinstance(value, dict | list):
        inner = [value[name] for name in REASONS if value.get(name)] if isinstance(value, dict) else value[:1]
        for each in inner:
            if found := _reason(each, depth + 1):
                return found
    return documents.json_text(value)


class HttpError(ScflowsError):
    """A server that cannot be reached, breaks off or is busy: a later attempt may succeed."""

    def __init__(self, message: str, retry_after: float | None = None, is_timeout: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after  #: seconds that the server asked to wait
        self.is_timeout = is_timeout


class CodingError(HttpError):
    """A body that cannot be unpacked: it is cut or damaged, or in an unknown coding."""


def http_error(error: Exception, wait: float, masked: Callable[[str], str] = str) -> HttpError:
    """Return our error for one of requests, in a few words; `masked` takes secrets out of a text."""
    import re

    import requests

    if isinstance(error, requests.exceptions.ConnectTimeout):
        return HttpError(f"no connection within {wait:g} s", is_timeout=True)
    if isinstance(error, requests.exceptions.Timeout):
        return HttpError(f"no answer within {wait:g} s", is_timeout=True)
    if isinstance(error, requests.exceptions.TooManyRedirects):
        return HttpError("too many redirects")
    if isinstance(error, requests.exceptions.InvalidURL):
        # The library's message shows parts of the address, which may be a login.
        return HttpError("not a valid address")
    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        return HttpError("the certificates to trust cannot be read")
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.strerror:
            return HttpError(found.strerror)
        last, found = found, found.__context__
    # Masked before it is cut: half of a secret would not be found any more.
    text = re.sub(r"://\S*@", "://", masked(" ".join(str(last).split())))
    return HttpError(text[:200] or type(last).__name__)


def retry_after(response: Response, now: float) -> float | None:
    """Seconds that an answer asks to wait before the next attempt (RFC 9110, 10.2.3); None when it does not.

    `now` is in seconds since the epoch.
    """
    text = (response.headers.get("retry-after") or "").strip()
    whole, _, fraction = text.partition(".")
    # The standard has whole seconds only; some services send fractions.
    if text.isascii() and whole.isdigit() and (not fraction or fraction.isdigit()):
        return float(f"{whole[:9]}.{fraction[:9]}")
    if not text:
        return None
    from datetime import UTC
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(text)
        # The older of the standard's formats have no zone and are in UTC.
        return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _charset(response: Response) -> str | None:
    from email.message import Message

    header = Message()
    header["content-type"] = response.headers.get("content-type", "")
    return header.get_content_charset()
