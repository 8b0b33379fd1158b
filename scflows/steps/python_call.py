"""Run as a program of its own: calls one function of one file with a JSON value, and answers with another.

`python function_call.py FILE FUNCTION` reads the value from stdin. Its answer goes to stdout, as one JSON object:
`{"result": …}` or `{"error": TEXT, "exception": NAME}`; what the function prints goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def main(path: str, name: str) -> None:
    """Call the function, and answer."""
    answer_to = os.dup(1)
    os.dup2(2, 1)
    given = json.loads(sys.stdin.buffer.read())
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    try:
        answer = json.dumps({"result": _plain(_function(path, name)(given))}, allow_nan=False)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        import traceback

        # Ours is the first frame, which helps nobody.
        traceback.print_exception(type(error), error, error.__traceback__ and error.__traceback__.tb_next)
        told = traceback.format_exception_only(type(error), error)[-1].strip()
        answer = json.dumps({"error": told, "exception": type(error).__name__})
    sys.stdout.flush()
    sys.stderr.flush()
    with os.fdopen(answer_to, "w", encoding="utf-8") as file:
        file.write(answer)
    # Threads that the function left behind do not keep it.
    os._exit(0)


def _function(path: str, name: str) -> Any:
    from importlib.util import module_from_spec, spec_from_file_location

    # What lies beside the file can be imported from it.
    sys.path.insert(0, os.path.dirname(path))
    sys.dont_write_bytecode = True
    spec = spec_from_file_location(os.path.basename(path).removesuffix(".py"), path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{os.path.basename(path)} is no Python file")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    found = getattr(module, name, None)
    if not callable(found):
        raise AttributeError(f"it has no function {name!r}")
    return found


def _plain(value: Any) -> Any:
    """The value as JSON has it: dates as ISO 8601 text, tuples, sets and arrays as lists."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(_plain(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_plain(item) for item in value), key=str)
    if isinstance(value, bytes):
        return value.decode()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    raise TypeError(f"a value of the kind {type(value).__name__!r} cannot be stored")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
