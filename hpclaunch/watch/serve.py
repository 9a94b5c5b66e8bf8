"""A run's newest values over HTTP, for Prometheus. Files are read at each request."""

from __future__ import annotations

import contextlib
import errno
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from shlex import quote
from types import FrameType

from hpclaunch.errors import UserError
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record
from hpclaunch.site.load import config_folder
from hpclaunch.watch.frame import Frame
from hpclaunch.watch.http_access import is_loopback, own_names, read_or_create_token
from hpclaunch.watch.http_server import Access, MetricsServer
from hpclaunch.watch.watcher import Watcher

LOOPBACK = "127.0.0.1"
CHECK_S = 30.0
"""Seconds between two checks whether the run has ended."""
WAKE_S = 0.5
"""Seconds after which a signal is seen at the latest."""
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
        fix = f"hpclaunch export {quote(record.name)} --to openmetrics writes what was recorded"
        raise UserError(f"run {record.name} is over: {frame.state}", fix)
    token = None if is_loopback(address[0]) else read_or_create_token(token_file())
    server = _bind(address, source, token)
    with _stop_requests() as stopped, server:
        thread = threading.Thread(target=server.serve_forever, args=(0.2,), daemon=True)
        thread.start()
        host, port = server.server_address[:2]
        shown = f"[{host!s}]" if ":" in str(host) else str(host)
        say(f"serving {record.name} at http://{shown}:{port}/metrics")
        if token is not None:
            say(f"clients need the token in {token_file()} (Authorization: Bearer ...)")
        while not _wait(stopped, CHECK_S):
            if source.refresh(0.0).ended:
                say(f"the run is over; serving for {LAST_S:.0f} s more")
                _wait(stopped, LAST_S)
                break
        server.shutdown()
    say("no longer serving")
    return 0


def _wait(stopped: threading.Event, seconds: float) -> bool:
    """Wait until it is set, or for so long; return whether it is set.

    In short waits: where another thread takes a signal, Python's handler runs once this one wakes.
    """
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if stopped.wait(min(WAKE_S, left)):
            return True
    return stopped.is_set()


class _Source:
    """The watcher, for one thread at a time."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher, self._lock = watcher, threading.Lock()

    def refresh(self, wait: float | None) -> Frame:
        with self._lock:
            return self._watcher.refresh(wait)


def token_file() -> Path:
    """Return where the token lies that clients beyond this machine need."""
    return config_folder() / "serve_token"


def _bind(address: Address, source: _Source, token: str | None) -> MetricsServer:
    host, port = address
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        family, _, _, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return MetricsServer(
            family, where, lambda: source.refresh(0.0), Access(own_names(host), token)
        )
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "is taken" if taken else f"cannot be had: {error.strerror or error}"
        fix = "another port; 0 takes any that is free" if taken or not error.errno else ""
        raise UserError(f"--serve: {shown} {why}", fix) from None
    except UnicodeError:
        raise UserError(f"--serve: {shown} is no address") from None


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
