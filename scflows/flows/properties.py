"""The properties of flows and steps: kinds and meaning, for the checks, the schema and whoever asks."""

from __future__ import annotations

from dataclasses import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


@dataclass(frozen=True)
class Property:
    """One property that a flow file may have at some place."""

    name: str
    kinds: tuple[str, ...]  #: some of KIND_WORDS; empty: any
    help: str
    required: bool = False
    default: Any = None
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    shape: Mapping[str, Any] = field(default_factory=dict)  #: what else a JSON Schema says of it


def _by_name(*properties: Property) -> dict[str, Property]:
    return {each.name: each for each in properties}


#: Time limits are more than nothing.
LEAST_SECONDS = 0.001
TEXTS = {"items": {"type": "string"}}
PATTERNS = {"items": {"type": ["string", "integer"]}}
#: The names of mutexes, which are names of files too.
MUTEX = "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
CONDITIONS = {"items": {"type": ["string", "boolean", "number", "null"]}}

SCHEDULE_PROPERTIES = _by_name(
    Property("cron", ("text",), "five fields, such as '5 4 * * *'"),
    Property("every", ("text",), "15m, 3h, 1d, 2w, @minute, @hourly, @daily or @weekly"),
    Property("every_seconds", ("integer",), "the same in seconds", minimum=1),
    Property("timezone", ("text",), "such as Europe/Madrid; else the system's"),
    Property(
        "catch_up",
        (),
        "what becomes of missed slots: none, last, all, or {all: AT_MOST}",
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
        "what a slot does that comes while the flow still runs",
        default="skip",
        choices=("skip", "wait", "cancel"),
    ),
    Property("start_within", ("text",), "how long after its slot a run is late, such as 10m; else as it usually is"),
    Property(
        "end_within", ("text",), "how long a run takes before it is too long, such as 2h; else as they usually do"
    ),
)
PARAM_PROPERTIES = _by_name(
    Property(
        "type",
        ("text",),
        "what it is converted to",
        default="text",
        choices=("text", "integer", "number", "boolean", "date", "datetime", "json"),
    ),
    Property("required", ("boolean",), "a run without it is refused", default=False),
    Property("default", (), "what it is unless given"),
    Property("choices", ("list",), "what it may be"),
    Property("min", (), "the least it may be"),
    Property("max", (), "the most it may be"),
    Property("help", ("text",), "what it is for"),
)
RETRY_PROPERTIES = _by_name(
    Property("attempts", ("integer",), "how often it is tried in all", default=3, minimum=1),
    Property("delay", ("number",), "seconds before the second attempt", default=1, minimum=0),
    Property("backoff", ("number",), "each wait is this many times the one before", default=2, minimum=1),
    Property("max_delay", ("number",), "the longest wait, in seconds", default=60, minimum=0),
    Property(
        "jitter", ("number",), "by which part a wait is spread at random", default=0, minimum=0, shape={"maximum": 1}
    ),
    Property(
        "on",
        ("text", "integer", "list"),
        "patterns searched in the error text; else connection errors, timeouts, 408, 425, 429 and 5xx",
        shape=PATTERNS,
    ),
)
STEP_PROPERTIES = _by_name(
    Property("name", ("text",), "for messages, jumps and as default key", required=True, shape={"minLength": 1}),
    Property("type", ("text",), "the step type; its options are in a block of that name", required=True),
    Property(
        "when",
        ("text", "boolean", "number", "list"),
        "a condition, or a list that must all hold, else the step is skipped: rows | length > 0",
        shape=CONDITIONS,
    ),
    Property(
        "result_key",
        ("text",),
        "the key its result is stored under; else its name",
        shape={"minLength": 1, "not": {"type": "string", "pattern": "^__.*__$"}},
    ),
    Property("jq_expression", ("text",), "a jq program that shapes the result before it is stored"),
    Property(
        "jq_output",
        ("text",),
        "one output as it is and several as a list (auto), always a list, or the first",
        default="auto",
        choices=("auto", "list", "first"),
    ),
    Property(
        "ignore_errors",
        ("text", "integer", "list"),
        "patterns searched in the error text; an error that one is found in does not matter",
        shape=PATTERNS,
    ),
    Property("on_error_goto", ("text",), "a step, __start__, __end__ or __exit__: where to go on after an error"),
    Property("timeout", ("number",), "seconds that all its attempts may take", minimum=LEAST_SECONDS),
    Property("retry", ("mapping",), "try again after errors that may pass"),
    Property(
        "needs", ("text", "list"), "the steps that must have ended before; the order no longer counts", shape=TEXTS
    ),
    Property(
        "target", ("text", "list"), "template; files in DATA_PATH: where all exist, the step is not run", shape=TEXTS
    ),
    Property("sources", ("text", "list"), "template; files in DATA_PATH: run again when one is newer", shape=TEXTS),
)
FLOW_PROPERTIES = _by_name(
    Property("name", ("text",), "else the file's name without its ending"),
    Property("description", ("text",), "what it does, in a line"),
    Property("schedule", ("mapping",), "when it runs: one of cron, every, every_seconds"),
    Property("params", ("mapping",), "what can be chosen for a run, by name"),
    Property("steps", ("list",), "what it does, in order", required=True),
    Property("finally_step", ("text",), "the step that runs last, whether the others succeed or fail"),
    Property("timeout", ("number",), "seconds that a run may take", minimum=LEAST_SECONDS),
    Property("timeout_seconds", ("number",), "the older name of timeout", minimum=LEAST_SECONDS),
    Property("max_steps", ("integer",), "steps executed before it is taken for endless", minimum=1, default=10000),
    Property("max_parallel", ("integer",), "steps side by side, where steps have needs", minimum=1),
    Property(
        "priority",
        ("integer",),
        "of the runs that wait for their turn, the highest goes first",
        default=0,
        minimum=-100,
        shape={"maximum": 100},
    ),
    Property(
        "mutex",
        ("text", "list"),
        "one or more names; flows that share one never run at once on a machine",
        shape={"pattern": MUTEX, "items": {"type": "string", "pattern": MUTEX}},
    ),
    Property("strict", ("boolean",), "unknown names in templates and conditions are errors", default=False),
    Property("on_failure", ("text",), "a flow that is run after a failure"),
    Property("on_success", ("text",), "a flow that is run after a success"),
    Property("on_recovery", ("text",), "a flow that is run after the first success since a failure"),
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
