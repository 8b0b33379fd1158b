"""Whether a failed step is tried again, and after which delay."""

from __future__ import annotations

from scflows.validation import KIND_WORDS, described, duration_seconds, fits, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from scflows.errors import StepError

#: The defaults and the minimums of the properties.
ATTEMPTS, DELAY, BACKOFF, MAX_DELAY, JITTER = 3, 1.0, 2.0, 60.0, 0.0
MINIMUM = {"attempts": 1, "delay": 0, "backoff": 1, "max_delay": 0, "jitter": 0}
PROPERTIES = (*MINIMUM, "on")
DURATIONS = ("delay", "max_delay")
#: HTTP statuses of temporary errors, besides 5xx.
TEMPORARY_STATUSES = (408, 425, 429)
#: Exceptions for failed connections and timeouts, by the name of their class or a base class.
TEMPORARY_ERRORS = frozenset(
    ("ConnectionError", "TimeoutError", "Timeout", "gaierror", "ChunkedEncodingError", "Unreachable")
)


def retry_mistakes(written: Any) -> Iterator[tuple[str, str]]:
    """Yield the mistakes in a `retry` block, as (property, message)."""
    if not isinstance(written, dict):
        yield "", f"retry must be a mapping such as {{attempts: 3}}, not {described(written)}"
        return
    for key, value in written.items():
        if key not in PROPERTIES:
            yield str(key), f"retry: unknown property {key!r}{nearest(str(key), PROPERTIES)}"
        elif key == "on":
            yield from _pattern_mistakes(value)
        else:
            yield from _number_mistakes(key, value)


def _number_mistakes(key: str, value: Any) -> Iterator[tuple[str, str]]:
    kind = "integer" if key == "attempts" else "duration" if key in DURATIONS else "number"
    if not fits(value, (kind,)):
        yield key, f"retry: {key} must be {KIND_WORDS[kind]}, not {described(value)}"
    elif not MINIMUM[key] <= (duration_seconds(value) or 0) < 1e9 or (key == "jitter" and value > 1):
        maximum = " and at most 1" if key == "jitter" else ""
        yield key, f"retry: {key} must be at least {MINIMUM[key]}{maximum}"


def with_seconds(written: Mapping[str, Any]) -> dict[str, Any]:
    """Return a valid `retry` block with its durations in seconds."""
    return {key: duration_seconds(value) if key in DURATIONS else value for key, value in written.items()}


def wait_before(
    written: Mapping[str, Any], attempt: int, error: StepError, texts: list[str], chance: float
) -> float | None:
    """Return the seconds to wait after the failed attempt (counted from 1); None if there is no further attempt.

    Patterns are searched in `texts`; `chance` is a random number from 0 to 1.
    """
    if attempt >= written.get("attempts", ATTEMPTS) or not _is_temporary(written, error, texts):
        return None
    if error.retry_after is not None:
        return error.retry_after
    longest = float(written.get("max_delay", MAX_DELAY))
    try:
        wait = float(written.get("delay", DELAY) * float(written.get("backoff", BACKOFF)) ** (attempt - 1))
    except OverflowError:
        wait = longest
    variation: float = written.get("jitter", JITTER) * (2 * chance - 1)
    return max(0.0, min(longest, wait) * (1 + variation))


def _is_temporary(written: Mapping[str, Any], error: StepError, texts: list[str]) -> bool:
    given = written.get("on")
    if given is not None:
        from scflows.flows.error_patterns import matching

        return matching(given, texts, error.details) is not None
    if error.is_temporary:
        return True
    status = error.details.get("status_code")
    if isinstance(status, int):
        return status in TEMPORARY_STATUSES or 500 <= status <= 599
    found: BaseException | None = error
    while found is not None:
        # By name, so that no library needs to be imported.
        if any(each.__name__ in TEMPORARY_ERRORS for each in type(found).__mro__):
            return True
        found = found.__cause__
    return False


def _pattern_mistakes(given: Any) -> Iterator[tuple[str, str]]:
    from scflows.flows.error_patterns import pattern_mistakes

    for problem in pattern_mistakes(given):
        yield "on", f"retry: on {problem}" if problem.startswith("must") else f"retry: on: {problem}"
