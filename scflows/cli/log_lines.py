"""Print lines of logs: of one log, or the newest of a task whose runs have a log each, under the ids of the runs."""

from __future__ import annotations

import os
import time
from itertools import chain

from scflows.cli.output import Output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def print_lines(lines: list[str], out: Output, run: str = "") -> None:
    """Print lines of a log; in JSON each with its time and level, and with the run that it belongs to, if given."""
    if out.json:
        from scflows.history.log_reader import json_items

        for item in json_items(lines):
            out.object({**item, "run": run} if run else item)
        return
    for line in lines:
        out.line(out.log_line(line), is_raw=out.shows_raw)


def show_several(
    file: str,
    logs: list[str],
    count: int | None,
    since: float | None,
    matches: Callable[[str], bool],
    follow: bool,
    out: Output,
) -> None:
    """Print the newest `count` lines of the logs of a task's runs, the oldest run first; then follow them.

    `file` is the log of the task itself, which may have lines about late runs.
    """
    from scflows.history.log_reader import json_items, last_lines

    paths = [*logs, *([file] if os.path.isfile(file) else [])]
    paths.sort(key=_changed)
    ends = {path: _size(path) for path in paths}
    shown: list[tuple[str, list[str]]] = []
    rest = count
    for path in reversed(paths):
        if rest == 0:
            break
        try:
            lines = last_lines(path, rest, since, matches, ends[path])
        except OSError:
            continue  # Retention has just removed it, or it is not readable.
        rest = None if rest is None else rest - len(lines)
        shown.insert(0, (path, lines))
    if out.json and not follow:
        items = [{**item, "run": _run(path, file)} for path, lines in shown for item in json_items(lines)]
        out.object({"schema": 1, "items": items})
        return
    last = ""
    for path, lines in chain(shown, _new_lines(file, ends) if follow else ()):
        lines = [line for line in lines if matches(line)]
        if lines and path != last and not out.json:
            out.line(f"==> {_run(path, file) or 'task'} <==")
        last = path if lines else last
        print_lines(lines, out, _run(path, file))


def _new_lines(file: str, ends: dict[str, int]) -> Iterator[tuple[str, list[str]]]:
    """Yield new lines with the logs that they are in, also of runs that start later; never ends."""
    from scflows.history.log_reader import POLL_SECONDS, follow
    from scflows.history.task_log import run_logs

    readers = {path: follow(path, end, lambda: True, pause=0) for path, end in ends.items()}
    folder = os.path.dirname(file)
    while True:
        for path in [*run_logs(os.path.dirname(folder), os.path.basename(folder)), file]:
            if path not in readers:
                readers[path] = follow(path, 0, lambda: True, pause=0)
        is_new = False
        for path, reader in readers.items():
            lines = next(reader, [])
            is_new = is_new or bool(lines)
            yield path, lines
        if not is_new:
            time.sleep(POLL_SECONDS)


def _run(path: str, file: str) -> str:
    return "" if path == file else os.path.basename(path).removesuffix(".log")


def _changed(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0
