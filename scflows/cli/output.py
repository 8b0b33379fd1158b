"""Output of commands: results to stdout, everything else to stderr; for people, for a pipe, or as JSON."""

from __future__ import annotations

import os
import shlex
import sys
import time
from itertools import islice

from scflows.cli.colors import BOLD, CYAN, DIM, GREEN, RED, YELLOW, color_of, log_parts
from scflows.cli.columns import DOT
from scflows.cli.options import Options
from scflows.cli.stream import CONTROL, STYLE, escaped, write
from scflows.cli.times import Moment, Seconds, Status, clock, iso, words
from scflows.errors import FlowError, Mistake, ScflowsError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any, TextIO

    from scflows.cli.columns import Layout
    from scflows.cli.progress import Progress
    from scflows.settings import Settings

SCHEMA = 1
#: Lines per write.
BATCH = 500
#: To confirm an action on more items than this, the user types their number instead of `y`.
MAX_YES = 20


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

    def line(self, text: str, is_raw: bool = False) -> None:
        """Print a line to stdout; `is_raw`: with all control characters."""
        write(sys.stdout, text + "\n", is_raw)

    def say(self, text: str, item: Mapping[str, Any] | None = None) -> None:
        """Print what was done; with `--json` print `item` instead."""
        if self.json:
            if item is not None:
                self.object(item)
        elif not self.options.quiet:
            self._lines(self._parts(text))

    def hint(self, text: str) -> None:
        """Print a hint to stderr, only on a terminal."""
        if self.is_terminal and not self.json and not self.options.quiet:
            for line in self._parts(text):
                write(sys.stderr, self._styled(sys.stderr, DIM, line) + "\n")

    def object(self, item: Mapping[str, Any]) -> None:
        """Print one JSON object on one line."""
        self.line(self._dumped(item))

    def table(
        self,
        columns: Mapping[str, str],
        items: Iterable[Mapping[str, Any]],
        more: Mapping[str, Any] | None = None,
        less: Sequence[str] = (),
    ) -> None:
        """Print items as rows; in a pipe, one by one as they arrive.

        `columns` maps titles to keys of the items. With `--json` the complete items are printed, together with `more`.
        The title of the first column with times names their zone. `less` are the keys of the columns that a terminal
        without room for all leaves out, the first one first; it also omits those of them that are empty.
        """
        if self.json:
            self.object({"schema": SCHEMA, "items": list(items), **(more or {})})
        elif self.is_terminal:
            known = list(items)
            if known:
                layout = self._layout(columns, known, less)
                self._lines(layout.lines(self.bold))
                if layout.omitted:
                    command = shlex.join(["flows", *sys.argv[1:], "--wide"])
                    self.hint(f"Not shown here: {', '.join(layout.omitted)}{DOT}{command}")
        else:
            keys = list(columns.values())
            self._lines("\t".join([self.piped(item.get(key)) for key in keys]) for item in items)

    def warn(self, text: str) -> None:
        """Print a one-line warning to stderr."""
        if not self.options.quiet:
            from scflows.cli.columns import wrapped_text

            first = "warning: "
            room = self.room if sys.stderr.isatty() else None
            lines = "\n".join(wrapped_text(escaped(text), first, room)).removeprefix(first)
            write(sys.stderr, f"{self._styled(sys.stderr, YELLOW, 'warning')}: {lines}\n")

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
                lines.append(
                    self.mistake(sys.stderr, each)
                    if each.line
                    else f"{word}: {escaped(f'{each.path}: {each.message}')}"
                )
        else:
            first, *others = str(error).splitlines() or [""]
            lines += [f"{word}: {escaped(first)}", *(f"  {escaped(line)}" for line in others)]
        if error.help:
            lines.append(f"  help: {self.pasteable(escaped(error.help))}")
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
        color = color_of(word)
        return word if color is None else self._styled(sys.stdout, color, word)

    def first_colored(self, text: str) -> str:
        """Return a sentence for stdout with the colour of its first word."""
        word, space, rest = text.partition(" ")
        return f"{self.colored(word)}{space}{rest}"

    def mistake(self, stream: TextIO, mistake: Mistake) -> str:
        """Return a mistake in a flow file, with its location first, as editors and CI expect."""
        color = RED if mistake.severity == "error" else YELLOW
        place, found, message = escaped(str(mistake)).partition(f": {mistake.severity}: ")
        return f"{place}: {self._styled(stream, color, mistake.severity)}: {message}" if found else place

    def caret(self, mistake: Mistake, text: str) -> str:
        """Return the mark below the column of a mistake, for stdout."""
        return self._styled(sys.stdout, RED if mistake.severity == "error" else YELLOW, text)

    def bold(self, text: str) -> str:
        """Return a heading, for stdout."""
        return self._styled(sys.stdout, BOLD, text)

    def diff_line(self, line: str) -> str:
        """Return a line of a unified diff with its colour, for stdout."""
        color = {"+": GREEN, "-": RED, "@": CYAN}.get(line[:1])
        return escaped(line) if color is None else self._styled(sys.stdout, color, escaped(line))

    def cell(self, value: Any) -> str:
        """Return a value of a table in readable form."""
        if isinstance(value, Moment):
            return clock(value.epoch, self.settings.timezone, self.now, value.seconds)
        if isinstance(value, Seconds):
            return words(value)
        return escaped(_text(value))

    def _layout(self, columns: Mapping[str, str], items: Sequence[Mapping[str, Any]], less: Sequence[str]) -> Layout:
        from dataclasses import replace

        from scflows.cli.columns import Column, fit

        aligned: list[Column] = []
        zones: dict[int, str] = {}
        for title, key in columns.items():
            values = [item.get(key) for item in items]
            if key in less and all(value in (None, "") for value in values):
                continue
            moment = next((value for value in values if isinstance(value, Moment)), None)
            if moment is not None:
                zones[len(aligned)] = f"{title} ({self.settings.timezone})"
            is_number = any(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
            paint = self.colored if any(isinstance(value, Status) for value in values) else None
            rank = len(less) - less.index(key) if key in less else 0
            aligned.append(Column(title, [self.cell(value) for value in values], is_number, paint, rank))
        for index, title in zones.items():
            # The first of those that are shown names the zone.
            named = [replace(each, title=title) if number == index else each for number, each in enumerate(aligned)]
            layout = fit(named, self.room)
            if title not in layout.omitted:
                return layout
        return fit(aligned, self.room)

    @property
    def room(self) -> int | None:
        """The columns of the terminal; None: rows may be as long as they need."""
        from shutil import get_terminal_size

        return get_terminal_size().columns if self.is_terminal and not self.options.wide else None

    def fields(self, rows: Iterable[tuple[str, str]]) -> None:
        """Print titles with their values, on a terminal one below the other."""
        from scflows.cli.columns import wrapped_text

        known = list(rows)
        if not self.is_terminal:
            self._lines(f"{title}\t{value}" for title, value in known)
            return
        width = max((len(title) for title, _ in known), default=0)
        for title, value in known:
            self._lines(wrapped_text(value, f"{title:<{width}}  ", self.room))

    def pasteable(self, text: str) -> str:
        """Return a text whose commands can be pasted, also if this one was given with `--home`."""
        from scflows.cli.hints import pasteable

        return pasteable(text, self.options.home, self.environment)

    def next_command(self, text: str, command: str) -> None:
        """Print what was done and the next useful command; on a terminal that has a line of its own."""
        if self.is_terminal:
            self.say(text)
            self.hint(command)
        else:
            self.say(f"{text} {command}")

    def _parts(self, text: str) -> Iterator[str]:
        text = self.pasteable(text)
        if not self.is_terminal:
            return iter([text])
        from scflows.cli.columns import wrapped_parts

        return wrapped_parts(text, self.room)

    def paragraph(self, text: str, first: str, indent: int) -> None:
        """Print a text after `first`, on a terminal wrapped at words and indented."""
        from scflows.cli.columns import wrapped_text

        lines = list(wrapped_text(text, " " * indent, self.room))
        self.line("\n".join([first + lines[0][indent:], *lines[1:]]))

    @property
    def shows_raw(self) -> bool:
        """Whether lines of logs are for a program, which gets them unchanged."""
        return not self.is_terminal and not self.has_color(sys.stdout)

    def log_line(self, line: str) -> str:
        """Return a line of a log for stdout, with the colour of its level."""
        text = escaped(line) if self.is_terminal else line
        parts = log_parts(text) if self.has_color(sys.stdout) else None
        if parts is None:
            return text
        time, level, rest = parts
        return f"{self._styled(sys.stdout, DIM, time)} {self.colored(level)}{rest}"

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
            return iso(value.epoch, self.settings.timezone)
        if isinstance(value, Seconds):
            return f"{value:.3f}"
        return self.colored(value) if isinstance(value, Status) else escaped(_text(value))

    def _dumped(self, value: Any) -> str:
        import json
        import re

        def convert(each: Any) -> Any:
            return iso(each.epoch, self.settings.timezone) if isinstance(each, Moment) else str(each)

        is_ascii = (sys.stdout.encoding or "").lower() not in ("utf-8", "utf8")
        try:
            text = json.dumps(value, ensure_ascii=is_ascii, default=convert, allow_nan=False)
            # JSON leaves some control characters as they are.
            return text if text.isprintable() else re.sub(CONTROL, lambda found: f"\\u{ord(found[0]):04x}", text)
        except ValueError:
            # JSON has no NaN, but an older history may contain one.
            text = json.dumps(value, default=convert)
            return json.dumps(json.loads(text, parse_constant=lambda word: None), ensure_ascii=is_ascii)

    def _styled(self, stream: TextIO, code: str, text: str) -> str:
        return f"{STYLE}{code}m{text}{STYLE}0m" if self.has_color(stream) else text


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
