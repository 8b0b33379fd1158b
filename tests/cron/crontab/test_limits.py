"""What each cron takes is known before writing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scflows.cron.crontab.block import plan
from scflows.cron.crontab.limits import check_limits
from scflows.cron.crontab.program import Crontab
from scflows.errors import Refused

A = "17 * * * * /p -P -m scflows run /f/a.yml --task a # a"
B = "3 4 * * * /p -P -m scflows run /f/b.yml --task b # b"
DEBIAN = "usage: crontab [-u user] file (default operation is replace, per 1003.2)"
CRONIE = "cronie 1.7.2"
BUSYBOX = "BusyBox v1.35.0 multi-call binary."


@pytest.fixture
def crontab(tmp_path: Path, request: pytest.FixtureRequest) -> Crontab:
    program = tmp_path / "crontab"
    program.write_text(f"#!/bin/sh\necho '{request.param}' >&2\n")
    program.chmod(0o755)
    return Crontab(str(program), "ana", None)


def refused(crontab: Crontab, raw: bytes, lines: list[str]) -> Refused:
    with pytest.raises(Refused) as caught:
        check_limits(crontab, raw, plan(raw, lines))
    return caught.value


@pytest.mark.parametrize("crontab", [DEBIAN, "who knows"], indirect=True)
def test_debian_and_the_unknown_count_lines_of_any_kind(crontab: Crontab) -> None:
    raw = b"# x\n" * 9996
    check_limits(crontab, raw, plan(raw, [A, B]))
    error = refused(crontab, raw + b"\n", [A, B])
    assert "10001 lines" in str(error)
    assert "--one-line" in (error.help or "")
    # With one line already that is no way out.
    assert "flows cron run" in (refused(crontab, b"#\n" * 9998, [A]).help or "")


@pytest.mark.parametrize("crontab", [DEBIAN], indirect=True)
def test_what_is_too_long_may_be_made_shorter(crontab: Crontab) -> None:
    raw = plan(b"", [A, B]) + b"#\n" * 20_000
    check_limits(crontab, raw, plan(raw, [A]))
    check_limits(crontab, raw, plan(raw, []))


@pytest.mark.parametrize("crontab", [CRONIE], indirect=True)
def test_cronie_counts_entries_and_the_bytes_of_comments_in_a_row(crontab: Crontab) -> None:
    check_limits(crontab, b"A=b\n" * 11_000, plan(b"A=b\n" * 11_000, [A]))
    assert "10001 entries" in str(refused(crontab, b"5 4 * * * x\n" * 9999, [A, B]))
    assert "consecutive comments" in str(refused(crontab, b"#" * 32_750 + b"\n", [A]))


@pytest.mark.parametrize("crontab", [BUSYBOX], indirect=True)
def test_busybox_would_leave_out_the_last_lines_of_all_but_root(
    crontab: Crontab, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = b"5 4 * * * x\n" * 253
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "256 lines, but busybox accepts at most 255" in str(refused(crontab, raw, [A]))
    check_limits(crontab, raw[12:], plan(raw[12:], [A]))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    check_limits(crontab, raw, plan(raw, [A]))
