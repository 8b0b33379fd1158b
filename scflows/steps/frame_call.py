"""A program that calls a function of a Python file with tables as pandas DataFrames.

`python frame_call.py FILE FUNCTION TARGET SOURCE…` reads each source, CSV or Excel by its ending, calls the function
with one argument for each, and writes the DataFrame that it returns to the target.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

EXCEL = (".xlsx", ".xlsm")


def main(file: str, name: str, target: str, *sources: str) -> int:
    """Call the function; return the exit status."""
    from traceback import format_exception_only, print_exc

    sys.dont_write_bytecode = True
    try:
        result = find_function(file, name)(*(read(source) for source in sources))
        write(result, target)
    except Exception as error:
        print_exc()
        # The last line becomes the message of the error.
        sys.stderr.write(" ".join(format_exception_only(error)[-1].split()) + "\n")
        return 1
    return 0


def find_function(file: str, name: str) -> Any:
    """Return the function of a file, which can import modules from its own folder."""
    import os

    from scflows.steps.python_call import load_function

    return load_function(os.path.abspath(file), name)


def read(path: str) -> Any:
    """Return a table with numbers as numbers and blank cells as missing values; integers stay integers."""
    import pandas

    if path.lower().endswith(EXCEL):
        return pandas.read_excel(path, engine=excel_reader(), dtype_backend="numpy_nullable")
    return pandas.read_csv(
        path, dtype_backend="numpy_nullable", keep_default_na=False, na_values=[""], float_precision="round_trip"
    )


def write(table: Any, path: str) -> None:
    """Write a table without a column of row numbers. Raises TypeError if it is not a table."""
    if not hasattr(table, "to_csv") or not hasattr(table, "columns"):
        raise TypeError(f"the function must return a DataFrame, not {type(table).__name__}")
    if path.lower().endswith(EXCEL):
        table.to_excel(path, index=False)
    else:
        table.to_csv(path, index=False)


def excel_reader() -> Any:
    """Return the fastest engine that is installed."""
    from importlib.util import find_spec

    return "calamine" if find_spec("python_calamine") else "openpyxl"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
