"""FileAppender is all or nothing: on a full disk, side by side, killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from scflows.connectors.tables.append_file import COPIED_BYTES, FileAppender

#: A limit on the size of files is met as a full disk is: in the middle of writing.
LITTLE_ROOM = """
import resource, sys
from scflows.connectors.tables.append_file import FileAppender
path, room = sys.argv[1], int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
try:
    with FileAppender(path) as file:
        file.add(b"x" * 100_000)
except OSError:
    sys.exit(17)
"""


@pytest.mark.parametrize("size", [0, 1000, COPIED_BYTES + 1000])
def test_a_full_disk_leaves_what_was_there(tmp_path, size):
    path = tmp_path / "folder/log"
    path.parent.mkdir()
    if size:
        path.write_bytes(b"o" * size)
    ended = subprocess.run([sys.executable, "-c", LITTLE_ROOM, path, str(size + 5000)])
    assert ended.returncode == 17
    assert os.listdir(path.parent) == (["log"] if size else [])
    if size:
        assert path.read_bytes() == b"o" * size


MANY_LINES = """
import sys
from scflows.connectors.tables.append_file import FileAppender
path, name = sys.argv[1:]
for number in range(25):
    with FileAppender(path) as file:
        file.add(f"{name}-{number}\\n".encode())
"""


@pytest.mark.parametrize("size", [0, COPIED_BYTES + 1])
def test_processes_that_append_at_once_lose_nothing(tmp_path, size):
    path = tmp_path / "log"
    if size:
        path.write_bytes(b"o" * (size - 1) + b"\n")
    writers = [subprocess.Popen([sys.executable, "-c", MANY_LINES, path, name]) for name in "abcd"]
    assert [writer.wait() for writer in writers] == [0, 0, 0, 0]
    lines = path.read_text().splitlines()[1 if size else 0 :]
    assert sorted(lines) == sorted(f"{name}-{number}" for name in "abcd" for number in range(25))


ENDLESS = """
import sys
from scflows.connectors.tables.append_file import FileAppender
while True:
    with FileAppender(sys.argv[1]) as file:
        file.add(b"begin\\n" + b"x" * 50_000 + b"\\nend\\n")
    print("added", flush=True)
"""


def test_a_kill_leaves_whole_additions(tmp_path):
    path = tmp_path / "log"
    writer = subprocess.Popen([sys.executable, "-c", ENDLESS, path], stdout=subprocess.PIPE)
    for _ in range(3):
        writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    content = path.read_bytes()
    assert len(content) >= 3 * 50_000
    assert content == (b"begin\n" + b"x" * 50_000 + b"\nend\n") * content.count(b"begin")


def test_nothing_added_makes_no_file(tmp_path):
    with FileAppender(str(tmp_path / "new/log")) as file:
        file.add(b"")
    assert os.listdir(tmp_path / "new") == []


def test_a_file_keeps_its_mode(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"")
    path.chmod(0o600)
    with FileAppender(str(path)) as file:
        file.add(b"x")
    assert path.stat().st_mode & 0o777 == 0o600
