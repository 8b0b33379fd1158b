"""Output of commands: results to stdout, everything else to stderr; for people, for a pipe, or as JSON."""

from __future__ import annotations

import os
import sys
import time
from itertools import islice

from scflows.cli.options import Options
from scflows.cli.stream import escaped, write
from scflows.cli.times import Moment, Seconds, Status, clock, iso, words
from scflows.errors import FlowError, ScflowsError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any, TextIO

    from scflows.cli.progress import Progress
    from scflows.settings import Settings

SCHEMA = 1
#: Lines per write.
BATCH = 500
#: To confirm an action on more items than this, the user types their number instead of `y`.
MAX_YES = 20
GREEN, YELLOW, RED, CYAN = "32", "33", "31", "36"
COLORS = {
    GREEN: ("success", "succeeded", "ok", "exit", "enabled", "held", "fixed", "would"),
    YELLOW: (
        *("skipped", "cancelled", "paused", "warn", "warning", "ignored", "handled", "left behind"),
        *("late", "missed", "too_long", "waiting"),
    ),
    RED: ("failed", "crashed", "failing", "broken", "hangs", "unusable", "error", "FAIL", "ERROR"),
    CYAN: ("running", "queued"),
}
COLOR_OF = {word: color for color, known in COLORS.items() for word in known}


