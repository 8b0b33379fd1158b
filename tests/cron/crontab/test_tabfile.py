from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scflows.cron.crontab.tabfile import Tabfile, file_lock
from scflows.errors import Busy, Refused
from scflows.settings import Settings

A = "17 * * * * /p -P -m scflows run /f/a.yml --task a # a"
B = "3 4 * * * /p -P -m scflows run /f/b.yml --task b # b"
C = "5 4 * * * /p -P -m scflows run /f/c.yml --task c # c"


def test_what_is_put_into_a_tabfile_is_read_from_it(tmp_path: Path) -> None:
    path = str(tmp_path / "tasks" / "tabfile.tab")
    tabfile = Tabfile.read(path)
    assert (tabfile.found, tabfile.lines) == (False, [])
    for name, line in (("a", A), ("b", B), ("c", C)):
        tabfile.put(name, line)
    tabfile.write(path)
    again = Tabfile.read(path)
    assert (again.found, again.lines) == (True, [A, B, C])
    assert [entry.name for entry in again.entries] == ["a", "b", "c"]
    assert again.line("b") == B
    assert again.line("x") is None


def test_a_changed_line_stays_in_its_place() -> None:
    tabfile = Tabfile.parse(f"{A}\n{B}\n")
    tabfile.put("a", A.replace("17", "18"))
    tabfile.put("c", C)
    assert tabfile.lines == [A.replace("17", "18"), B, C]
    assert tabfile.remove("b")
    assert not tabfile.remove("b")
    assert tabfile.lines == [A.replace("17", "18"), C]


@pytest.mark.parametrize(
    "text",
    ["", f"{A}\n", f"# mine\n\n{A}\n  odd\tblanks \n\n{B}\n\n", f"MAILTO=ana\n{A}\n* * * * * echo \udcff\x0c\x85\n"],
)
def test_lines_by_hand_stay_as_they_are(text: str, tmp_path: Path) -> None:
    tabfile = Tabfile.parse(text)
    path = tmp_path / "tabfile.tab"
    tabfile.write(str(path))
    again = Tabfile.read(str(path))
    assert again.lines == tabfile.lines
    assert "".join(f"{line}\n" for line in again.lines) == text
    assert again.render() == tabfile.render()


def test_every_line_of_a_tabfile_is_short() -> None:
    assert all(len(line) < 200 for line in Tabfile().render().splitlines())


def test_a_new_folder_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "tasks" / "tabfile.tab"
    Tabfile().write(str(path))
    readme = path.parent / "README.md"
    assert "scflows" in readme.read_text()
    readme.write_text("mine")
    path.unlink()
    Tabfile().write(str(path))
    assert readme.read_text() == "mine"


def test_a_tabfile_that_cannot_be_written_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = str(tmp_path / "file" / "tabfile.tab")
    with pytest.raises(Refused, match=r"tabfile\.tab"):
        Tabfile().write(path)
    os.mkdir(tmp_path / "tabfile.tab")
    with pytest.raises(Refused, match=r"tabfile\.tab"):
        Tabfile.read(str(tmp_path / "tabfile.tab"))


def test_the_lock_is_held_against_other_processes(settings: Settings) -> None:
    code = (
        "import sys\n"
        "from scflows.settings import Settings\n"
        "from scflows.cron.crontab.tabfile import file_lock\n"
        "with file_lock(Settings(sys.argv[1], {'XDG_STATE_HOME': sys.argv[2]})):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    state = settings.environment["XDG_STATE_HOME"]
    other = subprocess.Popen(
        [sys.executable, "-c", code, settings.home, state], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(Busy, match="crontab"), file_lock(settings, patience=0.1):
            pass
        other.stdin.close()
        with file_lock(settings):
            pass


def test_a_state_folder_that_cannot_be_is_refused(settings: Settings) -> None:
    Path(settings.environment["XDG_STATE_HOME"]).write_text("")
    with pytest.raises(Refused, match=r"crontab\.lock"), file_lock(settings):
        pass
