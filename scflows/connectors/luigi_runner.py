"""Run a Luigi task and report its events. Executed by the Python that has Luigi, which need not have scflows.

Reads `{module, task, params, scheduler, workers, mark}` as JSON from stdin. Each event is a line on stdout: the mark,
then JSON. Exit status: 0 done, 1 a task failed, 3 the task cannot be run.
"""

import importlib
import json
import os
import socket
import sys
from typing import Any
from urllib.parse import urlsplit

TIMEOUT = 10.0
#: How Luigi calls a run in which every task is done.
DONE = ("SUCCESS", "SUCCESS_WITH_RETRY")


def main() -> int:
    """Run the task."""
    given = json.load(sys.stdin)

    def send(event: str, **values: str) -> None:
        sys.stdout.write(given["mark"] + json.dumps({"event": event, **values}) + "\n")
        sys.stdout.flush()

    def refuse(message: str) -> int:
        send("refused", message=message)
        return 3

    sys.path.insert(0, os.getcwd())
    try:
        import luigi
        from luigi.task_register import Register, TaskClassException
    except ImportError as error:
        return refuse(f"{sys.executable} cannot import luigi: {error}")
    try:
        importlib.import_module(given["module"])
    except ImportError as error:
        return refuse(f"module {given['module']!r} cannot be imported: {error}")
    try:
        find: Any = Register.get_task_cls
        task = find(given["task"]).from_str_params(given["params"])
    except TaskClassException as error:
        return refuse(f"module {given['module']!r} has no task {given['task']!r}: {error}")
    except (luigi.parameter.ParameterException, ValueError) as error:
        return refuse(f"task {given['task']!r}: {error}")
    local = given["scheduler"] == "local"
    if not local and (problem := unreachable(given["scheduler"])):
        return refuse(f"the central scheduler at {given['scheduler']} does not answer ({problem}); start luigid")
    names = {
        luigi.Event.START: "start",
        luigi.Event.SUCCESS: "success",
        luigi.Event.FAILURE: "failure",
        luigi.Event.PROCESS_FAILURE: "failure",
        luigi.Event.BROKEN_TASK: "failure",
        luigi.Event.DEPENDENCY_MISSING: "missing",
    }
    for event, name in names.items():
        report(luigi, send, event, name)
    options = {} if local else {"scheduler_url": given["scheduler"]}
    build: Any = luigi.build
    result = build(
        [task], local_scheduler=local, workers=given["workers"], detailed_summary=True, no_lock=True, **options
    )
    send("end", status=result.status.name, message=result.one_line_summary)
    return 0 if result.status.name in DONE else 1


def report(luigi: Any, send: Any, event: str, name: str) -> None:
    """Report an event of any task."""

    def handle(task: Any, error: Any = "") -> None:
        send(name, task=str(task.task_id), title=str(task), message=" ".join(str(error).split())[:500])

    luigi.Task.event_handler(event)(handle)


def unreachable(url: str) -> str:
    """Return why nothing answers at the address of a scheduler; empty if something does."""
    try:
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname, parts.port or 8082), TIMEOUT):
            return ""
    except (OSError, ValueError) as error:
        return str(error)


if __name__ == "__main__":
    sys.exit(main())
