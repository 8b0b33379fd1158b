"""Topics with names in them: `device/<token>/raw` finds the token, and puts it into another topic."""

from __future__ import annotations

import re

from scflows.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = re.compile(r"<([A-Za-z_][A-Za-z0-9_]*)>")
#: What no name may bring into a topic: levels, wildcards, what MQTT 5.0 §1.5.4 forbids.
FORBIDDEN = re.compile("[/+#\0-\x1f\x7f]")

#: Names whose values open something: they are put out nowhere.
SECRETIVE = re.compile("token|secret|password", re.IGNORECASE)


class TopicTemplate:
    """A topic whose levels are fixed words or names in angle brackets; its last may be `#`."""

    def __init__(self, text: str) -> None:
        """Raises UsageError for what cannot be such a topic."""
        if not text or "\0" in text or len(text.encode()) > 65535:
            raise UsageError(f"{text!r} is no topic")
        self.text = text
        self.levels = text.split("/")
        self.names: list[str] = []
        for number, level in enumerate(self.levels):
            found = NAME.findall(level)
            rest = NAME.sub("", level)
            if "<" in rest or ">" in rest:
                raise UsageError(f"topic {text!r}: {level!r}: names are letters, digits and _ between < and >")
            if "#" in rest and (level != "#" or number < len(self.levels) - 1):
                raise UsageError(f"topic {text!r}: '#' may stand at the end only, as a level of its own")
            if "+" in rest and level != "+":
                raise UsageError(f"topic {text!r}: '+' must be a level of its own")
            self.names += found
        if len(set(self.names)) < len(self.names):
            raise UsageError(f"topic {text!r}: a name stands in it twice")

    def check_source(self) -> None:
        """Raises UsageError where a level is neither a word nor one whole name."""
        for level in self.levels:
            if NAME.search(level) and not NAME.fullmatch(level):
                raise UsageError(f"topic {self.text!r}: {level!r}: to take from, a name must be a level of its own")

    def check_target(self, known: Mapping[str, object] | set[str]) -> None:
        """Raises UsageError for wildcards, and for names that nothing gives."""
        if "+" in self.levels or "#" in self.levels:
            raise UsageError(f"topic {self.text!r}: nothing can be sent to a wildcard")
        missing = [name for name in self.names if name not in known]
        if missing:
            told = ", ".join(sorted(known)) or "none"
            raise UsageError(f"topic {self.text!r}: nothing gives <{missing[0]}>; there are {told}")

    @property
    def filter(self) -> str:
        """The subscription that gets all its topics."""
        return "/".join("+" if NAME.search(level) else level for level in self.levels)

    def match(self, topic: str) -> dict[str, str] | None:
        """The names in a topic; None for one that is not of this form."""
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
        """A topic of this form for people and files: tokens and the like by their names."""
        levels = topic.split("/")
        for number, level in enumerate(self.levels[: len(levels)]):
            if NAME.fullmatch(level) and SECRETIVE.search(level):
                levels[number] = level
        return "/".join(levels)

    def overlaps(self, other: TopicTemplate) -> bool:
        """Whether a topic of the other may be one of this form, too."""
        for mine, theirs in zip(self.levels, other.levels, strict=False):
            if mine == "#":
                return True
            if mine != theirs and mine != "+" and not NAME.search(mine) and not NAME.search(theirs):
                return False
        more = self.levels[len(other.levels) :]
        return len(self.levels) == len(other.levels) or more == ["#"]

    def fill(self, names: Mapping[str, object]) -> str:
        """The topic with its names filled in. Raises ValueError for a name that is empty or has a `/` in it."""

        def text(found: re.Match[str]) -> str:
            value = names.get(found[1])
            filled = "" if value is None else str(value)
            if not filled or FORBIDDEN.search(filled):
                filled = "***" if filled and SECRETIVE.search(found[1]) else filled
                raise ValueError(f"<{found[1]}> is {filled!r}, which cannot stand in a topic")
            return filled

        return NAME.sub(text, self.text) if self.names else self.text
