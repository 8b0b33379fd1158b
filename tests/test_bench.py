"""What is in bench/ says what it measures before it does."""

from __future__ import annotations

import ast
import runpy
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent.parent / "bench"
PROGRAMS = sorted(path for path in BENCH.glob("*.py") if path.name != "measure.py")


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_help_says_what_is_measured_and_measures_nothing(
    program: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    monkeypatch.setattr(sys, "argv", [str(program), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(program), run_name="__main__")
    assert ended.value.code == 0
    told = ast.get_docstring(ast.parse(program.read_text()))
    assert told is not None
    shown = capsys.readouterr().out
    assert told in shown
    assert shown.startswith(f"usage: {program.name}")
