"""Who may read what `watch --serve` offers: by the Host header, and beyond loopback by a token."""

from __future__ import annotations

import hmac
import ipaddress
import os
import secrets
import socket
from pathlib import Path

from hpclaunch.errors import UserError
from hpclaunch.run.private_file import read_private

TOKEN_BYTES = 32


def is_loopback(host: str) -> bool:
    """Return whether an address is this machine's own."""
    return host == "::1" or host.startswith("127.")


def host_allowed(header: str | None, own_names: set[str]) -> bool:
    """Return whether a request was meant for this server.

    A page of another site can let its own name resolve to this machine, and so have a browser here
    read what only this machine may. Such a request carries that name. Addresses, `localhost` and
    `own_names` (in lower case) cannot be pointed elsewhere by a stranger.
    """
    if header is None:
        return True  # no browser
    name = header.strip().lower()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") < 2:  # else an IPv6 address without brackets
        name = name.partition(":")[0]
    if name == "localhost" or name in own_names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def own_names(given: str) -> set[str]:
    """Return this machine's names and the one that was given, in lower case."""
    name = socket.gethostname().lower()
    return {name, name.partition(".")[0], given.lower()}


def token_accepted(header: str | None, token: str) -> bool:
    """Return whether an Authorization header carries the token."""
    scheme, _, value = (header or "").partition(" ")
    given = value.strip().encode(errors="replace")
    return scheme.lower() == "bearer" and hmac.compare_digest(given, token.encode())


def read_or_create_token(path: Path) -> str:
    """Return the token in a file that this user alone can read; create it where there is none.

    Raises UserError.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        except FileExistsError:
            return _read_token(path)
        token = secrets.token_urlsafe(TOKEN_BYTES)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(token + "\n")
    except OSError as error:
        raise UserError(f"{path} cannot be used: {error.strerror or error}") from None
    return token


def _read_token(path: Path) -> str:
    token = read_private(path)
    if len(token) < TOKEN_BYTES:
        raise UserError(f"{path} holds no token", "remove it, and a new one is made")
    return token
