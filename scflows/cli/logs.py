"""`flows logs`: the end of a task's log, or the output of one run."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from scflows.cli import completion, exit_code
from scflows.cli.log_lines import print_lines
from scflows.cli.output import Output
from scflows.errors import NotFound, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scflows.history.run import Run
    from scflows.settings import Settings

#: Default of `-n` for a task's log; a run's log is shown in full.
LINES = 200
#: Seconds between two checks whether a followed run has ended.
POLL_SECONDS = 2.0


def logs(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="TASK|RUN", help="A task, or a run's id.", autocompletion=completion.logged)
    ],
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Print new lines as they are written.")] = False,
    lines: Annotated[
        int | None,
        typer.Option("-n", "--lines", min=0, help="Show the last N lines; 0 = no old lines, for use with --follow."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="TIME", help="Only lines written at or after this time: 2h (2 hours ago), 2026-11-20."
        ),
    ] = None,
    grep: Annotated[
        str | None, typer.Option("--grep", metavar="PATTERN", help="Only lines that match a regular expression.")
    ] = None,
    path: Annotated[bool, typer.Option("--path", help="Print the path of the log and exit.")] = False,
) -> int:
    """Show the log of a task (the last 200 lines) or of a run.

    --follow with a run waits for its end and exits with the run's exit code.
    """
    from scflows.cli.times import parse_since
    from scflows.history.log_reader import last_lines, lines_of_run

    out: Output = ctx.obj
    file, run = _found(name, out)
    if run is None and (several := _run_logs(file)):
        if path:
            out.say(os.path.dirname(file), {"path": os.path.dirname(file)})
            return 0
        from scflows.cli.log_lines import show_several

        first = None if since is None else parse_since(since, "--since", out.settings.timezone, out.now)
        count = LINES if lines is None and first is None else lines
        show_several(file, several, count, first, _filter(grep), follow, out)
        return 0
    if path:
        out.say(file, {"path": file})
        return 0
    if os.path.exists(file) and not os.path.isfile(file):
        raise UsageError(f"{file} is not a regular file", f"move it away: mv {file} {file}.old")
    matches = _filter(grep)
    start = None if since is None else parse_since(since, "--since", out.settings.timezone, out.now)
    end = 0
    try:
        # Everything written later is printed by --follow.
        end = os.path.getsize(file)
        if run is None:
            shown = last_lines(file, LINES if lines is None and start is None else lines, start, matches, end)
        else:
            written = lines_of_run(file, run, end)
            if not written and not follow:
                raise NotFound(f"the output of run {run.id} is no longer in {file}", f"flows runs show {run.id}")
            shown = [line for line in written if matches(line)]
            shown = shown if lines is None else shown[len(shown) - min(lines, len(shown)) :]
    except FileNotFoundError:
        shown = []
        if not follow:
            raise NotFound(f"{name!r} has no log yet: {file}", "the first run creates it") from None
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from error
    if out.json and not follow:
        from scflows.history.log_reader import json_items

        out.object({"schema": 1, "items": list(json_items(shown))})
        return 0
    print_lines(shown, out)
    return _follow(file, end, run, matches, out) if follow else 0


def _found(name: str, out: Output) -> tuple[str, Run | None]:
    """Return the log of a task, or the log and the record of a run. Raise NotFound with the nearest name."""
    task_log = _task_log(name, out.settings)
    if task_log is not None:
        return task_log, None
    from scflows.cli.open_history import Ambiguous, find_run, known_tasks, nearest, opened_history

    with opened_history(out.settings) as store:
        try:
            run = find_run(store, name)
        except Ambiguous:
            raise
        except NotFound as error:
            near = nearest(name, known_tasks(out.settings, store))
            help = near or (error.help if error.help and "run" in str(error) else None)
            raise NotFound(f"no task or run {name!r} found", help) from error
    if not run.log:
        raise NotFound(f"run {run.id} has no log", f"flows runs show {run.id}")
    return run.log, run


def _run_logs(file: str) -> list[str]:
    """Return the logs of single runs beside a task's log; empty if there are none."""
    from scflows.history.task_log import run_logs

    folder = os.path.dirname(file)
    return run_logs(os.path.dirname(folder), os.path.basename(folder))


def _task_log(name: str, settings: Settings) -> str | None:
    from scflows.history.task_log import log_path

    if "/" in name or name in ("", ".", ".."):
        return None
    if os.path.exists(os.path.join(settings.state_path, "tasks", f"{name}.json")):
        from scflows.cron.task import TaskStore, task_settings

        settings = task_settings(TaskStore(settings).read(name))
        return log_path(settings.tasks_path, name)
    path = log_path(settings.tasks_path, name)
    return path if os.path.exists(path) or _run_logs(path) else None


def _filter(pattern: str | None) -> Callable[[str], bool]:
    if pattern is None:
        return lambda line: True
    import re

    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--grep {pattern!r} is not a valid regular expression: {error}") from error
    return lambda line: expression.search(line) is not None


def _follow(file: str, start: int, run: Run | None, matches: Callable[[str], bool], out: Output) -> int:
    from scflows.history.log_reader import follow, is_last_line

    if run is not None and run.ended is not None:
        return _code(run)
    watch = _Watch(run, out)
    for lines in follow(file, start, watch.is_running):
        own_lines = lines
        for number, line in enumerate(lines):
            if run is not None and is_last_line(line, run.id):
                own_lines, watch.is_over = lines[: number + 1], True
                break
        print_lines([line for line in own_lines if matches(line)], out)
        if watch.is_over:
            break
    return watch.code()


class _Watch:
    """A watch that knows when the followed run has ended or died."""

    def __init__(self, run: Run | None, out: Output) -> None:
        self.run = run
        self.is_over = False
        self._out = out
        self._polled = 0.0

    def is_running(self) -> bool:
        import time

        if self.run is not None and time.monotonic() - self._polled > POLL_SECONDS:
            self._polled = time.monotonic()
            self._poll()
        return not self.is_over

    def code(self) -> int:
        """Return the exit code of the run, 0 for a task's log."""
        if self.run is None:
            return 0
        import time

        # The last line is written shortly before the record.
        deadline = time.monotonic() + 10
        while self.run.ended is None and time.monotonic() < deadline:
            self._poll()
            time.sleep(0.05)
        return _code(self.run)

    def _poll(self) -> None:
        from scflows.cli.open_history import find_run, opened_history

        assert self.run is not None
        with opened_history(self._out.settings) as store:
            self.run = find_run(store, self.run.id)
        self.is_over = self.run.ended is not None


def _code(run: Run) -> int:
    from scflows.execution.request import RunOutcome

    return exit_code(RunOutcome(run, {}, []))
