"""What a running step may see and ask for: the run's data, secrets, files, other flows, its time."""

from __future__ import annotations

import os
from dataclasses import dataclass

from scflows.errors import StepError
from scflows.steps.values import json_copy
from scflows.storage import inside, is_below

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Protocol

    from scflows.expressions import Expressions
    from scflows.history.task_log import TaskLog
    from scflows.secrets.resolver import Secrets
    from scflows.secrets.secret import Secret
    from scflows.settings import Settings
    from scflows.steps.cancellation import CancelScope
    from scflows.steps.thread_pool import StepThreadPool

    class Host(Protocol):
        """Who runs a step, and for it other steps and flows."""

        def run_flow(
            self, ctx: Context, path: str, given: Any, loop_index: int | None, line: CancelScope
        ) -> ChildEnd: ...

        def run_step(self, ctx: Context, written: dict[str, Any]) -> Any: ...

        def check_flow(self, path: str) -> None: ...


#: What stands before a path that is read beside the flow file.
BESIDE_FLOW = "flow:"


@dataclass(frozen=True)
class Promise:
    """What a step owes to whoever gave it something: to say that it is kept, or not to."""

    keep: Callable[[], None]  #: called once the step's result is stored
    drop: Callable[[], None]  #: called where it is not


@dataclass(frozen=True)
class ChildEnd:
    """How a child flow ended."""

    status: str  #: `success`, `exit` or `failed`
    message: str
    data: dict[str, Any]  #: all of its data, with `__status__`
    errors: list[dict[str, Any]]  #: its errors, for the parent's own list


def once(call: Callable[[], Any]) -> Any:
    """What a call gives."""
    return call()


