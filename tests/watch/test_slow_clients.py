"""The server of `watch --serve` on its own: clients that are slow to ask or to read."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any, NoReturn

import pytest


def test_a_request_has_its_time_and_not_each_of_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    from hpclaunch.watch import http_server

    monkeypatch.setattr(http_server, "CLIENT_S", 1.0)

    def refresh() -> NoReturn:
        raise AssertionError

    access = http_server.Access(set(), None)
    server = http_server.MetricsServer(socket.AF_INET, ("127.0.0.1", 0), refresh, access)
    with server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        client = socket.create_connection(("127.0.0.1", server.server_port))
        client.sendall(b"GET /other HTTP/1.0\r\n")
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 100:
                client.sendall(b"X")
                sent += 1
                time.sleep(0.1)
        assert 5 < sent < 50
        server.shutdown()


def test_clients_that_never_read_keep_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    from hpclaunch.watch import http_server

    monkeypatch.setattr(http_server, "page", lambda _: "x" * (16 << 20))
    access = http_server.Access(set(), None)
    frame: Any = object
    server = http_server.MetricsServer(socket.AF_INET, ("127.0.0.1", 0), frame, access)
    with server, contextlib.ExitStack() as open_clients:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        address = ("127.0.0.1", server.server_port)
        for _ in range(http_server.MOST_CLIENTS):
            client = open_clients.enter_context(socket.create_connection(address))
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            client.recv(1)
        began = time.monotonic()
        with socket.create_connection(address) as quick:
            quick.sendall(b"GET /other HTTP/1.0\r\n\r\n")
            assert quick.recv(64).startswith(b"HTTP/1.0 404")
        assert time.monotonic() - began < http_server.CLIENT_S
        server.shutdown()
