"""A working folder, and its commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

#: Copies a file; the words after it are the source and the target.
COPY = 'script: [sh, -c, "cat \\"$1\\" > \\"$2\\"", sh]'
CHAIN = f"""
jobs:
  - {{name: first, source: source, target: middle, {COPY}}}
  - {{name: second, source: middle, target: last, {COPY}}}
"""


@dataclass
class WorkingFolder:
    """A working folder of the test's own."""

    path: Path
    flows: Callable[..., Any]

    def write(self, config: str, **files: str) -> None:
        """Write `config.yml`, and source files by name."""
        (self.path / "config.yml").write_text(dedent(config), encoding="utf-8")
        for name, content in files.items():
            self.put(f"source/{name}", content)

    def put(self, path: str, content: str = "x") -> Path:
        file = self.path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
        return file

    def run(self, *options: str, code: int = 0, **variables: str) -> Any:
        answer = self.flows("folders", "run", str(self.path), *options, "--json", **variables)
        assert answer.code == code, answer.out + answer.err
        return json.loads(answer.out) if answer.out else answer.err

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Return the jobs with their files, by name."""
        answer = self.flows("folders", "status", str(self.path), "--json")
        assert answer.code == 0, answer.err
        jobs = json.loads(answer.out)["jobs"]
        return {job["name"]: {**job, "files": {each["file"]: each for each in job["files"]}} for job in jobs}

    def statuses(self, job: str) -> dict[str, str]:
        return {name: each["status"] for name, each in self.jobs()[job]["files"].items()}

    def made(self, folder: str) -> list[str]:
        """Return the names in a folder, hidden ones too."""
        path = self.path / folder
        return sorted(each.name for each in path.iterdir()) if path.exists() else []

    def changes(self) -> dict[str, tuple[int, int]]:
        """Return what a change of any file or folder would alter."""
        found = [self.path, *self.path.rglob("*")]
        return {str(each): (each.lstat().st_mtime_ns, each.lstat().st_ino) for each in found}


@pytest.fixture
def work(tmp_path: Path, flows: Callable[..., Any]) -> WorkingFolder:
    folder = tmp_path / "my work"
    (folder / "source").mkdir(parents=True)
    return WorkingFolder(folder, flows)
