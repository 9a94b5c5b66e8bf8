"""Slots: a folder and a block of loopback addresses that one living cluster owns."""

import fcntl
import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from tests.slurm.settings import PORTS_PER_CLUSTER, Place

# Fixed rather than taken from TMPDIR: all clusters of a machine must see each other's slots, and
# socket paths must stay short. 127.0.0.x and 127.0.1.x may name the machine itself.
PARENT = Path("/tmp")
SLOTS = range(10, 250)


@dataclass(frozen=True)
class Slot:
    """A claimed slot: where the cluster lives, and the file descriptor that holds the claim."""

    place: Place
    lock: int

    def release(self) -> None:
        """Remove the folder and give the slot back."""
        shutil.rmtree(self.place.folder, ignore_errors=True)
        os.close(self.lock)


def claim(links: bool = False) -> Slot:
    """Claim the first free slot, clearing what a dead cluster left in it.

    The lock is held by the starter and, inherited, by the cluster's own processes: it is free only
    once both are gone, so a slot that can be locked has no living process.
    """
    for number in SLOTS:
        folder = PARENT / f"hpclaunch-slurm-{number}"
        folder.mkdir(mode=0o755, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            continue
        lock_file = folder / "lock"
        lock = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        place = Place(folder=folder, slot=number, links=links)
        if not (_locked(lock, lock_file) and _ports_free(place)):
            os.close(lock)
            continue
        for leftover in folder.iterdir():
            if leftover == lock_file:
                continue
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()
        return Slot(place=place, lock=lock)
    raise RuntimeError(f"all {len(SLOTS)} slots under {PARENT} are taken")


def _locked(lock: int, lock_file: Path) -> bool:
    """Lock, and make sure that the file was not removed by its last owner in between."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(lock).st_ino == lock_file.stat().st_ino
    except OSError:
        return False


def _ports_free(place: Place) -> bool:
    """Whether no other program listens on any of this slot's ports."""
    for number in range(PORTS_PER_CLUSTER):
        with socket.socket() as trial:
            # As the daemons do, so that a connection of an earlier cluster on its way out is no
            # obstacle.
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(("", place.port(number)))
            except OSError:
                return False
    return True
