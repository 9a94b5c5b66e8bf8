"""`python -P -m hpclaunch.train.loopback ARGUMENTS`: `accelerate-launch` of a run on this machine.

The store that the ranks meet at has no password, and PyTorch lets it listen on every address of the
machine. Here it gets a socket that only this machine reaches.
"""

from __future__ import annotations

import socket
from datetime import timedelta
from typing import Any

from torch.distributed import TCPStore
from torch.distributed.elastic.rendezvous import static_tcp_rendezvous

ADDRESS = "127.0.0.1"
BACKLOG = 1024
"""Ranks that may connect at once."""


def loopback_store(
    host: str, port: int, world_size: int, is_master: bool, timeout: timedelta, **options: Any
) -> TCPStore:
    """Return the store as PyTorch's static rendezvous makes it, but on loopback alone.

    Raises OSError where the port is taken.
    """
    if not is_master:
        return TCPStore(host, port, world_size, is_master, timeout, **options)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((ADDRESS, port))
    listener.listen(BACKLOG)
    return TCPStore(
        ADDRESS, port, world_size, True, timeout, master_listen_fd=listener.detach(), **options
    )


def main() -> None:
    """Launch as `accelerate-launch` does. It exits with the code of the ranks."""
    if not hasattr(static_tcp_rendezvous, "TCPStore"):
        raise RuntimeError("this PyTorch's static rendezvous has no TCPStore to put on loopback")
    static_tcp_rendezvous.TCPStore = loopback_store
    from accelerate.commands.launch import main as launch

    launch()


if __name__ == "__main__":
    main()
