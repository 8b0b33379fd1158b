"""Starts `flows` commands as forks of one process that has loaded the libraries: a tenth of the cost of a start.

Each is a process of its own, with its arguments, folder, environment and streams, and ends as an interpreter does.
What a start loads and costs is no matter here; `test_imports.py` and whoever starts an interpreter look at that.

    python -P tests/starter.py SOCKET

It ends when its standard input does. Whoever connects to the socket sends JSON with three open files, and is told the
process's number, and once it has ended its exit status.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import selectors
import socket
import sys
import time
from typing import Any

import scflows
import scflows.cli.app

#: The longest message, in bytes.
LONGEST = 1 << 18


def serve(path: str) -> dict[str, Any]:
    """Start what is asked for; returns in each new process, with what it is to do."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen(64)
    lifeline = os.dup(0)
    running: dict[int, tuple[int, socket.socket]] = {}
    # It has no open file of its own that a new process would share.
    selector = selectors.PollSelector()
    selector.register(listener, selectors.EVENT_READ)
    selector.register(lifeline, selectors.EVENT_READ)
    gc.freeze()
    os.write(1, b"ready\n")
    while True:
        for key, _ in selector.select():
            if key.fd == lifeline:
                os._exit(0)
            if key.fd in running:
                selector.unregister(key.fd)
                number, connection = running.pop(key.fd)
                os.close(key.fd)
                answer(connection, os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]))
                connection.close()
                continue
            connection = listener.accept()[0]
            message, files, _, _ = socket.recv_fds(connection, LONGEST, 3)
            number = os.fork()
            if number == 0:
                listener.close()
                os.close(lifeline)
                connection.close()
                for watched, (_, other) in running.items():
                    os.close(watched)
                    other.close()
                for stream, file in enumerate(files):
                    os.dup2(file, stream)
                    os.close(file)
                scflows.BEGAN = time.monotonic()
                given: dict[str, Any] = json.loads(message)
                return given
            for file in files:
                os.close(file)
            watched = os.pidfd_open(number)
            selector.register(watched, selectors.EVENT_READ)
            running[watched] = number, connection
            answer(connection, number)


def answer(connection: socket.socket, number: int) -> None:
    try:
        connection.send(str(number).encode())
    except OSError:
        pass  # Nobody wants to know any more.


given = serve(sys.argv[1])
os.chdir(given["folder"])
os.environ.clear()
os.environ.update(given["environment"])
time.tzset()
sys.argv = ["scflows", *given["arguments"]]
runpy.run_module("scflows", run_name="__main__", alter_sys=True)
