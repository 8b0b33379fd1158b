"""Fixtures: a stand-in for the program `crontab`, and time zones."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from scflows.cron.crontab.install import Crontab, find_crontab


@dataclass
class FakeCrontab:
    """The stand-in and what it holds."""

    folder: Path

    @property
    def program(self) -> Crontab:
        found = find_crontab({"PATH": str(self.folder)})
        assert found is not None
        return found

    @property
    def tab(self) -> bytes:
        return (self.folder / "tab").read_bytes()

    def holds(self, content: bytes) -> None:
        (self.folder / "tab").write_bytes(content)

    def behaves(self, mode: str) -> None:
        (self.folder / "mode").write_text(f"{mode}\n")

    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().split()


@pytest.fixture
def fake(tmp_path: Path) -> FakeCrontab:
    """A `crontab` program of the test's own, without a tab yet."""
    folder = tmp_path / "bin"
    folder.mkdir()
    shutil.copy(Path(__file__).parent / "crontab", folder / "crontab")
    return FakeCrontab(folder)
