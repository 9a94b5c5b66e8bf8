"""The HTTP server behind `watch --serve`: few clients, and none keeps the others waiting."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from hpclaunch.frozen import frozen
from hpclaunch.watch.frame import Frame
from hpclaunch.watch.http_access import host_allowed, token_accepted
from hpclaunch.watch.openmetrics import page
from monitors.exports.families import CONTENT_TYPE

CLIENT_S = 10.0
"""Seconds a client may take for its request and for reading the answer, before it is let go."""
MOST_CLIENTS = 16
"""Clients at a time; for a further one, the one that has been asking for longest is let go, else
the one that has been reading for longest."""
PLACE_S = 1.0
"""Seconds until such a client's place is free."""


@frozen
class Access:
    """Who may read: by which names, and with which token."""

    names: set[str]
    token: str | None


class MetricsServer(ThreadingHTTPServer):
    """Answers `/` and `/metrics` from what `refresh` returns."""

    daemon_threads = True

    def __init__(
        self,
        family: socket.AddressFamily,
        address: Any,
        refresh: Callable[[], Frame],
        access: Access,
    ) -> None:
        self.address_family = family
        self.refresh = refresh
        self.access = access
        self._places = threading.BoundedSemaphore(MOST_CLIENTS)
        self._asking: dict[int, socket.socket] = {}
        """Clients whose request is not there yet, the oldest first."""
        self._reading: dict[int, socket.socket] = {}
        """Clients that the answer is sent to, the oldest first."""
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a client on, in a thread of its own; a slow one makes place for it."""
        if not self._places.acquire(blocking=False):
            self._drop_slowest()
            if not self._places.acquire(timeout=PLACE_S):
                self.shutdown_request(request)
                return
        self._asking[id(request)] = request
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one client, for a limited time."""
        deadline = threading.Timer(CLIENT_S, _disconnect, [request])
        deadline.daemon = True
        deadline.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            deadline.cancel()
            self.request_arrived(request)
            self._reading.pop(id(request), None)
            self._places.release()

    def request_arrived(self, request: Any) -> None:
        """Note that a client has asked, and is served."""
        self._asking.pop(id(request), None)

    def answer_made(self, request: Any) -> None:
        """Note that all that a client has yet to do is read its answer."""
        self._reading[id(request)] = request

    def _drop_slowest(self) -> None:
        for slow in (self._asking, self._reading):
            oldest = next(iter(list(slow)), None)
            client = None if oldest is None else slow.pop(oldest, None)
            if client is not None:
                _disconnect(client)
                return

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing of clients that disconnect."""

    def server_bind(self) -> None:
        """Bind, without a query for this machine's name."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "localhost", self.server_address[1]


class _Handler(BaseHTTPRequestHandler):
    server: MetricsServer
    timeout = CLIENT_S
    server_version, sys_version = "hpclaunch", ""

    def do_GET(self) -> None:
        self.server.request_arrived(self.request)
        if not host_allowed(self.headers.get("Host"), self.server.access.names):
            refused = HTTPStatus.MISDIRECTED_REQUEST
            self._answer("this server has another name\n", "text/plain", refused)
            return
        token = self.server.access.token
        if token is not None and not token_accepted(self.headers.get("Authorization"), token):
            refused = HTTPStatus.UNAUTHORIZED
            self._answer("Authorization: Bearer TOKEN is needed\n", "text/plain", refused)
            return
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(page(self.server.refresh()), CONTENT_TYPE)
        elif path == "/":
            self._answer(_index_page(self.server.refresh()), "text/plain; charset=utf-8")
        else:
            self._answer("there are / and /metrics\n", "text/plain", HTTPStatus.NOT_FOUND)

    do_HEAD = do_GET

    def _answer(self, text: str, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        body = text.encode(errors="replace")
        self.server.answer_made(self.request)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep no log of requests."""


def _index_page(frame: Frame) -> str:
    return (
        f"hpclaunch watch --serve: the run {frame.name} ({frame.state}).\n\n"
        "/metrics   its newest values as OpenMetrics, for Prometheus\n\n"
        "It is read from the run folder at each request, and ends with the run.\n"
    )


def _disconnect(client: socket.socket) -> None:
    """End a client's connection, so that the thread that reads from it ends."""
    with contextlib.suppress(OSError):
        client.shutdown(socket.SHUT_RDWR)
