"""Topic templates: `device/<token>/raw` extracts the token from a topic or inserts it into one."""

from __future__ import annotations

import re

from scflows.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = re.compile(r"<([A-Za-z_][A-Za-z0-9_]*)>")
#: Characters that values must not contain: levels, wildcards, and those forbidden by MQTT 5.0 §1.5.4.
FORBIDDEN = re.compile("[/+#\0-\x1f\x7f]")

#: Names whose values are secret and never shown.
SECRET_NAMES = re.compile("token|secret|password", re.IGNORECASE)


class TopicTemplate:
    """A topic whose levels are fixed words or names in angle brackets; the last may be `#`."""

    def __init__(self, text: str) -> None:
        """Parse a template. Raises UsageError."""
        if not text or "\0" in text or len(text.encode()) > 65535:
            raise UsageError(f"{text!r} is not a valid topic")
        self.text = text
        self.levels = text.split("/")
        self.names: list[str] = []
        for number, level in enumerate(self.levels):
            found = NAME.findall(level)
            rest = NAME.sub("", level)
            if "<" in rest or ">" in rest:
                raise UsageError(
                    f"topic {text!r}: {level!r}: names must consist of letters, digits and _ between < and >"
                )
            if "#" in rest and (level != "#" or number < len(self.levels) - 1):
                raise UsageError(f"topic {text!r}: '#' is allowed only at the end, as a level of its own")
            if "+" in rest and level != "+":
                raise UsageError(f"topic {text!r}: '+' must be a level of its own")
            self.names += found
        if len(set(self.names)) < len(self.names):
            raise UsageError(f"topic {text!r}: a name is used twice")

    def check_source(self) -> None:
        """Raise UsageError if a level is neither a word nor a single name."""
        for level in self.levels:
            if NAME.search(level) and not NAME.fullmatch(level):
                raise UsageError(f"topic {self.text!r}: {level!r}: in `from`, a name must be a level of its own")

    def check_target(self, known: Mapping[str, object] | set[str]) -> None:
        """Raise UsageError for wildcards and unknown names."""
        if "+" in self.levels or "#" in self.levels:
            raise UsageError(f"topic {self.text!r}: cannot send to a wildcard")
        missing = [name for name in self.names if name not in known]
        if missing:
            names = ", ".join(sorted(known)) or "none"
            raise UsageError(f"topic {self.text!r}: unknown name <{missing[0]}>; the names are {names}")

    @property
    def filter(self) -> str:
        """Return the subscription that matches all its topics."""
        return "/".join("+" if NAME.search(level) else level for level in self.levels)

    def match(self, topic: str) -> dict[str, str] | None:
        """Return the names in a topic; None if it does not match."""
        levels = topic.split("/")
        found: dict[str, str] = {}
        for number, level in enumerate(self.levels):
            if level == "#":
                return found
            if number >= len(levels):
                return None
            if level[:1] == "<":
                found[level[1:-1]] = levels[number]
            elif level not in ("+", levels[number]):
                return None
        return found if len(levels) == len(self.levels) else None

    def shown(self, topic: str) -> str:
        """Return a matching topic with secret values replaced by their names."""
        levels = topic.split("/")
        for number, level in enumerate(self.levels[: len(levels)]):
            if NAME.fullmatch(level) and SECRET_NAMES.search(level):
                levels[number] = level
        return "/".join(levels)

    def overlaps(self, other: TopicTemplate) -> bool:
        """Return True if a topic may match both templates."""
        for level, other_level in zip(self.levels, other.levels, strict=False):
            if level == "#":
                return True
            if level not in (other_level, "+") and not NAME.search(level) and not NAME.search(other_level):
                return False
        extra = self.levels[len(other.levels) :]
        return len(self.levels) == len(other.levels) or extra == ["#"]

    def fill(self, names: Mapping[str, object]) -> str:
        """Return the topic with its names filled in. Raises ValueError for an invalid value."""

        def text(found: re.Match[str]) -> str:
            value = names.get(found[1])
            filled = "" if value is None else str(value)
            if not filled or FORBIDDEN.search(filled):
                filled = "***" if filled and SECRET_NAMES.search(found[1]) else filled
                raise ValueError(f"<{found[1]}> is {filled!r}, which is not allowed in a topic")
            return filled

        return NAME.sub(text, self.text) if self.names else self.text
