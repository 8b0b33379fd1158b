"""`flows run --follow`: print each step as it ends, and the log; on a terminal also the step at work."""

from __future__ import annotations

from scflows.cli.colors import log_parts
from scflows.cli.output import Output
from scflows.cli.stream import ReaderGone, drop_output, escaped
from scflows.cli.times import Moment, Seconds, Status, in_zone, iso, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from scflows.cli.progress import Progress
    from scflows.history.run import Run

#: Statuses of steps that have a shorter name on the screen.
WORDS = {"success": "ok"}
STATUS_WIDTH = 7
#: The widest column of names; longer names move the rest of their line.
MAX_NAME_WIDTH = 40
#: The width of the time in front of each line.
TIME_WIDTH = len("12:00:00 ")


class Numbers:
    """The numbers of the steps in their flow: `2/5`."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def of(self, name: str) -> str:
        return f"{self.names.index(name) + 1}/{len(self.names)}" if name in self.names else ""


class Follower:
    """Printer for the events of a run. The run continues when the output is no longer read.

    An error is shown once: by the step that failed, not by the lines of the log that repeat it.
    """

    def __init__(self, out: Output, progress: Progress) -> None:
        self.out = out
        self.shown_error = ""  #: of the last failed step
        self._progress = progress
        self._numbers = Numbers()
        self._is_read = True
        self._width = 8
        self._held: list[str] = []  #: errors in the log that the next event may repeat

    def print(self, event: str, values: dict[str, Any]) -> None:
        """Print an event of `launch`."""
        if event == "flow":
            self._numbers.names = [escaped(name) for name in values["steps"]]
            self._width = min(MAX_NAME_WIDTH, max(map(len, ["", *self._numbers.names])))
        elif self._is_read:
            try:
                self._print(event, values)
            except ReaderGone:
                self._is_read = False
                drop_output()

    def end(self, run: Run) -> None:
        """Print the errors of the log that the end of the run does not repeat."""
        self._release(lambda text: text in run.message or text.startswith(f"run {run.id} "))

    def _print(self, event: str, values: dict[str, Any]) -> None:
        if self.out.json:
            self.out.object({"event": event, **_readable(values)})
        elif event == "log":
            self._log(values["line"])
        elif event == "step_started":
            name = escaped(values["name"])
            self._progress.show(f"{self._numbers.of(name)} {name}".strip())
        elif event == "step_ended":
            repeated = f"{values['name']}: {values['message']}", f"{values['name']}: error ignored by "
            self._release(lambda text: text == repeated[0] or text.startswith(repeated[1]))
            self._step(values)
        elif event == "waits":
            self._progress.show(values["message"])

    def _log(self, line: str) -> None:
        parts = log_parts(line)
        if parts is not None and (parts[1] == "ERROR" or ": error ignored by " in line):
            self._held.append(line)
            return
        self._release(lambda text: False)
        self._log_line(line)

    def _release(self, is_repeated: Callable[[str], bool]) -> None:
        """Print the lines that were held back, but for those that are repeated."""
        held, self._held = self._held, []
        for line in held:
            parts = log_parts(line)
            if parts is None or not is_repeated(parts[2].strip()):
                self._log_line(line)

    def _log_line(self, line: str) -> None:
        out = self.out
        parts = log_parts(escaped(line))
        if not out.is_terminal or parts is None:
            self._line(out.log_line(line))
            return
        time, level, text = parts
        shown = "" if level == "INFO" else f"{level} "
        first = f"{time[11:19]} {out.colored(level)} " if shown else f"{time[11:19]} "
        self._wrapped(text.strip(), first, TIME_WIDTH + len(shown))

    def _step(self, values: dict[str, Any]) -> None:
        out = self.out
        zone = out.settings.timezone
        took = values["ended"] - values["started"]
        status = WORDS.get(values["status"], values["status"])
        name, message = escaped(values["name"]), escaped(values["message"])
        if values["status"] == "failed":
            self.shown_error = f"{values['name']}: {values['message']}"
        number = self._numbers.of(name)
        if not out.is_terminal:
            out.line("\t".join((iso(values["started"], zone), name, status, f"{took:.3f}", message, number)))
            return
        at = in_zone(values["started"], zone).strftime("%H:%M:%S")
        digits = 2 * len(str(len(self._numbers.names))) + 1
        start = f"{at} {number:>{digits}} {name:<{self._width}} "
        first = f"{start}{out.colored(status)}{' ' * (STATUS_WIDTH - len(status))} {words(took):>7}"
        message = message.removeprefix("skipped: ")
        if not message:
            self._line(first)
        elif out.room is None or len(start) + STATUS_WIDTH + len("   12 min  ") + len(message) <= out.room:
            self._line(f"{first}  {message}")
        else:
            self._line(first)
            self._wrapped(message, " " * (TIME_WIDTH + digits + 1), TIME_WIDTH + digits + 1)

    def _line(self, text: str) -> None:
        self._progress.clear()
        self.out.line(text.rstrip())

    def _wrapped(self, text: str, first: str, indent: int) -> None:
        self._progress.clear()
        self.out.paragraph(text, first, indent)


def _readable(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with times, durations and statuses as in all other JSON output."""
    item = dict(values)
    for key in ("started", "ended"):
        if item.get(key) is not None:
            item[key] = Moment(item[key])
    if values.get("ended") is not None:
        item["took"] = Seconds(round(values["ended"] - values["started"], 3))
    if "status" in item:
        item["status"] = Status(item["status"])
    return item
