"""A flow and its steps: the validated content of one YAML file."""

from __future__ import annotations

from dataclasses import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: The targets of jumps besides step names.
RESERVED = ("__start__", "__end__", "__exit__")
#: The default limit of executed steps, which stops endless loops.
MAX_STEPS = 10000
#: The maximum priority; the minimum is its negative.
MOST_PRIORITY = 100


@dataclass(frozen=True)
class StepSpec:
    """One step as written. Options are JSON values whose templates are not rendered yet."""

    name: str
    type: str
    options: dict[str, Any]
    when: list[Any] = field(default_factory=list)  #: conditions; all must be true
    result_key: str = ""  #: the key in the data (default: the name)
    jq_expression: str | None = None
    jq_output: str | None = None  #: `list`, `first` or `auto`
    ignore_errors: list[Any] = field(default_factory=list)  #: patterns
    on_error_goto: str | None = None
    timeout: float | None = None  #: seconds, for all attempts together
    retry: dict[str, Any] | None = None  #: as written, see `retry`
    needs: list[str] | None = None  #: names of the steps that must end first
    target: list[str] = field(default_factory=list)  #: templates of paths; if all exist, the step is skipped
    sources: list[str] = field(default_factory=list)  #: templates of paths; if one is newer, the step runs again
    line: int = 0  #: in the flow file, from 1

    @property
    def key(self) -> str:
        """Return the key of its result in the data."""
        return self.result_key or self.name


@dataclass(frozen=True)
class Flow:
    """The content of a flow file."""

    path: str  #: as written; relative to the flows folder if it is inside
    file: str  #: absolute, with links resolved
    name: str
    steps: list[StepSpec]
    finally_step: str | None = None
    max_steps: int = MAX_STEPS
    max_parallel: int | None = None  #: how many steps of a graph run in parallel
    strict: bool = False  #: unknown names in templates and conditions are errors
    timeout: float | None = None  #: seconds
    priority: int = 0  #: queued runs with the highest priority start first
    mutex: list[str] = field(default_factory=list)  #: names; flows that share one never run at the same time
    max_active_runs: int = 1  #: how many of its runs may be active at the same time
    uses_run_folder: bool = False  #: whether the file mentions `__run_folder__`
    schedule: dict[str, Any] | None = None  #: as written
    params: dict[str, Any] = field(default_factory=dict)  #: declarations, by name
    description: str = ""
    env: dict[str, Any] = field(default_factory=dict)  #: variables of all programs, templates
    hooks: dict[str, str] = field(default_factory=dict)  #: paths of flows, by `on_failure` and the like
    ping: dict[str, str] = field(default_factory=dict)  #: addresses by `start`, `success`, `failure`; empty: none
    is_folder: bool = False  #: its steps are the jobs of a working folder; one that fails does not stop the others

    @property
    def overlap(self) -> str:
        """Return what happens to a run that is due while the flow is running: `skip`, `wait` or `cancel`."""
        return str((self.schedule or {}).get("overlap") or "skip")

    @property
    def is_graph(self) -> bool:
        """Return True if the order is given by `needs` instead of the file."""
        return any(step.needs is not None for step in self.steps)

    def to_dict(self) -> dict[str, Any]:
        """Return the flow as JSON values, for the cache."""
        values = dict(self.__dict__)
        values["steps"] = [dict(step.__dict__) for step in self.steps]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Flow:
        """Return the flow of JSON values from the cache."""
        return cls(**{**values, "steps": [StepSpec(**step) for step in values["steps"]]})
