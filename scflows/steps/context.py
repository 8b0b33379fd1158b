"""The context of a running step: the run's data, secrets, files, other flows, remaining time."""

from __future__ import annotations

import os
from dataclasses import dataclass

from scflows.connectors.folder_targets import HIDDEN
from scflows.errors import StepError
from scflows.steps.values import json_copy
from scflows.storage import file_state, inside, is_below

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Protocol

    from scflows.expressions.templates import Expressions
    from scflows.history.run import StepRecord
    from scflows.history.task_log import TaskLog
    from scflows.secrets.resolver import Secrets
    from scflows.secrets.secret import Secret
    from scflows.settings import Settings
    from scflows.steps.cancellation import CancelScope
    from scflows.steps.thread_pool import StepThreadPool

    class Host(Protocol):
        """The runner of a step, which also runs nested steps and child flows."""

        def run_flow(
            self, ctx: Context, path: str, payload: Any, loop_index: int | None, scope: CancelScope
        ) -> ChildResult: ...

        def run_step(self, ctx: Context, written: dict[str, Any]) -> Any: ...

        def check_flow(self, path: str) -> None: ...

        def note_progress(self, ctx: Context, text: str) -> None: ...

        def start_part(self, ctx: Context, name: str, kind: str) -> StepRecord: ...

        def end_part(self, record: StepRecord, status: str, message: str) -> None: ...

        def note_start(self, ctx: Context) -> None: ...

        def note_attempt(self, ctx: Context) -> None: ...


#: The prefix of paths that are read from the folder of the flow file.
BESIDE_FLOW = "flow:"


@dataclass(frozen=True)
class Acknowledgement:
    """The pending acknowledgement of messages that a step has received."""

    commit: Callable[[], None]  #: called once the step's result is stored
    release: Callable[[], None]  #: called if it is not; the messages will be delivered again
    #: called if `commit` follows only at the end of the run, with the seconds until then, at most
    hold: Callable[[float], None] | None = None


@dataclass(frozen=True)
class ChildResult:
    """The result of a child flow."""

    status: str  #: `success`, `exit` or `failed`
    message: str
    data: dict[str, Any]  #: all of its data, with `__status__`
    errors: list[dict[str, Any]]  #: for the parent's list of errors


def once(call: Callable[[], Any]) -> Any:
    """Call without retries."""
    return call()


