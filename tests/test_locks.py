"""Locks of files and folders: one holder at a time, named where it can be written."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scflows.locks import EXISTING, FOLDER, Lock, clear, holders, is_locked, locked

CHILD = """
import sys
from scflows.locks import Lock
lock = Lock(*sys.argv[1:])
print(lock.acquire("child"), flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["file", "folder"])
def lock(request: pytest.FixtureRequest, tmp_path: Path) -> Lock:
    return Lock(str(tmp_path), "one", str(tmp_path / "sub") if request.param == "folder" else "")


def twin(lock: Lock) -> Lock:
    return Lock(lock.folder, lock.name, lock._instead)


def test_a_lock_has_one_holder_at_a_time_that_is_named(lock: Lock) -> None:
    assert lock.acquire("run")
    assert not twin(lock).acquire("other")
    holder = twin(lock).holder()
    assert holder is not None
    assert (holder.name, holder.run, holder.pid, holder.alive) == ("one", "run", os.getpid(), True)
    lock.release()
    assert twin(lock).holder() is None
    assert not os.path.exists(lock.path)
    assert twin(lock).acquire("other")


def test_the_lock_of_a_killed_process_is_free_and_its_file_means_nothing(lock: Lock) -> None:
    words = [lock.folder, lock.name, lock._instead]
    with subprocess.Popen([sys.executable, "-c", CHILD, *words], stdin=-1, stdout=-1, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "True\n"
        assert not lock.acquire("run")
        child.kill()
    assert os.path.exists(lock.path)
    assert lock.holder() is None
    assert lock.acquire("run")


def test_a_process_that_looks_at_a_lock_keeps_no_other_from_taking_it(lock: Lock, monkeypatch) -> None:
    os.makedirs(lock._instead or lock.folder, exist_ok=True)
    Path(lock.path).touch()
    looking = os.open(lock._instead or lock.path, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr(time, "sleep", lambda seconds: os.close(looking))
    monkeypatch.setattr(Lock, "holder", lambda self: None)
    assert lock.acquire("run")


def test_a_folder_is_locked_also_where_its_holder_cannot_be_named(tmp_path: Path) -> None:
    (tmp_path / "one.lock").mkdir()
    lock = Lock(str(tmp_path), "one", str(tmp_path))
    assert lock.acquire("run")
    assert not twin(lock).acquire("other")
    lock.release()
    assert twin(lock).acquire("other")


def test_a_name_that_was_left_behind_is_replaced_by_that_of_the_holder(tmp_path: Path) -> None:
    (tmp_path / "one.lock").write_text("gone\nboot:1:2:3\n0\n")
    (tmp_path / "one.lock").chmod(0o400)
    lock = Lock(str(tmp_path), "one", str(tmp_path))
    assert lock.acquire("run")
    holder = lock.holder()
    assert holder is not None
    assert holder.run == "run"


def test_a_cleared_lock_lets_the_next_in_and_is_not_removed_by_its_holder(tmp_path: Path) -> None:
    first, second = Lock(str(tmp_path), "one"), Lock(str(tmp_path), "one")
    assert first.acquire("first")
    assert clear(str(tmp_path), "one")
    assert second.acquire("second")
    first.release()
    assert [holder.run for holder in holders(str(tmp_path))] == ["second"]


def test_a_block_waits_for_the_lock_of_a_path_or_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    with locked(path):
        assert is_locked(path)
        with pytest.raises(BlockingIOError), locked(path, wait=False):
            pass
    assert not is_locked(path)
    with locked(str(tmp_path), how=FOLDER), pytest.raises(BlockingIOError), locked(str(tmp_path), False, FOLDER):
        pass
    with pytest.raises(FileNotFoundError), locked(str(tmp_path / "none"), how=EXISTING):
        pass
