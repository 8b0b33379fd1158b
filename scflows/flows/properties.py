"""The properties of flows and steps: kinds and help texts, for validation, JSON Schema and documentation."""

from __future__ import annotations

from dataclasses import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


@dataclass(frozen=True)
class Property:
    """One property of a flow, a step or a nested mapping."""

    name: str
    kinds: tuple[str, ...]  #: keys of KIND_WORDS; empty: any
    help: str
    required: bool = False
    default: Any = None
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    shape: Mapping[str, Any] = field(default_factory=dict)  #: additional constraints for JSON Schema


def _by_name(*properties: Property) -> dict[str, Property]:
    return {each.name: each for each in properties}


#: The smallest time limit, since zero is not allowed.
LEAST_SECONDS = 0.001
TEXTS = {"items": {"type": "string"}}
STATUS = {
    "anyOf": [
        {"type": "integer", "minimum": 100, "maximum": 599},
        {"type": "string", "pattern": "^[1-5][xX][xX]$"},
    ]
}
#: The form {status: 404} of a pattern.
STATUS_PATTERN = {
    "properties": {"status": {"anyOf": [*STATUS["anyOf"], {"type": "array", "items": STATUS, "minItems": 1}]}},
    "required": ["status"],
    "additionalProperties": False,
}
PATTERNS = {**STATUS_PATTERN, "items": {"type": ["string", "integer", "object"], **STATUS_PATTERN}}
#: The names of mutexes, which are also file names.
MUTEX = "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
CONDITIONS = {"items": {"type": ["string", "boolean", "number", "null"]}}

