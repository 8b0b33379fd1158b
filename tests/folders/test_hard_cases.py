"""Odd files, full disks, two calls at the same time, a process that is killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.folders.conftest import CHAIN, COPY
from tests.folders.test_trigger import FAIL_ON_BAD

pytestmark = pytest.mark.language("§10 folder")

SLOW = """
jobs:
  - name: slow
    source: source
    target: made
    script: [sh, -c, 'echo begun >> log; printf half > "$2"; sleep 0.4; printf whole > "$2"', sh]
"""
LONGEST = "é" * 125 + "a.csv"


def start(work, environment) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "scflows", "folders", "run", str(work.path)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_for(condition) -> None:
    ends = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


@pytest.mark.waits
def test_two_calls_at_the_same_time_make_every_target_once(work):
    work.write(SLOW, one="1", two="2", three="3")
    with ThreadPoolExecutor(3) as pool:
        runs = list(pool.map(lambda _: work.run(), range(3)))
    assert sorted(run["status"] for run in runs).count("success") == 1
    work.run()
    assert (work.path / "log").read_text() == "begun\n" * 3
    assert work.made("made") == ["one", "three", "two"]


@pytest.mark.waits
def test_a_call_from_another_state_folder_waits_and_makes_nothing_twice(work, tmp_path):
    work.write(SLOW, one="1", two="2")
    with ThreadPoolExecutor(2) as pool:
        states = [str(tmp_path / "state"), str(tmp_path / "other state")]
        list(pool.map(lambda state: work.run(XDG_STATE_HOME=state), states))
    assert (work.path / "log").read_text() == "begun\n" * 2


@pytest.mark.waits
@pytest.mark.parametrize("victim", ["parent", "child"])
def test_a_kill_leaves_no_half_target_and_the_next_call_carries_on(work, environment, victim):
    work.write(SLOW, one="1", two="2")
    process = start(work, environment)
    wait_for(lambda: any(name.startswith(".scflows-") for name in work.made("made")))
    assert "one" not in work.made("made")
    if victim == "parent":
        process.kill()
    else:
        children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout
        os.kill(int(children.split()[0]), signal.SIGKILL)
    process.wait()
    assert not any(not name.startswith(".") for name in work.made("made"))
    wait_for(lambda: work.run()["status"] != "skipped")
    assert work.made("made") == ["one", "two"]
    assert (work.path / "made/one").read_text() == "whole"
    assert set(work.statuses("slow").values()) == {"success"}


@pytest.mark.waits
def test_a_job_at_work_is_shown_as_running_with_its_last_status(work, environment):
    work.write(SLOW, one="1")
    process = start(work, environment)
    wait_for(lambda: work.made("made"))
    job = work.jobs()["slow"]
    assert (job["running"], job["status"]) == (True, "preliminary")
    process.wait()
    assert work.jobs()["slow"]["running"] is False


def test_a_program_that_makes_nothing_or_no_file_has_failed(work):
    work.write(
        "jobs: [{name: j, source: source, target: made, script: [sh, -c, 'test ${1##*/} = dir && mkdir \"$2\"; :', x]}]"
    )
    work.put("source/dir")
    work.put("source/none")
    message = work.run(code=1)["message"]
    assert "dir: made something that is not a file as its target" in message
    assert "none: made no target" in message
    assert work.made("made") == []


def test_a_program_that_fails_after_writing_leaves_no_target(work):
    work.write(
        "jobs: [{name: j, source: source, target: made, script: [sh, -c, 'echo half > \"$2\"; exit 1', x]}]", a="1"
    )
    work.run(code=1)
    assert work.made("made") == []


@pytest.mark.service
def test_a_full_disk_is_an_error_of_the_file(work, environment):
    """The target folder is a disk of its own, of 64 KiB."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare")
    work.write(CHAIN, large="x" * 100_000, small="1")
    (work.path / "middle").mkdir()
    script = 'mount -t tmpfs -o size=64k none "$1/middle" && "$2" -P -m scflows folders run "$1"; ls "$1/middle"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(work.path), sys.executable],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "large: sh: exit status 1: cat: write error: No space left on device" in done.stderr
    assert done.stdout.splitlines()[-1] == "small"
    assert work.made("last") == ["small"]
    work.run()
    assert work.made("last") == ["large", "small"]


