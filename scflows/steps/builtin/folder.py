"""Make files from files: each source without a target is processed."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from scflows.config import variable_mistakes
from scflows.connectors.folders import Item, Pair, Plan, make_plan, place_mistakes, shown
from scflows.errors import ScflowsError, StepError, UsageError
from scflows.history.folder_status import WHOLE_JOB, End, FolderStatus, obsolete
from scflows.steps import Context, Step, option
from scflows.steps.file_job import PYTHON, STEP_TYPES, FileJob

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

#: What a job can do; each has exactly one of them.
ACTIONS = ("script", *STEP_TYPES, "flow")
#: How many failed files a message names.
NAMED = 3


@dataclass(frozen=True)
class FolderStep(Step):
    """Make a target for each file in a folder that has none yet.

    A file is processed if the target folder has no file of the same name. One file that fails does not stop the others,
    and is tried again in the next run. A target is written under a hidden name and then renamed.

    - name: sorted
      type: folder
      folder:
        source: input
        target: sorted
        script: [sort, -o, "{target}", "{source}"]
    """

    target: str = option(help="a folder in DATA_PATH, or FOLDER/PATTERN: `merged/Merged.*`")
    source: str | None = option(None, help="a folder in DATA_PATH, or FOLDER/PATTERN: `scores/File_A.*`")
    sources: dict[str, Any] | None = option(None, help="several sources by name; a target needs one file of each")
    pattern: str | None = option(None, help="the names of the sources; `*` for any characters, `?` for one")
    newer: bool = option(False, help="make a target again if a source is newer")
    settle: float = option(0, minimum=0, help="seconds after its last change for which a file is left alone")
    timeout: float | None = option(None, minimum=0.001, help="the time limit for one file, in seconds")
    expect: str | None = option(None, help="report it if there is no new source for that long: 1d (scheduled tasks)")
    script: list[Any] | str | None = option(None, help="a program with its arguments, or a Python file; no shell")
    function: str | None = option(None, help="of the Python file: gets each source as a DataFrame, returns the target")
    table: dict[str, Any] | None = option(None, help="options of a `table` step instead of a script")
    database: dict[str, Any] | None = option(None, help="options of a `database` step instead of a script")
    flow: str | None = option(None, help="a flow instead of a script; its parameters are `source` and `target`")
    mark: bool | None = option(None, help="write a note of the result as target (default: with `database`)")
    env: dict[str, Any] | None = option(None, template=True, secrets=True, help="environment variables of the script")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield from _check_places(options)
        named = [name for name in ACTIONS if options.get(name) is not None]
        if len(named) != 1:
            problem = "has no action" if not named else f"has several actions ({', '.join(named)})"
            yield (named or ["target"])[-1], f"{problem}: name one of {', '.join(ACTIONS)}"
        if options.get("script") is not None:
            yield from _check_script(options["script"])
        function = options.get("function")
        if function is not None:
            if not function.isidentifier():
                yield "function", f"{function!r} is not a valid function name"
            if not str(options.get("script")).endswith(PYTHON):
                yield "function", "'function' needs a Python file as 'script'"
        if options.get("expect") is not None:
            from scflows.cron.schedule.spec import parse_every

            try:
                parse_every(options["expect"])
            except UsageError as error:
                yield "expect", str(error).replace("every:", "expect:")
        for message in variable_mistakes(options.get("env")):
            yield "env", message

    @classmethod
    def nested(cls, options: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
        from scflows.steps.registry import find_step

        for kind in STEP_TYPES:
            written = options.get(kind)
            if isinstance(written, dict):
                # Checked as it will run, with files in the place of the paths.
                found = find_step(kind)
                names = options["sources"] if isinstance(options.get("sources"), dict) else ("source",)
                files = {str(name): f"{name}.csv" for name in names}
                yield (
                    (),
                    {"type": kind, kind: written if found is None else found.for_files(written, files, "target.csv")},
                )

    def intention(self) -> str:
        return f"make files in {self.target}"

    def run(self, ctx: Context) -> Any:
        pair = Pair.of(self.__dict__)
        status = FolderStatus(ctx.settings, ctx.flow_file)
        try:
            for _, place in pair.sources:
                ctx.readable(place.folder)
            work = _Work(self, pair, ctx, status)
            if ctx.dry_run:
                return work.report(make_plan(pair, work.root))
            try:
                return work.run(ctx.writable(pair.target.folder, is_artifact=False))
            except StepError as error:
                if not work.failed:
                    status.put(ctx.step_name, WHOLE_JOB, work.end(str(error)))
                raise
        finally:
            if status.problem:
                ctx.log.warning(status.problem)
            status.close()

    def job(self) -> FileJob:
        """Return what makes one target."""
        kind = next((name for name in STEP_TYPES if getattr(self, name) is not None), None)
        script = self.script or ()
        return FileJob(
            script=words_of(script) if isinstance(script, str) else tuple(str(word) for word in script),
            function=self.function,
            step=None if kind is None else {"type": kind, kind: getattr(self, kind)},
            flow=self.flow,
            env=self.env,
            mark=kind == "database" if self.mark is None else self.mark,
        )


class _Work:
    """The work of one step."""

    def __init__(self, step: FolderStep, pair: Pair, ctx: Context, status: FolderStatus) -> None:
        self.step = step
        self.pair = pair
        self.ctx = ctx
        self.status = status
        self.root = os.path.realpath(ctx.settings.data_path)
        self.name = ctx.step_name
        self.made: list[str] = []
        self.failed: dict[str, str] = {}

    def run(self, folder: str) -> dict[str, int]:
        from scflows.connectors.folder_targets import target_folder

        plan = make_plan(self.pair, self.root)
        if not plan.has_work:
            self._note_state(plan, {})
            return self._counts(plan)
        with target_folder(folder, self.pair.target.folder):
            # Again, because another process may have made some of them meanwhile.
            plan = make_plan(self.pair, self.root)
            known = self.status.ends(self.name)
            self._note_state(plan, known)
            job = self.step.job()
            for name, problem in sorted(plan.problems.items()):
                self._fail(name, problem)
            for item in plan.ready:
                self._make(item, job, folder, is_again=item.name in plan.present)
        counts = self._counts(plan)
        if self.failed:
            raise StepError(self._message(), **counts, files={shown(name): why for name, why in self.failed.items()})
        return counts

    def report(self, plan: Plan) -> dict[str, int]:
        """Log what would be made."""
        for item in plan.ready:
            self.ctx.log.info(f"would make {shown(item.name)}")
        self.ctx.remark = f"would make {len(plan.ready)}, {_rest(plan)}", ""
        return {"made": 0, "failed": 0, "waiting": len(plan.waiting), "present": len(plan.present)}

    def end(self, problem: str) -> End:
        """Return how a file's run ended; `problem` is empty if it was successful."""
        run = str(self.ctx.data.get("__job_id__") or "")
        return End(bool(problem), time.time(), problem, run, self.ctx.log.path if problem else "")

    def _make(self, item: Item, job: FileJob, folder: str, is_again: bool) -> None:
        started = time.monotonic()
        try:
            with _time_limit(self.ctx, self.step.timeout, item.name):
                self._make_whole(item, job, folder, is_again)
        except StepError as error:
            self._fail(item.name, str(error))
        except OSError as error:
            self._fail(item.name, str(error.strerror or error))
        except MemoryError:
            self._fail(item.name, "out of memory")
        except ScflowsError as error:
            self._fail(item.name, str(error))
        except Exception as error:  # As in a step, but the other files go on.
            from traceback import format_exc

            self.ctx.log.debug(format_exc())
            self._fail(item.name, f"{type(error).__name__}: {error}")
        else:
            self.made.append(item.name)
            self.status.put(self.name, item.name, self.end(""))
            self.ctx.log.info(f"{shown(item.name)} made in {time.monotonic() - started:.2f} s")

    def _make_whole(self, item: Item, job: FileJob, folder: str, is_again: bool) -> None:
        from scflows.connectors.folder_targets import NewTarget

        sources = dict(item.sources)
        before = [self._state(path) for path in sources.values()]
        self.ctx.add_file(os.path.join(folder, item.name))
        with NewTarget(folder, item.name) as target:
            job.run(self.ctx, sources, os.path.relpath(target.path, self.root))
            if [self._state(path) for path in sources.values()] != before:
                raise StepError("a source was changed while it was read")
            target.keep(replace=is_again)

    def _state(self, path: str) -> tuple[int, ...]:
        """Return what changes when a source does. Raises StepError if it cannot be read."""
        self.ctx.readable(path)
        try:
            descriptor = os.open(os.path.join(self.root, path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise StepError(f"{shown(path)}: cannot be read: {error.strerror}") from error
        try:
            found = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _fail(self, name: str, problem: str) -> None:
        self.failed[name] = problem
        self.ctx.log.error(f"{shown(name)}: {problem}")
        self.status.put(self.name, name, self.end(problem))

    def _note_state(self, plan: Plan, known: dict[str, End]) -> None:
        """Forget errors that are over, and note that there are new sources."""
        failed = self.status.ends(self.name, failed_only=True)
        self.status.forget(self.name, obsolete(plan, failed, self.target_time))
        if any(item.name not in known for item in plan.ready) or self.status.arrival(self.name) is None:
            self.status.note_arrival(self.name, time.time())

    def target_time(self, name: str) -> float:
        return target_time(self.root, self.pair, name)

    def _counts(self, plan: Plan) -> dict[str, int]:
        present = len(plan.present) - sum(name in plan.present for name in (*self.made, *self.failed))
        counts = {"made": len(self.made), "failed": len(self.failed)}
        self.ctx.remark = f"{len(self.made)} made, {_rest(plan, present)}", ""
        return {**counts, "waiting": len(plan.waiting), "present": present}

    def _message(self) -> str:
        total = len(self.failed) + len(self.made)
        named = [f"{shown(name)}: {why}" for name, why in list(self.failed.items())[:NAMED]]
        more = f"; and {len(self.failed) - NAMED} more" if len(self.failed) > NAMED else ""
        return f"{len(self.failed)} of {total} files failed: {'; '.join(named)}{more}"


class _time_limit:
    """A limit for the work on one file; when it passes, StepError is raised."""

    def __init__(self, ctx: Context, seconds: float | None, name: str) -> None:
        self.scope = ctx.scope
        self.seconds = seconds
        self.name = name
        self.limit: Any = None

    def __enter__(self) -> None:
        if self.scope is not None and self.seconds is not None:
            self.scope.blocked = True
            self.limit = self.scope.add_limit(self.seconds, "step", self.name)
            self.scope.start_step()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if self.scope is None or self.limit is None:
            return
        from scflows.steps.cancellation import StepInterrupted

        self.scope.blocked = True
        self.scope.remove_limit(self.limit)
        if isinstance(error, StepInterrupted) and error.cause is not self.limit:
            return
        self.scope.blocked = False
        if isinstance(error, StepInterrupted):
            raise StepError(f"took longer than {self.seconds:g} s") from None


def target_time(root: str, pair: Pair, name: str) -> float:
    """Return when a target was made or put there; 0 if it is gone."""
    try:
        found = os.stat(os.path.join(root, pair.target.folder, name))
    except OSError:
        return 0.0
    return max(found.st_mtime, found.st_ctime)


def words_of(script: str) -> tuple[str, ...]:
    """Return the words of a command, as a shell would split them. Raises ValueError."""
    import shlex

    return tuple(shlex.split(script))


def _rest(plan: Plan, present: int | None = None) -> str:
    count = len(plan.present) if present is None else present
    return f"{count} up to date, {len(plan.waiting)} waiting"


def _check_places(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    given = options.get("sources")
    if (given is None) == (options.get("source") is None):
        yield "source" if given is not None else "target", "name either 'source' or 'sources'"
        return
    if given is not None and not given:
        yield "sources", "'sources' is empty"
        return
    places = [("target", options["target"]), ("source", options.get("source") or "x")]
    places += [("sources", text) for text in (given or {}).values()]
    is_valid = True
    for name, text in places:
        if not isinstance(text, str) or not text.strip() or "\0" in text:
            yield name, f"{name!r} must be a folder, or FOLDER/PATTERN"
            is_valid = False
        elif os.path.normpath(text).split("/")[0] == "..":
            yield name, f"{text!r} leads out of the working folder"
            is_valid = False
    for name in given or {}:
        if not isinstance(name, str) or not name.isidentifier() or name == "target":
            yield "sources", f"{name!r} is not a valid name of a source"
            is_valid = False
    pattern = options.get("pattern")
    if pattern is not None and (not pattern or "/" in pattern):
        yield "pattern", "'pattern' is for the names of files in the source folder"
    elif is_valid:
        for message in place_mistakes(Pair.of(options)):
            yield "target", message


def _check_script(script: Any) -> Iterator[tuple[str, str]]:
    if isinstance(script, str):
        try:
            words: Any = words_of(script)
        except ValueError as error:
            yield "script", f"'script' is not a command: {error}"
            return
    else:
        words = script
    if not words or not str(words[0] or "").strip():
        yield "script", "'script' is empty"
    elif any(word is None or isinstance(word, bool | list | dict) for word in words):
        yield "script", "a script consists of texts and numbers; put other values in quotes"
