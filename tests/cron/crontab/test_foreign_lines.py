"""Whatever is done to our tasks, every byte of a crontab that is not ours stays; so do the tasks not meant."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from scflows.cron.crontab import editor as editor_module
from scflows.cron.crontab.block import BEGIN, END, split
from scflows.cron.crontab.line import BOOT, TICK, parse_line
from scflows.cron.schedule.spec import ScheduleSpec
from scflows.errors import Refused
from scflows.planner.planner import planning
from scflows.planner.sources.base import TaskRequest
from scflows.planner.switch import paused, resumed
from scflows.settings import Settings


@dataclass
class Tab:
    """A crontab in memory."""

    content: bytes
    writes: int = 0
    program: str = "crontab"
    user: str = "ana"
    by: None = None

    def read(self) -> bytes:
        return self.content

    def write(self, content: bytes, inherited: object = ()) -> None:
        self.content = content
        self.writes += 1


@pytest.fixture
def with_tab(monkeypatch: pytest.MonkeyPatch, workspace: Path) -> Callable[[Tab, str], Settings]:
    """Settings whose crontab is one in memory, and whose state is new."""
    # Nobody pulls the plug in here.
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    monkeypatch.setattr(editor_module, "check_interpreter", lambda: None)
    monkeypatch.setattr(editor_module, "_wait_for_next_second", lambda tabfile: None)

    def use(tab: Tab, folder: str) -> Settings:
        monkeypatch.setattr(editor_module, "find_crontab", lambda environment: tab)
        return Settings(str(workspace), {"XDG_STATE_HOME": f"{folder}/state", "XDG_CACHE_HOME": f"{folder}/cache"})

    return use


LINES = st.one_of(
    st.sampled_from(
        [
            b"",
            b"\t",
            b"# set FOO=1 first",
            b"# 0 1 * * * off",
            b"#* * * * * /p -P -m scflows run --task a # a",
            b"* * * * * /p -P -m scflows run --task a # b",
            b"* * * * * /p -P -m scflows tick # tick",
            b"PATH = /a:/b",
            b"A='x \"y\" z'",
            b"NAME=",
            b"@reboot /usr/bin/start",
            b"@reboot /p -P -m scflows cron boot # boot",
            b"@daily curl http://x/#frag",
            b"*/5 * * * * a && b % stdin %more",
            b"0 0 * * fri-sun echo \\% \\\\ # tag",
            b"  5  4 *\t* * padded   ",
            b'1 1 1 1 1 sed "s/ #.*//"',
            b"30 2 * * 1,3 caf\xe9 \xff\xfe",
        ]
    ),
    st.binary(max_size=30).map(lambda line: bytes(byte for byte in line if byte not in b"\n\0")),
)
NAMES = ("a", "b", "c", "13486", "134")
#: Those that catch up; as long as one of them is enabled, there is a line for the boot.
OWED = ("b", "134")
SWITCHES = {"pause": paused, "enable": resumed}
STEPS = st.tuples(
    st.sampled_from(("add", "remove", "pause", "enable", "repair", "one line", "line each")), st.sampled_from(NAMES)
)


def do(settings: Settings, step: str, name: str) -> None:
    catch_up = "last" if name in OWED else "none"
    form = {"one line": True, "line each": False}.get(step)
    with planning(settings, one_line=form) as planner:
        if step == "add":
            plan = planner.plan_requests(
                [TaskRequest(name, ScheduleSpec(every=3600, catch_up=catch_up), flow="/f/x.yml", source="manual")],
                overwrite=True,
            )
        elif name in planner.before and step in ("remove", "pause", "enable"):
            change = planner.removal(name) if step == "remove" else SWITCHES[step](planner, name)
            plan = planner.plan_changes([change])
        else:
            plan = planner.plan_repair()
        planner.write(plan)


@limits(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LINES, max_size=12), st.booleans(), st.lists(STEPS, min_size=1, max_size=6))
def test_every_foreign_byte_stays_through_all_that_is_done_to_tasks(
    with_tab: Callable[[Tab, str], Settings], lines: list[bytes], ends: bool, steps: list[tuple[str, str]]
) -> None:
    assume(not any(line.startswith((BEGIN, END)) for line in lines))
    foreign = b"\n".join(lines) + (b"\n" if ends and lines else b"")
    tab = Tab(foreign)
    with tempfile.TemporaryDirectory() as folder:
        settings = with_tab(tab, folder)
        there: dict[str, bool] = {}
        one_line = False
        for step, name in steps:
            do(settings, step, name)
            one_line = {"one line": True, "line each": False}.get(step, one_line)
            if step == "add":
                there.setdefault(name, True)
            elif step == "remove":
                there.pop(name, None)
            elif name in there and step in ("pause", "enable"):
                there[name] = step == "enable"
            parts = split(tab.content)
            assert parts.foreign == foreign
            enabled = sorted(name for name, on in there.items() if on)
            entries = [parse_line(line) for line in parts.lines or []]
            names = sorted(entry.name for entry in entries if entry is not None)
            boot = [BOOT] if any(name in OWED for name in enabled) else []
            assert names == ([TICK] if one_line and enabled else sorted([*enabled, *boot]))
        with planning(settings) as planner:
            planner.write(planner.plan_changes([planner.removal(name) for name in planner.names()]))
        assert tab.content == foreign


def test_a_crontab_that_cannot_be_written_back_is_refused_and_nothing_is_changed(
    with_tab: Callable[[Tab, str], Settings], tmp_path: Path
) -> None:
    tab = Tab(b"# fine\na\0b\n")
    before = tab.content
    settings = with_tab(tab, str(tmp_path))
    with pytest.raises(Refused, match="line 2 of the crontab"):
        do(settings, "add", "a")
    assert (tab.content, tab.writes) == (before, 0)
    with planning(settings) as planner:
        assert planner.before == {}
