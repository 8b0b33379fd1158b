"""Secrets of a test's workspace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scflows.secrets.masking import Mask
from scflows.secrets.resolver import Secrets
from scflows.settings import read_settings


@pytest.fixture
def secrets_file(workspace: Path) -> Callable[[str], Path]:
    """Write `secrets.yml`, fit for its owner's eyes only."""

    def write(text: str, mode: int = 0o600) -> Path:
        path = workspace / "data" / "secrets.yml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return path

    return write


class Opened(Secrets):
    """The secrets of a workspace, with what they warned of and what they mask."""

    warnings: list[str]
    mask: Mask


@pytest.fixture
def opened(workspace: Path, environment: dict[str, str]) -> Callable[..., Opened]:
    def open_them(**variables: str) -> Opened:
        from scflows.expressions.templates import Expressions

        warnings: list[str] = []
        mask = Mask()
        settings = read_settings(str(workspace), {**environment, **variables})
        found = Opened(settings, mask, warnings.append, Expressions().filter)
        found.warnings, found.mask = warnings, mask
        return found

    return open_them