def test_links_are_processed_or_have_their_error(work, tmp_path):
    work.write(CHAIN, real="content")
    outside = tmp_path / "outside"
    outside.write_text("secret")
    source = work.path / "source"
    (source / "inside").symlink_to("real")
    (source / "out").symlink_to(outside)
    (source / "nowhere").symlink_to("gone")
    (source / "circle").symlink_to("circle")
    (source / "folder").symlink_to(tmp_path)
    os.mkfifo(source / "pipe")
    work.run(code=1)
    assert work.made("last") == ["inside", "real"]
    found = {name: each["message"] for name, each in work.jobs()["first"]["files"].items() if each["status"] == "error"}
    assert found == {
        "circle": "source/circle: link that leads nowhere: Too many levels of symbolic links",
        "nowhere": "source/nowhere: link that leads nowhere: No such file or directory",
        "out": "'source/out' leads out of its folder",
        "pipe": "source/pipe: is not a regular file",
    }


def test_a_folder_in_the_place_of_a_target_is_an_error(work):
    work.write(CHAIN, one="1", two="2")
    (work.path / "middle/one").mkdir(parents=True)
    message = work.run(code=1)["message"]
    assert message == "first: 1 of 2 files failed: one: middle/one: it is not a file, so the target cannot be made"
    assert work.made("last") == ["two"]


def test_a_link_that_leads_nowhere_is_replaced_by_the_target(work):
    work.write(CHAIN, one="1")
    (work.path / "middle").mkdir()
    (work.path / "middle/one").symlink_to("gone")
    work.run()
    assert (work.path / "middle/one").read_text() == "1"


def test_an_unreadable_file_has_its_error(work, environment):
    work.write(CHAIN, one="1", two="2")
    (work.path / "source/one").chmod(0)
    # Root reads everything, unless it gives up these rights.
    prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*prefix, sys.executable, "-P", "-m", "scflows", "folders", "run", str(work.path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "one: source/one: cannot be read: Permission denied" in done.stderr
    assert work.made("last") == ["two"]


def test_names_of_255_bytes_and_names_that_are_not_utf8(work):
    assert len(LONGEST.encode()) == 255
    work.write(CHAIN)
    work.put(f"source/{LONGEST}", "long")
    odd = os.path.join(os.fsencode(work.path), b"source", b"caf\xe9.csv")
    with open(odd, "wb") as file:
        file.write(b"odd")
    assert work.run()["status"] == "success"
    assert (work.path / "last" / LONGEST).read_text() == "long"
    assert os.path.exists(odd.replace(b"source", b"last"))
    assert work.statuses("second") == {LONGEST: "success", "caf\\xe9.csv": "success"}


def test_an_error_of_a_name_that_is_not_utf8_is_recorded(work):
    work.write(FAIL_ON_BAD)
    with open(os.path.join(os.fsencode(work.path), b"source", b"bad\xe9\n"), "wb") as file:
        file.write(b"x")
    assert "bad\\xe9\\n: sh: exit status 3" in work.run(code=1)["message"]
    assert work.statuses("first") == {"bad\\xe9\\n": "error"}


def test_a_source_that_is_changed_while_it_is_read_is_tried_again(work):
    work.write(
        'jobs: [{name: j, source: source, target: made, script: [sh, -c, \'cp "$1" "$2"; echo more >> "$1"\', x]}]',
        a="1",
    )
    assert "a: a source was changed while it was read" in work.run(code=1)["message"]
    assert work.made("made") == []
    work.write(f"jobs: [{{name: j, source: source, target: made, {COPY}}}]")
    work.run()
    assert (work.path / "made/a").read_text() == "1more\n"


def test_one_file_that_takes_too_long_does_not_stop_the_others(work):
    work.write(
        "jobs: [{name: j, source: source, target: made, timeout: 0.5,"
        ' script: [sh, -c, \'case $1 in *slow) sleep 60;; esac; cp "$1" "$2"\', x]}]'
    )
    for name in ("a", "slow", "z"):
        work.put(f"source/{name}")
    assert work.run(code=1)["message"] == "j: 1 of 3 files failed: slow: took longer than 0.5 s"
    assert work.made("made") == ["a", "z"]


def test_hidden_files_of_others_stay(work):
    work.write(CHAIN, one="1")
    work.put("middle/.mine")
    (work.path / "middle/.scflows-left").mkdir()
    work.put("middle/.scflows-left/one", "half")
    work.run()
    assert work.made("middle") == [".mine", "one"]
