"""`flows run --follow`: print each step as it ends, and the log."""

from __future__ import annotations

from scflows.cli.output import Output
from scflows.cli.stream import ReaderGone, drop_output, escaped
from scflows.cli.times import Moment, Seconds, Status, in_zone, iso, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Statuses of steps that have a shorter name on the screen.
WORDS = {"success": "ok"}


class Follower:
    """Printer for the events of a run. The run continues when the output is no longer read."""

    def __init__(self, out: Output) -> None:
        self.out = out
        self._is_read = True
        self._width = 8

    def print(self, event: str, values: dict[str, Any]) -> None:
        """Print an event of `launch`."""
        if not self._is_read:
            return
        try:
            if self.out.json:
                self.out.object({"event": event, **_readable(values)})
            elif event == "log":
                self._log(values["line"])
            elif event == "step_ended":
                self._step(values)
        except ReaderGone:
            self._is_read = False
            drop_output()

    def _log(self, line: str) -> None:
        self.out.line(self.out.log_line(line))

    def _step(self, values: dict[str, Any]) -> None:
        out = self.out
        zone = out.settings.timezone
        took = values["ended"] - values["started"]
        status = WORDS.get(values["status"], values["status"])
        name, message = escaped(values["name"]), escaped(values["message"])
        if not out.is_terminal:
            out.line("\t".join((iso(values["started"], zone), name, status, f"{took:.3f}", message)))
            return
        self._width = max(self._width, len(name))
        at = in_zone(values["started"], zone).strftime("%H:%M:%S")
        colored = out.colored(status) + " " * (7 - len(status))
        out.line(f"{at} {name:<{self._width}} {colored} {words(took):>7}  {message}".rstrip())


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
