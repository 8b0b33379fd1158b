"""The exceptions that scflows raises on purpose, each with its exit code.

ScflowsError                 1
├── UsageError               2   wrong usage or an invalid setting
│   └── FlowError            2   an invalid flow file; lists every mistake
├── NotFound                 4   no such task, run or flow
├── Refused                  5   not permitted: a crontab, file or step type
├── Busy                     6   a lock is held, a name is taken, a block was changed by hand
├── Unreachable              7   an external service did not answer
└── StepError                1   a step failed
    ├── ChildFailed          1   a child flow failed
    └── MissingExtra         1   a library that the step needs is not installed
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


class ScflowsError(Exception):
    """The root. The message says what is wrong and where; `help` says what to do."""

    exit_code = 1
    code = "error"  #: a fixed identifier for programs, in `--json` and the API

    def __init__(self, message: str, help: str | None = None) -> None:
        super().__init__(message)
        self.help = help


class UsageError(ScflowsError):
    exit_code = 2
    code = "usage"


class Mistake:
    """One mistake in a flow file. Lines and columns count from 1; 0 means unknown."""

    __slots__ = ("column", "line", "message", "path", "severity")

    def __init__(self, path: str, message: str, line: int = 0, column: int = 0, severity: str = "error") -> None:
        self.path = path
        self.message = message
        self.line = line
        self.column = column
        self.severity = severity  #: an `error` makes the flow invalid, a `warning` does not

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}:{self.column}" if self.line else self.path
        return f"{place}: {self.severity}: {self.message}"


class FlowError(UsageError):
    """An invalid flow; `mistakes` lists everything that is wrong with it."""

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
    """A step failed; `details` are stored with the message in `__errors__`."""

    code = "step"
    retry_after: float | None = None  #: seconds to wait, as requested by the server that refused the call
    is_temporary = False  #: whether a later attempt may succeed; `retry` also recognises connection errors by class
    is_tried = False  #: whether all attempts of the step have been made
    reason = "error"  #: the reason in the record of a run that fails because of this
    output = ""  #: the last lines that a program of the step printed, for the record of the step

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.details = details


class ChildFailed(StepError):
    """A child flow failed; its data, `result`, is stored nevertheless."""

    def __init__(self, message: str, result: Any) -> None:
        super().__init__(message)
        self.result = result


class MissingExtra(StepError):
    """A library that the step needs is not installed."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"{library} is not installed: pip install 'scflows[{extra}]'")
