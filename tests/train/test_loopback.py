"""The ranks of a run on this machine, and the store that they meet at, listen on loopback alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hpclaunch.plan.layout import layout
from hpclaunch.recipe.load import load
from hpclaunch.render.accelerate import accelerate_config
from tests.cli.running import ROOT
from tests.train.running import free_port

pytestmark = pytest.mark.train

RANK = """
import os
from pathlib import Path
from torch import distributed, ones

distributed.init_process_group("gloo")
total = ones(1)
distributed.all_reduce(total)
mine = set()
for pid in (os.getpid(), os.getppid()):
    for each in Path(f"/proc/{pid}/fd").iterdir():
        try:
            mine.add(os.readlink(each))
        except OSError:
            pass
for table in ("tcp", "tcp6"):
    for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
        words = row.split()
        if words[3] == "0A" and f"socket:[{words[9]}]" in mine:
            # In one write: print() makes several, and the other rank's may come between.
            os.write(1, " ".join(["listens", *words[1].split(":")]).encode() + b"\\n")
os.write(1, f"total {int(total)}\\n".encode())
distributed.barrier()
"""


def test_the_store_and_the_ranks_listen_on_loopback_alone(tmp_path: Path) -> None:
    (tmp_path / "rank.py").write_text(RANK)
    config = tmp_path / "accelerate.yaml"
    made = layout(load("tiny", ["fsdp.sharding=none"]), 1, 2, "cpu")
    config.write_text(accelerate_config(made, 1, 2, "cpu"))
    port = free_port()
    done = subprocess.run(
        [
            sys.executable, "-P", "-m", "hpclaunch.train.loopback",
            "--num_machines", "1", "--num_processes", "2", "--machine_rank", "0", "--config_file",
            str(config), "--main_process_ip", "127.0.0.1", "--main_process_port", str(port),
            "--rdzv_backend", "static", "--same_network", "rank.py",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("total 2") == 2
    listening = [
        line.split()[1:] for line in done.stdout.splitlines() if line.startswith("listens")
    ]
    assert f"{port:04X}" in {at for _, at in listening}
    assert {address for address, _ in listening} == {"0100007F"}
