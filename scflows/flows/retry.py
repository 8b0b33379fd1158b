"""When a step that failed is tried again, and after how long."""

from __future__ import annotations

from scflows.validation import described, fits, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from scflows.errors import StepError

#: What each property is when it is not written, and the least it may be.
ATTEMPTS, DELAY, BACKOFF, MAX_DELAY, JITTER = 3, 1.0, 2.0, 60.0, 0.0
LEAST = {"attempts": 1, "delay": 0, "backoff": 1, "max_delay": 0, "jitter": 0}
PROPERTIES = (*LEAST, "on")
#: HTTP statuses that may go away by themselves, besides 5xx.
PASSING = (408, 425, 429)
#: Exceptions, by the name of their class or of one above it, that mean: no connection, or no answer in time.
PASSING_ERRORS = frozenset(
    ("ConnectionError", "TimeoutError", "Timeout", "gaierror", "ChunkedEncodingError", "Unreachable")
)


def retry_mistakes(written: Any) -> Iterator[tuple[str, str]]:
    """What is wrong with a `retry` block, as (property, message)."""
    if not isinstance(written, dict):
        yield "", f"retry must be a mapping such as {{attempts: 3}}, not {described(written)}"
        return
    for key, value in written.items():
        if key not in PROPERTIES:
            yield str(key), f"retry: unknown property {key!r}{nearest(str(key), PROPERTIES)}"
        elif key == "on":
            yield from _pattern_mistakes(value)
        elif not fits(value, ("integer" if key == "attempts" else "number",)):
            yield key, f"retry: {key} must be a number, not {described(value)}"
        elif not LEAST[key] <= value < 1e9 or (key == "jitter" and value > 1):
            most = " and 1 at most" if key == "jitter" else ""
            yield key, f"retry: {key} must be {LEAST[key]} or more{most}"


def wait_before(
    written: Mapping[str, Any], attempt: int, error: StepError, texts: list[str], chance: float
) -> float | None:
    """Seconds to wait after the failed n-th attempt (from 1); None when it is not tried again.

    `texts` are what patterns are searched in, `chance` a random number from 0 to 1.
    """
    if attempt >= written.get("attempts", ATTEMPTS) or not _is_passing(written, error, texts):
        return None
    if error.retry_after is not None:
        return error.retry_after
    most = float(written.get("max_delay", MAX_DELAY))
    try:
        wait = float(written.get("delay", DELAY) * float(written.get("backoff", BACKOFF)) ** (attempt - 1))
    except OverflowError:
        wait = most
    spread: float = written.get("jitter", JITTER) * (2 * chance - 1)
    return max(0.0, min(most, wait) * (1 + spread))


def patterns(given: Any) -> list[str]:
    """The patterns of `on`; an unquoted 404 is meant as its text."""
    return [str(each) for each in (given if isinstance(given, list) else [given])]


def _is_passing(written: Mapping[str, Any], error: StepError, texts: list[str]) -> bool:
    given = written.get("on")
    if given is not None:
        import re

        return any(re.search(pattern, text) for pattern in patterns(given) for text in texts)
    status = error.details.get("status_code")
    if isinstance(status, int):
        return status in PASSING or 500 <= status <= 599
    found: BaseException | None = error
    while found is not None:
        # By name, so that no library need be loaded to ask.
        if any(each.__name__ in PASSING_ERRORS for each in type(found).__mro__):
            return True
        found = found.__cause__
    return False


def _pattern_mistakes(given: Any) -> Iterator[tuple[str, str]]:
    import re

    for pattern in given if isinstance(given, list) else [given]:
        if isinstance(pattern, bool) or not isinstance(pattern, str | int):
            yield "on", f"retry: on takes patterns, not {described(pattern)}"
            continue
        try:
            re.compile(str(pattern))
        except (re.error, RecursionError, OverflowError) as error:
            yield "on", f"retry: on: {str(pattern)!r} is no regular expression: {error}"