class Output:
    """Printer for the requested format; holds the global options and the settings."""

    def __init__(self, options: Options, environment: Mapping[str, str] | None = None) -> None:
        self.options = options
        self.environment = os.environ if environment is None else environment
        self.now = time.time()  #: the reference of relative times
        self._settings: Settings | None = None
        self._colors: dict[TextIO, bool] = {}

    @property
    def settings(self) -> Settings:
        """The settings of the workspace, read once. Raise UsageError."""
        if self._settings is None:
            self._settings = self.options.settings()
        return self._settings

    @property
    def is_terminal(self) -> bool:
        """Whether results go to a terminal."""
        return sys.stdout.isatty()

    @property
    def json(self) -> bool:
        return self.options.json

    def has_color(self, stream: TextIO) -> bool:
        if stream not in self._colors:
            self._colors[stream] = self._supports_color(stream)
        return self._colors[stream]

    def _supports_color(self, stream: TextIO) -> bool:
        if self.options.color != "auto":
            return self.options.color == "always"
        if self.environment.get("NO_COLOR"):
            return False
        if self.environment.get("FORCE_COLOR"):
            return True
        return stream.isatty() and self.environment.get("TERM") != "dumb"

    def line(self, text: str) -> None:
        """Print a line to stdout."""
        write(sys.stdout, text + "\n")

    def say(self, text: str, item: Mapping[str, Any] | None = None) -> None:
        """Print what was done; with `--json` print `item` instead."""
        if self.json:
            if item is not None:
                self.object(item)
        elif not self.options.quiet:
            self.line(text)

    def hint(self, text: str) -> None:
        """Print a hint to stderr, only on a terminal."""
        if self.is_terminal and not self.json and not self.options.quiet:
            write(sys.stderr, self._styled(sys.stderr, "2", text) + "\n")

    def object(self, item: Mapping[str, Any]) -> None:
        """Print one JSON object on one line."""
        self.line(self._dumped(item))

    def table(
        self,
        columns: Mapping[str, str],
        items: Iterable[Mapping[str, Any]],
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Print items as rows; in a pipe, one by one as they arrive.

        `columns` maps titles to keys of the items. With `--json` the complete items are printed, together with `more`.
        The title of the first column with times names their zone.
        """
        if self.json:
            self.object({"schema": SCHEMA, "items": list(items), **(more or {})})
        elif self.is_terminal:
            known = list(items)
            if known:
                self._lines(self._aligned(columns, known))
        else:
            keys = list(columns.values())
            self._lines("\t".join([self.piped(item.get(key)) for key in keys]) for item in items)

    def warn(self, text: str) -> None:
        """Print a one-line warning to stderr."""
        if not self.options.quiet:
            write(sys.stderr, f"{self._styled(sys.stderr, YELLOW, 'warning')}: {escaped(text)}\n")

    def fail(self, error: ScflowsError, trace: str = "") -> None:
        """Print an error and its help to stderr, after the traceback `trace` if one is given."""
        if self.json:
            item: dict[str, Any] = {"code": error.code, "message": str(error), "help": error.help}
            if isinstance(error, FlowError):
                item["mistakes"] = [mistake_item(mistake) for mistake in error.mistakes]
            write(sys.stderr, self._dumped({"error": item}) + "\n")
            return
        word = self._styled(sys.stderr, RED, "error")
        lines = []
        if isinstance(error, FlowError):
            for each in error.mistakes:
                # If the line is known, the location comes first, as editors and CI expect.
                lines.append(escaped(str(each)) if each.line else f"{word}: {escaped(f'{each.path}: {each.message}')}")
        else:
            first, *others = str(error).splitlines() or [""]
            lines += [f"{word}: {escaped(first)}", *(f"  {escaped(line)}" for line in others)]
        if error.help:
            lines.append(f"  help: {escaped(error.help)}")
        write(sys.stderr, trace + "\n".join(lines) + "\n")

    def confirm(self, count: int, action: str, yes: bool, option: str = "--yes") -> bool:
        """Return True if the user confirms a destructive `action` on `count` items, for example `remove 12 tasks`.

        Raise UsageError, naming the option to add, if the session is not interactive.
        """
        if yes:
            return True
        is_interactive = sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
        if not is_interactive or self.options.no_input or self.environment.get("CI"):
            raise UsageError(f"this would {action}; confirmation is needed", f"add {option} to confirm")
        title = action[:1].upper() + action[1:]
        question = f"{title}? Type {count} to continue: " if count > MAX_YES else f"{title}? [y/N] "
        write(sys.stderr, question)
        answer = sys.stdin.readline().strip().lower()
        return answer == str(count) if count > MAX_YES else answer in ("y", "yes")

    def progress(self) -> Progress:
        """Return a progress line on stderr; it appears only on a terminal and after one second."""
        from scflows.cli.progress import Progress

        return Progress(sys.stderr.isatty() and not self.json and not self.options.quiet)

    def colored(self, word: str) -> str:
        """Return a status word with its colour, for stdout."""
        color = COLOR_OF.get(word)
        return word if color is None else self._styled(sys.stdout, color, word)

    def bold(self, text: str) -> str:
        """Return a heading, for stdout."""
        return self._styled(sys.stdout, "1", text)

    def diff_line(self, line: str) -> str:
        """Return a line of a unified diff with its colour, for stdout."""
        color = {"+": GREEN, "-": RED, "@": CYAN}.get(line[:1])
        return escaped(line) if color is None else self._styled(sys.stdout, color, escaped(line))

    def cell(self, value: Any) -> str:
        """Return a value of a table in readable form."""
        if isinstance(value, Moment):
            return clock(value.epoch, self._zone(value), self.now, value.seconds)
        if isinstance(value, Seconds):
            return words(value)
        return escaped(_text(value))

    def _aligned(self, columns: Mapping[str, str], items: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        from shutil import get_terminal_size

        from scflows.cli.columns import Column, rows

        aligned, is_zone_shown = [], False
        for title, key in columns.items():
            values = [item.get(key) for item in items]
            moment = next((value for value in values if isinstance(value, Moment)), None)
            if moment is not None and not is_zone_shown:
                is_zone_shown = True
                title = f"{title} ({self._zone(moment)})"
            is_number = any(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
            paint = self.colored if any(isinstance(value, Status) for value in values) else None
            aligned.append(Column(title, [self.cell(value) for value in values], is_number, paint))
        return rows(aligned, get_terminal_size().columns, self.bold)

    def _lines(self, lines: Iterator[str]) -> None:
        """Print lines in batches, so that the first appear before the last are generated."""
        while batch := list(islice(lines, BATCH)):
            self.line("\n".join(batch))

    def piped(self, value: Any) -> str:
        if type(value) is str:
            return escaped(value)
        if value is None:
            return ""
        if isinstance(value, Moment):
            return iso(value.epoch, self._zone(value))
        if isinstance(value, Seconds):
            return f"{value:.3f}"
        return self.colored(value) if isinstance(value, Status) else escaped(_text(value))

    def _zone(self, moment: Moment) -> str:
        return moment.zone or self.settings.timezone

    def _dumped(self, value: Any) -> str:
        import json

        def convert(each: Any) -> Any:
            return iso(each.epoch, self._zone(each)) if isinstance(each, Moment) else str(each)

        is_ascii = (sys.stdout.encoding or "").lower() not in ("utf-8", "utf8")
        try:
            return json.dumps(value, ensure_ascii=is_ascii, default=convert, allow_nan=False)
        except ValueError:
            # JSON has no NaN, but an older history may contain one.
            text = json.dumps(value, default=convert)
            return json.dumps(json.loads(text, parse_constant=lambda word: None), ensure_ascii=is_ascii)

    def _styled(self, stream: TextIO, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.has_color(stream) else text


def mistake_item(mistake: Any) -> dict[str, Any]:
    """Return a mistake in a flow file as JSON values."""
    names = ("path", "line", "column", "severity", "message")
    return {name: getattr(mistake, name) for name in names}


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
