"""All that goes wrong with a call, or while its answer is read, is one class of errors."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from scflows.connectors.http.response import HttpError
from scflows.connectors.http.session import call, read


@contextmanager
def server(*, answer: bytes) -> Iterator[str]:
    """A server that answers one call, and then hangs up; without an answer it waits."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            connection.recv(65536)
            if answer:
                connection.sendall(answer)
                connection.close()
            else:
                waiting.append(connection)

        waiting: list[socket.socket] = []
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        thread.join()
        for connection in waiting:
            connection.close()


def test_a_server_that_is_not_there_cannot_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(HttpError, match="Connection refused") as failed:
        call("GET", f"http://127.0.0.1:{port}/", {}, timeout=5)
    assert not failed.value.is_timeout


def test_a_server_that_does_not_answer_is_a_timeout() -> None:
    with server(answer=b"") as uri, pytest.raises(HttpError, match=r"no answer within 0\.2 s") as failed:
        call("GET", uri, {}, timeout=0.2)
    assert failed.value.is_timeout


def test_an_answer_that_breaks_off_is_an_error_and_reading_ends_after_the_most() -> None:
    with server(answer=b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort") as uri:
        response = call("GET", uri, {}, timeout=5)
        with pytest.raises(HttpError):
            read(response, 1000, 5)
    with server(answer=b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nshort") as uri:
        assert read(call("GET", uri, {}, timeout=5), 3, 5) == (b"short", False)


@pytest.mark.parametrize("uri", ["http://h:99999/", "http://" + "a" * 70 + ".test/", "gopher://h/"])
def test_a_uri_that_cannot_be_called_is_an_error(uri: str) -> None:
    with pytest.raises(HttpError):
        call("GET", uri, {}, timeout=5)
