"""A program that calls one function of a Python file.

`python python_call.py FILE FUNCTION DESCRIPTOR MAX_BYTES` reads the argument as JSON from stdin and writes one JSON
object to the file DESCRIPTOR: `{"result": …}` or `{"error": TEXT, "exception": NAME}`. stdout and stderr are the
function's.
"""

from __future__ import annotations

import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def main(path: str, name: str, result_descriptor: int, max_bytes: int) -> None:
    """Call the function and write its result."""
    os.set_inheritable(result_descriptor, False)
    # Under a pipe Python would keep the lines back until the end.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    argument = json.loads(sys.stdin.buffer.read())
    null_device = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null_device, 0)
    try:
        output = json.dumps({"result": _as_json(load_function(path, name)(argument))}, allow_nan=False)
        if len(output) > max_bytes:
            raise ValueError(f"more than {max_bytes} bytes of result")
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        import traceback

        # Skip the frame of this function.
        traceback.print_exception(type(error), error, error.__traceback__ and error.__traceback__.tb_next)
        message = traceback.format_exception_only(type(error), error)[-1].strip()
        output = json.dumps({"error": message, "exception": type(error).__name__})
    sys.stdout.flush()
    sys.stderr.flush()
    with os.fdopen(result_descriptor, "w", encoding="utf-8") as file:
        file.write(output)
    # Exit even if the function has left threads running.
    os._exit(0)


def load_function(path: str, name: str) -> Any:
    """Return a function of a Python file. Raises what the file raises, or AttributeError."""
    from importlib.util import module_from_spec, spec_from_file_location

    # The file can import modules from its own folder.
    sys.path.insert(0, os.path.dirname(path))
    sys.dont_write_bytecode = True
    spec = spec_from_file_location(os.path.basename(path).removesuffix(".py"), path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{os.path.basename(path)} is not a Python file")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    found = getattr(module, name, None)
    if not callable(found):
        raise AttributeError(f"function {name!r} not found")
    return found


def _as_json(value: Any) -> Any:
    """Return a value as JSON types: dates as ISO 8601 text, tuples, sets and arrays as lists."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(_as_json(key)): _as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_as_json(item) for item in value), key=str)
    if isinstance(value, bytes):
        return value.decode()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "tolist"):
        return _as_json(value.tolist())
    raise TypeError(f"a value of type {type(value).__name__!r} cannot be stored")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
