"""What scflows raises on purpose, each with its exit code.

ScflowsError                 1
├── UsageError               2   wrong usage, a setting that cannot be
│   └── FlowError            2   a flow file that is refused; lists every mistake
├── NotFound                 4   no such task, run, flow
├── Refused                  5   not permitted: crontab, file, step type
├── Busy                     6   a lock is held, a name is taken, a block was changed by hand
├── Unreachable              7   something outside did not answer
└── StepError                1   a step could not do its work
    ├── ChildFailed          1   a flow that the step ran failed
    └── MissingExtra         1   the library a step needs is not installed
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


class ScflowsError(Exception):
    """The root. `str()` says what is wrong and where, `help` says what to do."""

    exit_code = 1
    code = "error"  #: the word for programs: in `--json`, in the API

    def __init__(self, message: str, help: str | None = None) -> None:
        super().__init__(message)
        self.help = help


class UsageError(ScflowsError):
    exit_code = 2
    code = "usage"


class Mistake:
    """One mistake in a flow file. Lines and columns count from 1; 0 is unknown."""

    __slots__ = ("column", "line", "message", "path", "severity")

    def __init__(self, path: str, message: str, line: int = 0, column: int = 0, severity: str = "error") -> None:
        self.path = path
        self.message = message
        self.line = line
        self.column = column
        self.severity = severity  #: `error` refuses the flow, `warning` is only told

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}:{self.column}" if self.line else self.path
        return f"{place}: {self.severity}: {self.message}"


class FlowError(UsageError):
    """A flow that is refused; `mistakes` holds all that was found in it."""

    code = "flow"

    def __init__(self, mistakes: Iterable[Mistake], help: str | None = None) -> None:
        self.mistakes = list(mistakes)
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes), help)


class NotFound(ScflowsError):
    exit_code = 4
    code = "not-found"


class Refused(ScflowsError):
    exit_code = 5
    code = "refused"


class Busy(ScflowsError):
    exit_code = 6
    code = "busy"


class Unreachable(ScflowsError):
    exit_code = 7
    code = "unreachable"


class StepError(ScflowsError):
    """A step could not do its work; `details` are kept beside the message in `__errors__`."""

    code = "step"
    retry_after: float | None = None  #: seconds that whoever refused us asked to wait
    is_tried = False  #: whether it was tried as often as the step says
    reason = "error"  #: what the record of a run gives as its reason that fails for this

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.details = details


class ChildFailed(StepError):
    """A child flow failed; `result`, its data, is stored all the same."""

    def __init__(self, message: str, result: Any) -> None:
        super().__init__(message)
        self.result = result


class MissingExtra(StepError):
    """The library a step needs is not installed."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"{library} is not installed: pip install 'scflows[{extra}]'")
