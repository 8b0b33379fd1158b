"""What the tests of the language need besides a workspace."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an HTTP server, in a process of its own."""
    script = Path(__file__).parent.parent / "steps" / "http_server.py"
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    process.kill()
    process.communicate()