class Context:
    """Everything that a running step may use."""

    def __init__(
        self,
        settings: Settings,
        data: dict[str, Any],
        expressions: Expressions,
        log: TaskLog,
        flow_file: str,
        dry_run: bool = False,
        remaining: Callable[[], float | None] = lambda: None,
    ) -> None:
        self.settings = settings
        self.data = data  #: the run's data; read-only
        self.expressions = expressions  #: templates and jq
        self.log = log
        self.flow_file = flow_file  #: absolute
        self.flow_env: dict[str, Any] = {}  #: the flow's variables for programs, with templates
        self.dry_run = dry_run
        self.jq_output: str | None = None  #: the step's property of that name
        self.remaining = remaining  #: seconds until the step is interrupted; None without a limit
        self.scope: CancelScope | None = None  #: the limits of the thread that runs the step
        self.host: Host | None = None  #: the runner of the step
        self.depth = 0  #: how many parent flows there are
        self.shared: dict[str, Any] = {}  #: shared by all contexts of a run
        #: Calls a function with the step's `retry` settings, for a part of the work that can be repeated alone.
        self.with_retry: Callable[[Callable[[], Any]], Any] = once
        self.step_name = ""
        self.step_index = -1  #: the position of the step in its flow
        self.calls: dict[tuple[str, int | None], int] = {}  #: how often the step has run each child flow for each item
        self.attempts: dict[str, Any] = {}  #: what a step carries from one attempt to the next
        self._has_started = False
        self.remark = ("", "")  #: for the record of a step that succeeds: message and output
        self._progress_shown = 0.0
        self.errors: list[dict[str, Any]] = []  #: of child flows; they are listed before the step's own
        #: The files that the step may write, with their state (inode, size, time) before; see `made_files`.
        self.files: dict[str, tuple[int, int, int] | None] = {}
        self.acknowledgements: list[Acknowledgement] = []  #: pending until the step's result is stored

    def branch(self, data: dict[str, Any], scope: CancelScope) -> Context:
        """Return a copy for another thread, with its own data."""
        ctx = Context(
            self.settings, data, self.expressions, self.log.branch(), self.flow_file, self.dry_run, scope.remaining
        )
        ctx.scope, ctx.host, ctx.depth, ctx.shared = scope, self.host, self.depth, self.shared
        ctx.flow_env = self.flow_env
        return ctx

    def run_flow(
        self, path: str, payload: Any, loop_index: int | None = None, scope: CancelScope | None = None
    ) -> ChildResult:
        """Run a flow of the flows folder as part of this run; `payload` becomes its `__input__`.

        `scope` is that of the current thread if it is not the step's own. Raises StepError for a flow that is missing
        or invalid; a failure is in the result. The caller adds the result's errors to `errors`.
        """
        assert self.host is not None
        scope = scope or self.scope
        assert scope is not None
        return self.host.run_flow(self, path, payload, loop_index, scope)

    def start_step(self, name: str, index: int) -> None:
        """Set the step that runs from now on."""
        self.step_name, self.step_index, self._has_started = name, index, False
        self.remark = ("", "")
        self.calls, self.attempts = {}, {}
        self.files = {}

    def add_file(self, path: str) -> None:
        """Note that the step may write a file, before it does, so that the file is an artifact of the run if it does.

        `path` is absolute. Paths from `writable` are noted already.
        """
        # What a folder pair is still making is recorded under its own name.
        if path not in self.files and f"/{HIDDEN}" not in path:
            self.files[path] = file_state(path)

    def made_files(self) -> list[str]:
        """Return the paths of the files that the step has created or changed."""
        return [path for path, before in self.files.items() if file_state(path) not in (None, before)]

    def note_start(self) -> None:
        """Note in the journal, once, that the step starts to change something outside the run."""
        if self.host is not None and not self._has_started:
            self._has_started = True
            self.host.note_start(self)

    def note_attempt(self) -> None:
        """Note in the journal that the step is tried again, with the child flows that it runs."""
        if self.host is not None and self.calls:
            self.calls = {}
            self.host.note_attempt(self)

    def start_part(self, name: str, kind: str) -> StepRecord | None:
        """Record a part of the step, such as a task of another program, as a step of its own that starts now."""
        return None if self.host is None or self.depth else self.host.start_part(self, name, kind)

    def end_part(self, record: StepRecord | None, status: str, message: str = "") -> None:
        """Record the end of a part: `success`, `failed` or `skipped`."""
        if self.host is not None and record is not None:
            self.host.end_part(record, status, self.masked(message))

    def progress(self, text: str) -> None:
        """Show how far the step is, for example `300/2000`, in the run's record; at most once a second."""
        import time

        now = time.monotonic()
        if self.host is not None and self.depth == 0 and now - self._progress_shown >= 1:
            self._progress_shown = now
            self.host.note_progress(self, text)

    def check_flow(self, path: str) -> None:
        """Raise StepError for a flow that is missing or invalid."""
        assert self.host is not None
        self.host.check_flow(path)

    def run_step(self, written: dict[str, Any]) -> Any:
        """Run a step written in the options of this one; return its result, `Goto`, `Exit` or `Nothing`."""
        assert self.host is not None
        return self.host.run_step(self, written)

    def thread_pool(self, max_threads: int) -> StepThreadPool:
        """Return a thread pool for parallel work of the step."""
        from scflows.steps.thread_pool import StepThreadPool

        assert self.scope is not None
        return StepThreadPool(self.scope, max_threads)

    def release_messages(self) -> None:
        """Release the messages that a failed attempt received."""
        for acknowledgement in self.acknowledgements:
            acknowledgement.release()
        self.acknowledgements.clear()

    def conclude(self, reason: str, message: str) -> None:
        """Set reason and message of a successful run. The last call counts; calls in child flows are ignored."""
        if self.depth == 0:
            self.shared["conclusion"] = (reason, message)

    def sleep(self, seconds: float) -> None:
        """Wait; an interruption ends the wait early, in every thread."""
        if self.scope is not None:
            self.scope.sleep(seconds)
        else:
            import time

            time.sleep(seconds)

    @property
    def secrets(self) -> Secrets:
        """Return the secrets of the run, shared by its flows and threads so that none is fetched twice."""
        found: Secrets | None = self.shared.get("secrets")
        if found is None:
            from scflows.secrets.resolver import Secrets

            created = Secrets(self.settings, self.log.mask, self.log.warning, self.expressions.filter)
            found = self.shared.setdefault("secrets", created)
        return found

    def secret(self, name: str) -> Secret:
        """Return a secret, whose fields are masked from now on: `ctx.secret("portal")["token"]`.

        Raises StepError if it does not exist or cannot be fetched.
        """
        return self.secrets.find(name)

    def secret_fields(self, name: str | None) -> dict[str, str]:
        """Return the fields of a secret, none without a name. Raises StepError as `secret` does."""
        secret: Any = {} if name is None else self.secret(name)
        return {field: secret[field] for field in secret}

    def call_timeout(self, longest: float) -> float:
        """Return the seconds that a call may take: at most `longest`, and until the step is interrupted."""
        remaining = self.remaining()
        return longest if remaining is None else max(0.1, min(longest, remaining))

    def special_variables(self) -> dict[str, Any]:
        """Return the special variables of the data, such as `__input__`."""
        return {name: value for name, value in self.data.items() if name.startswith("__") and name.endswith("__")}

    def template_names(self, data_key: str) -> dict[str, Any]:
        """Return the names for a template file: the value of `data_key`, as `data`, its keys, the special variables."""
        value = self.peek(data_key)
        return {"data": value, **(value if isinstance(value, dict) else {}), **self.special_variables()}

    def masked(self, text: str) -> str:
        """Return a text with its secrets masked. Needed only before cutting it: logs, errors and results are masked."""
        return self.log.mask.text(text)

    def rendered(self, value: Any, secrets: bool = False) -> Any:
        """Return an option with its templates rendered; with `secrets` they may call `secret('name')`."""
        if not secrets or not _mentions_secret(value):
            return self.expressions.render_all(value, self.data)
        result = self.expressions.render_all(value, {**self.data, "secret": self.secret})
        if not isinstance(value, str):
            for text, written in _rendered_with_secret(result, value):
                # A filter may have changed the text of the secret, so the mask would not recognise it.
                if self.expressions.alters_secret(written):
                    self.secrets.remember(text)
        return result

    def value(self, data_key: str) -> Any:
        """Return a copy of the value of a top-level key of the data; `.` means all data.

        Raises StepError for an unknown key.
        """
        return json_copy(self.peek(data_key))

    def peek(self, data_key: str) -> Any:
        """Return the same without a copy; the caller must not change it."""
        if data_key == ".":
            return self.data
        try:
            return self.data[data_key]
        except KeyError:
            raise StepError(f"the data has no key {data_key!r}") from None

    def readable(self, path: str) -> str:
        """Return the absolute path of a file to read: in `DATA_PATH`, or with `flow:` in the folder of the flow file.

        Raises StepError for a path outside, or of settings, flows or templates.
        """
        if not path.startswith(BESIDE_FLOW):
            return self._in_data(path)
        full = inside(os.path.dirname(self.flow_file), path.removeprefix(BESIDE_FLOW))
        if is_below(full, (self.settings.secrets_path, self.settings.config_file, self.settings.env_file)):
            raise StepError(f"{path!r} is a settings file, which steps may not access")
        return full

    def writable(self, path: str, is_artifact: bool = True) -> str:
        """Return the absolute path of a file to write, inside `DATA_PATH`. Raises StepError.

        The file is an artifact of the run if the step writes it, unless `is_artifact` is false.
        """
        if path.startswith(BESIDE_FLOW):
            raise StepError(f"{path!r}: files in the flow's folder are read-only")
        full = self._in_data(path)
        if is_artifact:
            self.add_file(full)
        return full

    def _in_data(self, path: str) -> str:
        full = inside(self.settings.data_path, path)
        if is_below(full, self.settings.private_paths):
            raise StepError(f"{path!r} belongs to the settings, flows or templates, which steps may not access")
        return full


def _mentions_secret(value: Any) -> bool:
    if isinstance(value, str):
        return "secret" in value
    if isinstance(value, dict | list):
        return any(_mentions_secret(item) for item in (value.values() if isinstance(value, dict) else value))
    return False


def _rendered_with_secret(result: Any, written: Any) -> Iterator[tuple[str, str]]:
    """Yield the texts rendered from templates with a secret, each with its template."""
    if isinstance(written, str):
        if _mentions_secret(written) and result != written:
            yield result, written
    elif isinstance(written, dict | list):
        for key in written if isinstance(written, dict) else range(len(written)):
            yield from _rendered_with_secret(result[key], written[key])