class Context:
    """All that a running step may see."""

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
        self.data = data  #: the run's data; read it, never change it
        self.expressions = expressions  #: templates and jq
        self.log = log
        self.flow_file = flow_file  #: absolute
        self.dry_run = dry_run
        self.jq_output: str | None = None  #: the step's own property of that name
        self.remaining = remaining  #: seconds until the step is interrupted; None without a limit
        self.line: CancelScope | None = None  #: the thread that runs the step, and what bounds it
        self.host: Host | None = None  #: who runs the step
        self.depth = 0  #: how many flows stand around this one
        self.kept: dict[str, Any] = {}  #: what all contexts of a run share
        #: Gives what a call gives, tried as the step's `retry` says: for a part of the work that stands alone.
        self.tried: Callable[[Callable[[], Any]], Any] = once
        self.errors: list[dict[str, Any]] = []  #: those of child flows; they are listed before the step's own
        self.promises: list[Promise] = []  #: what the step has to do once its result is stored

    def branch(self, data: dict[str, Any], line: CancelScope) -> Context:
        """The same for another thread, with data of its own."""
        ctx = Context(
            self.settings, data, self.expressions, self.log.branch(), self.flow_file, self.dry_run, line.remaining
        )
        ctx.line, ctx.host, ctx.depth, ctx.kept = line, self.host, self.depth, self.kept
        return ctx

    def run_flow(
        self, path: str, given: Any, loop_index: int | None = None, line: CancelScope | None = None
    ) -> ChildEnd:
        """Run a flow of the flows folder as a part of this run; `given` becomes its `__input__`.

        `line` is that of the thread, where it is not the step's own. Raises StepError for a flow that is missing
        or refused; how it ends otherwise is in what comes back. Its errors are not listed yet: see `errors`.
        """
        assert self.host is not None
        here = line or self.line
        assert here is not None
        return self.host.run_flow(self, path, given, loop_index, here)

    def check_flow(self, path: str) -> None:
        """Raises StepError for a flow that is missing or refused."""
        assert self.host is not None
        self.host.check_flow(path)

    def run_step(self, written: dict[str, Any]) -> Any:
        """Run a step as written in this one's options: its result, `Goto`, `Exit` or `Nothing`."""
        assert self.host is not None
        return self.host.run_step(self, written)

    def crew(self, most: int) -> StepThreadPool:
        """Threads for what the step does side by side."""
        from scflows.steps.thread_pool import StepThreadPool

        assert self.line is not None
        return StepThreadPool(self.line, most)

    def break_promises(self) -> None:
        """Give back what an attempt took that failed."""
        for promise in self.promises:
            promise.drop()
        self.promises.clear()

    def conclude(self, reason: str, message: str) -> None:
        """What the run's record shall say should it end well; the last word counts, and none of a child flow's."""
        if self.depth == 0:
            self.kept["conclusion"] = (reason, message)

    def sleep(self, seconds: float) -> None:
        """Wait; an interruption cuts it short, in every thread."""
        if self.line is not None:
            self.line.sleep(seconds)
        else:
            import time

            time.sleep(seconds)

    @property
    def secrets(self) -> Secrets:
        """All secrets of the run; its flows and threads have them together, so that none is fetched twice."""
        found: Secrets | None = self.kept.get("secrets")
        if found is None:
            from scflows.secrets.resolver import Secrets

            made = Secrets(self.settings, self.log.mask, self.log.warning, self.expressions.filter)
            found = self.kept.setdefault("secrets", made)
        return found

    def secret(self, name: str) -> Secret:
        """A secret's fields: `ctx.secret("portal")["token"]`. From here on they are masked wherever they appear.

        Raises StepError when there is none of that name, or it cannot be fetched.
        """
        return self.secrets.find(name)

    def masked(self, text: str) -> str:
        """The text without secrets. Needed only before it is cut: logs, errors and results are masked anyway."""
        return self.log.mask.text(text)

    def rendered(self, value: Any, secrets: bool = False) -> Any:
        """An option with its templates filled in; with `secrets` they may call `secret('name')`."""
        if not secrets or not _mentions_secret(value):
            return self.expressions.render_all(value, self.data)
        made = self.expressions.render_all(value, {**self.data, "secret": self.secret})
        if not isinstance(value, str):
            for text, written in _changed_texts(made, value):
                # A filter may have turned the secret into something that is as secret and looks different.
                if self.expressions.alters_secret(written):
                    self.secrets.remember(text)
        return made

    def value(self, data_key: str) -> Any:
        """A copy of what the data holds under a top-level key; `.` is all of it.

        Raises StepError for a key that is not there.
        """
        return json_copy(self.look(data_key))

    def look(self, data_key: str) -> Any:
        """The same without the copy, for who only reads."""
        if data_key == ".":
            return self.data
        try:
            return self.data[data_key]
        except KeyError:
            raise StepError(f"the data has no key {data_key!r}") from None

    def readable(self, path: str) -> str:
        """The absolute path of a file that a step may read: in `DATA_PATH`, or `flow:` beside the flow file.

        Raises StepError when it leads out, or to the settings, flows or templates.
        """
        if not path.startswith(BESIDE_FLOW):
            return self._own(path)
        full = inside(os.path.dirname(self.flow_file), path.removeprefix(BESIDE_FLOW))
        if is_below(full, (self.settings.secrets_path, self.settings.config_file, self.settings.env_file)):
            raise StepError(f"{path!r} is a settings file, which steps cannot access")
        return full

    def writable(self, path: str) -> str:
        """The absolute path of a file that a step may write: inside `DATA_PATH`. Raises StepError."""
        if path.startswith(BESIDE_FLOW):
            raise StepError(f"{path!r}: what lies beside a flow file is only read, never written")
        return self._own(path)

    def _own(self, path: str) -> str:
        full = inside(self.settings.data_path, path)
        if is_below(full, self.settings.private_paths):
            raise StepError(f"{path!r} belongs to the settings, flows or templates, which no step may touch")
        return full


def _mentions_secret(value: Any) -> bool:
    if isinstance(value, str):
        return "secret" in value
    if isinstance(value, dict | list):
        return any(_mentions_secret(item) for item in (value.values() if isinstance(value, dict) else value))
    return False


def _changed_texts(made: Any, written: Any) -> Iterator[tuple[str, str]]:
    """The texts that templates with a secret have made, each with its template."""
    if isinstance(written, str):
        if _mentions_secret(written) and made != written:
            yield made, written
    elif isinstance(written, dict | list):
        for key in written if isinstance(written, dict) else range(len(written)):
            yield from _changed_texts(made[key], written[key])
