"""Starts a device's process, passes on what it says, gives what it answers; nothing of it outlives the step."""

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
#: What a device's process may take for its data, in MiB; a run for one device takes some 200.
MEMORY = 1024
#: The most that it may answer, in bytes.
MOST_ANSWER = 64 * 2**20


def call(
    work: str,
    given: dict[str, Any],
    settings: Settings,
    access: Access,
    tell: Callable[[str, str], None],
    *,
    is_dry: bool = False,
    memory: int = MEMORY,
    variables: Mapping[str, str] | None = None,
) -> Any:
    """What a function answers that is called in a process of its own, with `scdata` at hand.

    `work` names it, as `MODULE:FUNCTION`; it is given `given` and a `child.Child`, and answers with a JSON value.
    `tell` hears what the process says, as the name of a level and a line; it has to mask the token, which
    the process has in its environment. `memory` is in MiB, 0 for as much as there is; `variables` are added to the
    process's few. In a dry run no change gets through to the platform.

    Raises MissingExtra, StepError for a function that raised (the detail `exception` has the name) and for a
    process that was killed. However this is left, the process and all that it started are killed.
    """
    from importlib.util import find_spec

    from scflows import documents
    from scflows.connectors.process import run_program
    from scflows.integrations.smartcitizen.processing import child
    from scflows.integrations.smartcitizen.processing.folders import private_folder, variables_of
    from scflows.integrations.smartcitizen.processing.log_stream import Hearer

    if find_spec("scdata") is None or find_spec("smartcitizen_connector") is None:
        raise MissingExtra("scdata", EXTRA)
    hear = Hearer(tell)
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
        told = f"was killed by signal {-ended.code}" if ended.code < 0 else f"ended with exit status {ended.code}"
        hint = "; out of memory?" if ended.code == -9 else ""
        raise StepError(f"the device's process {told} before it answered{hint}")
    answer = documents.parse_json(documents.decode(ended.output, "the answer"), "the answer")
    if "error" in answer:
        raise StepError(answer["error"], exception=answer["exception"])
    return answer["result"]