SCHEDULE_PROPERTIES = _by_name(
    Property("cron", ("text",), "five fields, for example '5 4 * * *'"),
    Property("every", ("text",), "15m, 3h, 1d, 2w, @minute, @hourly, @daily or @weekly"),
    Property("every_seconds", ("integer",), "the same in seconds", minimum=1),
    Property("timezone", ("text",), "for example Europe/Madrid (default: the system's time zone)"),
    Property(
        "catch_up",
        (),
        "which missed slots to run later: none, last, all, or {all: MAXIMUM}",
        default="none",
        shape={
            "anyOf": [
                {"enum": ["none", "last", "all", None]},
                {
                    "type": "object",
                    "properties": {"all": {"type": "integer", "minimum": 1, "maximum": 10000}},
                    "required": ["all"],
                    "additionalProperties": False,
                },
            ]
        },
    ),
    Property(
        "overlap",
        ("text",),
        "what to do if the flow is still running when the next slot is due",
        default="skip",
        choices=("skip", "wait", "cancel"),
    ),
    Property(
        "start_within",
        ("text",),
        "alert if a run starts more than this long after its slot, for example 10m (default: based on past runs)",
    ),
    Property(
        "end_within", ("text",), "alert if a run takes longer than this, for example 2h (default: based on past runs)"
    ),
)
PARAM_PROPERTIES = _by_name(
    Property(
        "type",
        ("text",),
        "the type that values are converted to",
        default="text",
        choices=("text", "integer", "number", "boolean", "date", "datetime", "json"),
    ),
    Property("required", ("boolean",), "whether a run needs it", default=False),
    Property("default", (), "the default value"),
    Property("choices", ("list",), "the allowed values"),
    Property("min", (), "the smallest allowed value"),
    Property("max", (), "the largest allowed value"),
    Property("help", ("text",), "what the parameter is for"),
)
RETRY_PROPERTIES = _by_name(
    Property("attempts", ("integer",), "total number of attempts", default=3, minimum=1),
    Property("delay", ("duration",), "seconds before the second attempt", default=1, minimum=0),
    Property("backoff", ("number",), "factor between one delay and the next", default=2, minimum=1),
    Property("max_delay", ("duration",), "longest delay, in seconds", default=60, minimum=0),
    Property(
        "jitter", ("number",), "random variation of delays, as a fraction", default=0, minimum=0, shape={"maximum": 1}
    ),
    Property(
        "on",
        ("text", "integer", "mapping", "list"),
        "regular expressions searched in the error, or {status: 503}"
        " (default: connection errors, timeouts, 408, 425, 429 and 5xx)",
        shape=PATTERNS,
    ),
)
STEP_PROPERTIES = _by_name(
    Property(
        "name",
        ("text",),
        "the name for messages and jumps, and the default result_key",
        required=True,
        shape={"minLength": 1},
    ),
    Property("type", ("text",), "the step type; its options are in a mapping of that name", required=True),
    Property(
        "when",
        ("text", "boolean", "number", "list"),
        "a condition, or a list that must all be true; otherwise the step is skipped: rows | length > 0",
        shape=CONDITIONS,
    ),
    Property(
        "result_key",
        ("text",),
        "the key of the result in the data (default: the name)",
        shape={"minLength": 1, "not": {"type": "string", "pattern": "^__.*__$"}},
    ),
    Property("jq_expression", ("text",), "a jq program that transforms the result before it is stored"),
    Property(
        "jq_output",
        ("text",),
        "auto: a list only for several outputs; list: always a list; first: the first output",
        default="auto",
        choices=("auto", "list", "first"),
    ),
    Property(
        "ignore_errors",
        ("text", "integer", "mapping", "list"),
        "regular expressions searched in the error, or {status: 404}; matching errors are ignored",
        shape=PATTERNS,
    ),
    Property("on_error_goto", ("text",), "where to continue after an error: a step, __start__, __end__ or __exit__"),
    Property("timeout", ("duration",), "seconds that all attempts together may take", minimum=LEAST_SECONDS),
    Property("retry", ("mapping",), "try again after temporary errors"),
    Property(
        "needs", ("text", "list"), "the steps that must end first; the order in the file no longer counts", shape=TEXTS
    ),
    Property(
        "target", ("text", "list"), "template; files in DATA_PATH; if all exist, the step is skipped", shape=TEXTS
    ),
    Property(
        "sources",
        ("text", "list"),
        "template; files in DATA_PATH; if one is newer than the target, the step runs again",
        shape=TEXTS,
    ),
)
#: The properties of a step inside the options of another step.
INNER_PROPERTIES = ("name", "type", "jq_expression", "jq_output")
FLOW_PROPERTIES = _by_name(
    Property("name", ("text",), "default: the file name without extension"),
    Property("description", ("text",), "what the flow does, in one line"),
    Property("schedule", ("mapping",), "when it runs: one of cron, every, every_seconds"),
    Property("params", ("mapping",), "the parameters of a run, by name"),
    Property("steps", ("list",), "the steps, in order", required=True),
    Property("finally_step", ("text",), "the step that runs last, whether the others succeed or fail"),
    Property("timeout", ("duration",), "seconds that a run may take", minimum=LEAST_SECONDS),
    Property("timeout_seconds", ("duration",), "the older name of timeout", minimum=LEAST_SECONDS),
    Property(
        "max_steps", ("integer",), "maximum number of executed steps, to stop endless loops", minimum=1, default=10000
    ),
    Property("max_parallel", ("integer",), "maximum number of parallel steps, in a flow with needs", minimum=1),
    Property(
        "priority",
        ("integer",),
        "queued runs with the highest priority start first",
        default=0,
        minimum=-100,
        shape={"maximum": 100},
    ),
    Property(
        "mutex",
        ("text", "list"),
        "one or more names; flows that share one never run at the same time on a machine",
        shape={"pattern": MUTEX, "items": {"type": "string", "pattern": MUTEX}},
    ),
    Property(
        "max_active_runs",
        ("integer",),
        "how many runs of the flow may be active at the same time",
        default=1,
        minimum=1,
    ),
    Property("strict", ("boolean",), "unknown names in templates and conditions are errors", default=False),
    Property(
        "env",
        ("mapping",),
        "template; variables of the programs that steps start, which `env` of a step adds to",
        shape={"additionalProperties": {"type": ["string", "number", "boolean", "null"]}},
    ),
    Property("on_failure", ("text",), "a flow to run after a failure"),
    Property("on_success", ("text",), "a flow to run after a success"),
    Property("on_recovery", ("text",), "a flow to run after the first success since a failure"),
    Property(
        "ping",
        ("mapping",),
        "addresses to call when a run starts, succeeds, fails",
        shape={
            "properties": {name: {"type": ["string", "null"]} for name in ("start", "success", "failure")},
            "additionalProperties": False,
        },
    ),
    Property("cron", ("text",), "the older form of schedule: {cron: …}"),
    Property("every_seconds", ("integer",), "the older form of schedule: {every_seconds: …}", minimum=1),
)
