"""The program of a device's process, `python child.py`.

It reads a request from stdin, one JSON object (see `harness`), and writes one JSON object to stdout: `{"result": …}` or
`{"error": TEXT, "exception": NAME}`. All other output goes to stderr, which is the task's log.
"""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scflows.integrations.smartcitizen.access import Access
    from scflows.integrations.smartcitizen.processing.http_gate import Door
    from scflows.integrations.smartcitizen.processing.log_stream import Voice
    from scflows.integrations.smartcitizen.processing.shared_files import SharedFiles

#: Seconds between two attempts of the connector, for those that do not go through the door.
LONGEST_PAUSE = 10.0


@dataclass
class Child:
    """The environment of the work on a device, a parameter of functions such as `process(given, child)`."""

    access: Access
    folder: str
    is_dry: bool
    is_verbose: bool
    files: SharedFiles
    door: Door
    voice: Voice | None = None
    _scdata: Any = None

    def scdata(self) -> Any:
        """Import and return `scdata`, without requests, shared files or output of its own.

        Raises ScflowsError and ValueError if the files it needs cannot be fetched, ImportError.
        """
        if self._scdata is not None:
            return self._scdata
        from scflows.integrations.smartcitizen.processing.folders import furnish
        from scflows.integrations.smartcitizen.processing.log_stream import take_over

        furnish(self.folder, self.access.files_url, self.files.read)
        self.door.install()
        with redirect_stdout(io.StringIO()):
            import scdata
            from smartcitizen_connector._config import config
        self.voice = take_over(self.is_verbose)
        if not scdata.config.names.get("SCDevice") or not getattr(scdata.config, "calibrations", None):
            raise ValueError("scdata has no names of sensors or no calibrations")
        # The gate does its own retries; the readings do not go through it.
        config._retry_interval = max(0.01, min(LONGEST_PAUSE, self.access.retry_seconds / 9))
        self._scdata = scdata
        return scdata


def main() -> None:
    """Handle the request on stdin."""
    answer_to = os.dup(1)
    os.dup2(2, 1)
    request = json.loads(sys.stdin.buffer.read())
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    _limit_memory(request["memory_bytes"])
    # Needed if scflows runs from a checkout.
    root = _up(os.path.abspath(__file__), 5)
    if root not in sys.path:
        sys.path.append(root)
    try:
        answer = {"result": _work(request)}
    except MemoryError:
        answer = {"error": "out of memory", "exception": "MemoryError"}
    except Exception as error:
        from traceback import format_exc

        from scflows.integrations.smartcitizen.processing.log_stream import DEBUG, say

        say(format_exc(), DEBUG)
        answer = {"error": f"{type(error).__name__}: {error}", "exception": type(error).__name__}
    sys.stdout.flush()
    with os.fdopen(answer_to, "w", encoding="utf-8") as file:
        json.dump(answer, file, allow_nan=False)
    # Exit even if a library has left threads running.
    os._exit(0)


def _up(path: str, levels: int) -> str:
    for _ in range(levels):
        path = os.path.dirname(path)
    return path


def _work(request: dict[str, Any]) -> Any:
    from importlib import import_module

    from scflows.integrations.smartcitizen.access import Access
    from scflows.integrations.smartcitizen.processing.http_gate import Door
    from scflows.integrations.smartcitizen.processing.log_stream import WARNING, say
    from scflows.integrations.smartcitizen.processing.shared_files import SharedFiles

    values = {**request["access"], "hosts": frozenset(request["access"]["hosts"])}
    access = Access(**values, token=os.environ.get("SC_BEARER", ""))
    files = SharedFiles(request["files_folder"], access, lambda text: say(text, WARNING))
    door = Door(access, files, request["dry"])
    child = Child(access, request["folder"], request["dry"], request["verbose"], files, door)
    module, _, name = request["work"].partition(":")
    return getattr(import_module(module), name)(request["given"], child)


def _limit_memory(count: int) -> None:
    """Limit the memory for data; libraries and mapped files do not count (setrlimit(2))."""
    import resource

    if count:
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        limit = count if most == resource.RLIM_INFINITY else min(count, most)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, most))


if __name__ == "__main__":
    main()
