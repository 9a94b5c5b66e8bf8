"""Writes a throwaway cluster's folder: keys, device files, configuration, plan of daemons."""

import contextlib
import json
import os
import re
import secrets
import stat
import subprocess
from pathlib import Path

from tests.slurm.settings import (
    CONTROLLER,
    CONTROLLER_LAST_BYTE,
    Place,
    Settings,
    gres_conf,
    hosts,
    slurm_conf,
)


def write_folder(settings: Settings, place: Place) -> None:
    """Write everything that the daemons read when they start."""
    for name in ("log", "state", "dev", "munge", "spool"):
        (place.folder / name).mkdir(mode=0o755)
    for name in settings.node_names:
        (place.folder / "spool" / name).mkdir(mode=0o755)
    key = place.folder / "munge" / "key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    null = Path("/dev/null").stat().st_rdev
    for number in range(settings.gpus_per_node):
        # Slurm only asks whether it is a device: copies of /dev/null do.
        os.mknod(place.devices / f"gpu{number}", stat.S_IFCHR | 0o666, null)
    texts = {
        "slurm.conf": slurm_conf(settings, place),
        "gres.conf": gres_conf(settings, place),
        "cgroup.conf": _cgroup_conf(),
        "hosts": Path("/etc/hosts").read_text() + hosts(settings, place),
        "plan.json": json.dumps(_plan(settings, place)),
    }
    if settings.job_submit is not None:
        texts["job_submit.lua"] = settings.job_submit
    for name, text in texts.items():
        (place.folder / name).write_text(text)


def _cgroup_conf() -> str:
    """From 23.11 on slurmd wants cgroups unless told otherwise; earlier ones refuse the word."""
    said = subprocess.run(["slurmd", "-V"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"(\d+)\.(\d+)", said)
    if version and (int(version[1]), int(version[2])) >= (23, 11):
        return "CgroupPlugin=disabled\n"
    return ""


def _plan(settings: Settings, place: Place) -> dict[str, object]:
    """What the supervisor starts, and under which names."""
    conf = str(place.slurm_conf)
    munge = place.folder / "munge"
    return {
        "controller": CONTROLLER,
        "munge_socket": str(place.munge_socket),
        "munged": [
            "munged",
            "--foreground",
            # It dislikes /tmp above its folder; the folder itself is closed to others' writing.
            "--force",
            f"--socket={place.munge_socket}",
            f"--key-file={munge / 'key'}",
            f"--pid-file={munge / 'pid'}",
            f"--log-file={munge / 'log'}",
            f"--seed-file={munge / 'seed'}",
        ],
        "slurmctld": ["slurmctld", "-D", "-c", "-f", conf],
        "nodes": {
            name: ["slurmd", "-D", "-c", "-N", name, "-f", conf] for name in settings.node_names
        },
        # Addresses with their network's width; empty where all nodes share this machine's network.
        "links": {
            name: f"{place.address(number)}/24"
            for number, name in [
                *enumerate(settings.node_names, start=1),
                (CONTROLLER_LAST_BYTE, CONTROLLER),
            ]
        }
        if settings.links
        else {},
    }


def files_holding(word: str, *folders: Path) -> set[Path]:
    """The files below some folders that hold a word."""
    found = set()
    for path in (path for folder in folders for path in folder.rglob("*")):
        with contextlib.suppress(FileNotFoundError):  # Slurm renames those that it writes
            if path.is_file() and word.encode() in path.read_bytes():
                found.add(path)
    return found
