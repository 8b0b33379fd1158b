"""A flow and its steps: the checked content of one YAML file, plain data until it runs."""

from __future__ import annotations

from dataclasses import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Where a jump may lead besides a step's name.
RESERVED = ("__start__", "__end__", "__exit__")
#: How many steps a flow may execute before it is taken for an endless loop.
MAX_STEPS = 10000
#: A priority is from minus this to this.
MOST_PRIORITY = 100


@dataclass(frozen=True)
class StepSpec:
    """One step as written. Options are JSON values; templates in them are not rendered yet."""

    name: str
    type: str
    options: dict[str, Any]
    when: list[Any] = field(default_factory=list)  #: conditions; all must hold
    result_key: str = ""  #: the key in the data; the name unless written
    jq_expression: str | None = None
    jq_output: str | None = None  #: `list`, `first` or, as jq gives it, `auto`
    ignore_errors: list[str] = field(default_factory=list)  #: patterns
    on_error_goto: str | None = None
    timeout: float | None = None  #: seconds, for all attempts together
    retry: dict[str, Any] | None = None  #: as written, see `retry`
    needs: list[str] | None = None  #: names of the steps that must have ended before
    target: list[str] = field(default_factory=list)  #: templates of paths; while all are there, nothing is done
    sources: list[str] = field(default_factory=list)  #: templates of paths; a newer one has the step run again
    line: int = 0  #: in the flow file, from 1

    @property
    def key(self) -> str:
        return self.result_key or self.name


@dataclass(frozen=True)
class Flow:
    """What a flow file says."""

    path: str  #: as it was written, relative to the flows folder where it lies in it
    file: str  #: absolute, links resolved
    name: str
    steps: list[StepSpec]
    finally_step: str | None = None
    max_steps: int = MAX_STEPS
    max_parallel: int | None = None  #: how many steps of a graph go on side by side
    strict: bool = False  #: unknown names in templates and conditions are errors
    timeout: float | None = None  #: seconds
    priority: int = 0  #: of those that wait for their turn, the highest goes first
    mutex: list[str] = field(default_factory=list)  #: names; flows that share one never run at once
    schedule: dict[str, Any] | None = None  #: as written: `cron`, `every` or `every_seconds`, and the rest
    params: dict[str, Any] = field(default_factory=dict)  #: defaults, by name
    description: str = ""
    hooks: dict[str, str] = field(default_factory=dict)  #: paths of flows, by `on_failure` and the like
    ping: dict[str, str] = field(default_factory=dict)  #: addresses by `start`, `success`, `failure`; empty: none

    @property
    def overlap(self) -> str:
        """What becomes of a start while the flow runs: `skip`, `wait` or `cancel`."""
        return str((self.schedule or {}).get("overlap") or "skip")

    @property
    def is_graph(self) -> bool:
        """Whether `needs` gives the order, and not the file."""
        return any(step.needs is not None for step in self.steps)

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values, for the cache of checked flows."""
        values = dict(self.__dict__)
        values["steps"] = [dict(step.__dict__) for step in self.steps]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Flow:
        return cls(**{**values, "steps": [StepSpec(**step) for step in values["steps"]]})
