"""Colours of words. A colour only repeats what the word says."""

from __future__ import annotations

GREEN, YELLOW, RED, CYAN, DIM, BOLD = "32", "33", "31", "36", "2", "1"
_COLORS = {
    GREEN: ("success", "succeeded", "ok", "enabled", "held", "fixed", "would", "added", "made", "has_published"),
    YELLOW: (
        *("exit", "ended", "skipped", "cancelled", "stopped", "paused", "warn", "warning", "WARNING", "ignored"),
        *("handled", "left", "late", "missed", "too_long", "waiting", "timeout"),
        *("replaced", "changed", "moved", "never_published", "not_configured", "silent", "stale", "unknown"),
    ),
    RED: (
        *("failed", "crashed", "failing", "broken", "hangs", "unusable", "error", "FAIL", "ERROR", "CRITICAL"),
        *("removed", "refused", "problem"),
    ),
    CYAN: ("running", "queued"),
    DIM: ("kept", "DEBUG"),
}
_COLOR_OF = {word: color for color, known in _COLORS.items() for word in known}


def color_of(words: str) -> str | None:
    """Return the colour of a status, which its first word decides: `failed 3 times`."""
    return _COLOR_OF.get(words.partition(" ")[0].rstrip(":"))


def log_parts(line: str) -> tuple[str, str, str] | None:
    """Split a line of a log into its time, its level, and the rest with the space before it; None: another line."""
    time, _, rest = line.partition(" ")
    level, space, text = rest.partition(" ")
    if len(time) < 19 or time[4:5] != "-" or "T" not in time or not level.isupper():
        return None
    return time, level, space + text
