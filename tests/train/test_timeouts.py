"""Ranks wait minutes for each other in a step, and longer while they save: two real ranks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.train.running import environment, free_port, run_program

pytestmark = pytest.mark.train

TWO_RANKS = """
import datetime, sys, time
import torch.distributed as dist, torch.multiprocessing as mp
from torch.distributed.device_mesh import init_device_mesh
from hpclaunch.train import timeouts

def rank(number, port, ddp_timeout):
    where = f"tcp://127.0.0.1:{port}"
    first = datetime.timedelta(seconds=ddp_timeout or 60)
    dist.init_process_group("gloo", init_method=where, rank=number, world_size=2, timeout=first)
    other = init_device_mesh("cpu", (1, 2), mesh_dim_names=("copies", "shards"))["shards"]
    timeouts.STEP_TIMEOUT, timeouts.LONG_TIMEOUT = 3, 60
    callback = timeouts.Timeouts(ddp_timeout)
    excluded = dist.new_group()
    callback.exclude([excluded])

    def meet_late(seconds, group=None):
        time.sleep(seconds * number)
        began = time.monotonic()
        try:
            dist.barrier(group)
        except RuntimeError:
            print(f"rank {number} gave up after {time.monotonic() - began:.0f} s", flush=True)
            sys.exit(0)
        print(f"rank {number} met", flush=True)

    meet_late(4.5)
    callback.on_step_end(None, None, None)
    with callback.saving():
        with callback.saving():
            meet_late(4.5)
        meet_late(4.5)
    meet_late(4.5, excluded)
    meet_late(4.5, other.get_group())

if __name__ == "__main__":
    arguments = (int(sys.argv[1]), int(sys.argv[2]) or None)
    mp.start_processes(rank, arguments, nprocs=2, start_method="fork")
"""


@pytest.mark.parametrize(("ddp_timeout", "met", "gave_up"), [(0, 4, True), (40, 5, False)])
def test_the_time_out_is_short_in_steps_alone(
    ddp_timeout: int, met: int, gave_up: bool, tmp_path: Path
) -> None:
    script = tmp_path / "two.py"
    script.write_text(TWO_RANKS)
    done = run_program(
        [sys.executable, str(script), str(free_port()), str(ddp_timeout)], 120, environment()
    )
    assert done.out.count("rank 0 met") == met, done.said
    assert ("rank 0 gave up after 3 s" in done.out) == gave_up, done.said
