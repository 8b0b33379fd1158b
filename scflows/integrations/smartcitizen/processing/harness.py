"""Run a function in a device's process: forward its log, return its result, and kill it with the step."""

from __future__ import annotations

import os
import sys

from scflows.errors import MissingExtra, StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from scflows.integrations.smartcitizen.access import Access
    from scflows.settings import Settings

EXTRA = "smartcitizen"
#: The memory limit for data, in MiB; a run for one device needs about 200.
MEMORY = 1024
#: The maximum size of the result, in bytes.
MOST_ANSWER = 64 * 2**20


def call(
    work: str,
    given: dict[str, Any],
    settings: Settings,
    access: Access,
    report: Callable[[str, str], None],
    *,
    is_dry: bool = False,
    memory: int = MEMORY,
    variables: Mapping[str, str] | None = None,
) -> Any:
    """Call a function in a separate process that can import `scdata`, and return its result.

    - `work`: the function, as `MODULE:FUNCTION`; it gets `given` and a `child.Child` and returns a JSON value
    - `report`: called with level and text of each log line; it must mask the token, which the process knows
    - `memory`: in MiB; 0 for no limit
    - `variables`: additional environment variables
    - `is_dry`: blocks all changes on the platform

    Raises MissingExtra, and StepError if the function raises (with the name in the detail `exception`) or the process
    is killed. The process and everything it has started never outlive the call.
    """
    from importlib.util import find_spec

    from scflows import documents
    from scflows.connectors.process import run_program
    from scflows.integrations.smartcitizen.processing import child
    from scflows.integrations.smartcitizen.processing.folders import private_folder, variables_of
    from scflows.integrations.smartcitizen.processing.log_stream import Hearer

    if find_spec("scdata") is None or find_spec("smartcitizen_connector") is None:
        raise MissingExtra("scdata", EXTRA)
    hear = Hearer(report)
    with private_folder(settings.state_path) as folder:
        request = {
            "work": work,
            "given": given,
            "access": {
                "api_url": access.api_url,
                "files_url": access.files_url,
                "hosts": sorted(access.hosts),
                "retry_seconds": access.retry_seconds,
            },
            "dry": is_dry,
            "verbose": settings.log_level == "DEBUG",
            "folder": folder,
            "files_folder": os.path.join(settings.state_path, "cache", "smartcitizen"),
            "memory_bytes": memory * 2**20,
        }
        around = {**variables_of(folder, access, settings.environment), **(variables or {})}

        def hear_stderr(stream: str, part: bytes) -> None:
            if stream == "stderr":
                hear(part)

        try:
            words = [sys.executable, "-P", child.__file__]
            ended = run_program(words, folder, around, documents.json_bytes(request), MOST_ANSWER, hear_stderr)
        except (OSError, ValueError) as error:
            raise StepError(f"the device's process cannot be started: {error}") from error
        finally:
            hear.close()
    if not ended.output:
        end = f"was killed by signal {-ended.code}" if ended.code < 0 else f"exited with status {ended.code}"
        hint = "; out of memory?" if ended.code == -9 else ""
        raise StepError(f"the device's process {end} before it returned a result{hint}")
    answer = documents.parse_json(documents.decode(ended.output, "the answer"), "the answer")
    if "error" in answer:
        raise StepError(answer["error"], exception=answer["exception"])
    return answer["result"]
