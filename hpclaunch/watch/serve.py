"""A run's newest values over HTTP, for Prometheus. Files are read at each request."""

from __future__ import annotations

import contextlib
import errno
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record
from hpclaunch.watch.frame import Frame
from hpclaunch.watch.openmetrics import page
from hpclaunch.watch.watcher import Watcher
from monitors.exports.families import CONTENT_TYPE

LOOPBACK = "127.0.0.1"
CLIENT_S = 10.0
"""Seconds a client may take for its next byte, before it is let go."""
MOST_CLIENTS = 16
"""Clients at a time; further ones are let go at once."""
CHECK_S = 30.0
"""Seconds between two checks whether the run has ended."""
LAST_S = 90.0
"""Seconds for which an ended run is still served, so that Prometheus sees its end."""

Address = tuple[str, int]


def parse_address(text: str) -> Address:
    """Read `[ADDRESS:]PORT`; the address may be an IPv6 one in brackets. Raises UserError."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise UserError(f"--serve {text}: no port", "a number up to 65535, as 9400")
    if ":" in host and not text.startswith("["):
        raise UserError(f"--serve {text}: an IPv6 address goes in brackets", f"[{host}]:{port}")
    return host or LOOPBACK, int(port)


def serve_run(
    folder: RunFolder, record: Record, address: Address, say: Callable[[str], None]
) -> int:
    """Serve a run until it has ended, or SIGTERM or Ctrl-C; returns the exit code.

    Raises UserError where the address cannot be had, or the run is over already.
    """
    source = _Source(Watcher(folder, record))
    frame = source.refresh(None)
    if frame.ended:
        fix = f"hpclaunch export {record.name} --to openmetrics writes what was recorded"
        raise UserError(f"run {record.name} is over: {frame.state}", fix)
    server = _bind(address, source)
    with _stop_requests() as stopped, server:
        thread = threading.Thread(target=server.serve_forever, args=(0.2,), daemon=True)
        thread.start()
        host, port = server.server_address[:2]
        shown = f"[{host!s}]" if ":" in str(host) else str(host)
        say(f"serving {record.name} at http://{shown}:{port}/metrics")
        if not _loopback(str(host)):
            say("note: whoever reaches this address can read it; without one it is 127.0.0.1")
        while not stopped.wait(CHECK_S):
            if source.refresh(0.0).ended:
                say(f"the run is over; serving for {LAST_S:.0f} s more")
                stopped.wait(LAST_S)
                break
        server.shutdown()
    say("no longer serving")
    return 0


class _Source:
    """The watcher, for one thread at a time."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher, self._lock = watcher, threading.Lock()

    def refresh(self, wait: float | None) -> Frame:
        with self._lock:
            return self._watcher.refresh(wait)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, family: socket.AddressFamily, address: Any, source: _Source) -> None:
        self.address_family = family
        self.source = source
        self._places = threading.BoundedSemaphore(MOST_CLIENTS)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a client on, in a thread of its own, where there is a place."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one client."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that go away in the middle."""

    def server_bind(self) -> None:
        """Bind, without a query for this machine's name."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "localhost", self.server_address[1]


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = CLIENT_S
    server_version, sys_version = "hpclaunch", ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(page(self.server.source.refresh(0.0)), CONTENT_TYPE)
        elif path == "/":
            self._answer(_index_page(self.server.source.refresh(0.0)), "text/plain; charset=utf-8")
        else:
            self._answer("there are / and /metrics\n", "text/plain", HTTPStatus.NOT_FOUND)

    do_HEAD = do_GET

    def _answer(self, text: str, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        body = text.encode(errors="replace")
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
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


def _bind(address: Address, source: _Source) -> _Server:
    host, port = address
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        family, _, _, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return _Server(family, where, source)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "is taken" if taken else f"cannot be had: {error.strerror or error}"
        fix = "another port; 0 takes any that is free" if taken or not error.errno else ""
        raise UserError(f"--serve: {shown} {why}", fix) from None
    except UnicodeError:
        raise UserError(f"--serve: {shown} is no address") from None


def _loopback(host: str) -> bool:
    return host == "::1" or host.startswith("127.")


@contextlib.contextmanager
def _stop_requests() -> Iterator[threading.Event]:
    """Return what is set at SIGTERM, SIGHUP or Ctrl-C."""
    stopped = threading.Event()

    def stop(_: int, __: FrameType | None) -> None:
        stopped.set()

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    old = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield stopped
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
