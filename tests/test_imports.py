"""Heavy libraries stay out of cron's path: by name, not by the clock."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import scflows

HEAVY = (
    "pandas numpy sqlalchemy pyarrow openpyxl xlsxwriter python_calamine celery flask requests urllib3 jinja2 rich "
    "crontab jq scdata pydantic typer filelock cronsim yaml"
)
#: What a start by cron does not need either, and what costs as much as bare Python.
DEAR = "logging subprocess pathlib inspect.signature importlib.metadata asyncio email http"
ROOT = Path(scflows.__file__).parent
#: Modules that may load the library they are about.
FREE = {"scflows.__main__"}


def modules() -> list[str]:
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name not in FREE and "shipped" not in parts:
            found.append(name)
    return found


def loaded_by(code: str, heavy: str, **options) -> list[str]:
    program = f"{code}\nimport sys, json; print(json.dumps([n for n in {heavy.split()!r} if n in sys.modules]))"
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_no_module_loads_a_heavy_library() -> None:
    imports = "\n".join(f"import {name}" for name in modules() if not name.startswith("scflows.cli."))
    assert loaded_by(imports, HEAVY) == []


def test_the_commands_load_typer_alone() -> None:
    imports = "\n".join(f"import {name}" for name in modules() if name.startswith("scflows.cli."))
    assert loaded_by(imports, HEAVY) == ["typer"]


@pytest.mark.parametrize("again", [False, True], ids=["first", "kept"])
def test_a_start_by_cron_loads_no_heavy_library(workspace, environment, flows, again) -> None:
    flow = workspace / "tasks" / "one.yml"
    flow.write_text("steps: [{name: s, type: file, file: {path: o.json, mode: write, type: json, data_key: .}}]\n")
    answer = flows("manual-schedule", "one.yml", "--every", "@minute", CRONTAB_PROGRAM="none")
    assert answer.code == 0, answer.err
    if again:
        # A flow that was changed just now is not kept as checked yet.
        import os

        os.utime(flow, (time.time() - 60,) * 2)
        time.sleep(max(0.0, flow.stat().st_ctime + 2.1 - time.time()))
        assert flows("run", "one.yml").code == 0
    code = f"""
import sys
sys.argv = ["flows", "run", {str(flow)!r}, "--task", "one", "--slot", "1790000000"]
from scflows.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""
    heavy = HEAVY if again else HEAVY.replace(" yaml", "").replace(" jq", "").replace(" jinja2", "")
    assert loaded_by(code, f"{heavy} {DEAR}", cwd=workspace, env=environment) == []
