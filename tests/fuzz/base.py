"""A whole run folder, small, with every file that a reader knows: what the mutations begin with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hpclaunch.launch.draft import draft
from hpclaunch.launch.request import Request
from hpclaunch.launch.write_folder import write_folder
from hpclaunch.plan.resources import Resources
from hpclaunch.run.folder import RunFolder
from tests.fuzz.groups import add_groups
from tests.fuzz.mutations import MAIN
from tests.monitors import traces
from tests.monitors.recorded import NOON
from tests.monitors.storage.test_garbage import BYTES

NAME = MAIN
LOG = b"""hpclaunch: job 7, attempt 1
0: [gpu0]: {'loss': 2.5, 'step': 1}
0: [gpu0]: Traceback (most recent call last):
0: [gpu0]:   File "x.py", line 3, in <module>
0: [gpu0]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB
1: W1127 10:00:00.000 77 torch/distributed/elastic: a signal
slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-11-27T10:00:00 DUE TO TIME LIMIT ***
"""


def make_base(runs: Path) -> RunFolder:
    """Write the folder below `runs`, with runs of stages, a pipeline and a sweep beside it."""
    job = draft(
        Request(
            mode="local",
            recipe="tiny",
            resources=Resources(cpu_processes=2),
            name=NAME,
            runs_dir=runs,
        ),
        {},
    )
    folder = write_folder(job).folder
    traces.record(folder.metrics, nodes=2, gpus=1, seconds=60)
    for suffix, content in BYTES.items():
        (folder.metrics / f"packed{suffix}").write_bytes(content)
    folder.events.write_text("".join(json.dumps(event) + "\n" for event in _events()))
    step = folder.checkpoints / "step-4"
    texts: dict[Path, Any] = {
        folder.logs / "job-7.out": LOG.decode(),
        folder.nodes: "n1\nn2\n",
        folder.server_nodes: "n3\n",
        folder.first_failed_node: "1 0 n1\n",
        folder.logs / "sidecar.log": "0: sidecar: no GPU\n",
        folder.logs / "nccl-n1-3.log": "n1:3:3 [0] NCCL WARN Timeout\nNCCL INFO Using network IB\n",
        folder.rank_error(0): {
            "rank": 0, "local_rank": 0, "host": "n1", "time": NOON + 50, "error": "E: x",
            "fix": "do y", "traceback": "Traceback\nE: x", "collateral": False,
        },
        folder.logs / "ranks/node-0/none_x/attempt_0/1/stderr.log": "ValueError: bad\n",
        folder.phase: {"name": "x", "began": 1.0, "moved": 2.0, "done": 1, "total": 2, "unit": "B"},
        folder.metrics / "n1.ranks.json": {
            "format": 1, "wall": NOON, "ranks": [
                {"pid": 7, "state": "sleeping", "rank": 0, "local_rank": 0, "since": NOON - 9,
                 "wait": "futex_wait_queue"},
            ],
        },
        folder.attempt_file: "7.0\n",
        folder.exit_code_file: "1\n",
        folder.job_file: "7\n",
        folder.cancelled_file: "ada on login1\n",
        folder.stop_request: "preempted\n",
        folder.rates: {"nodes": 2, "per_node": 2, "inside": [], "across": []},
        folder.checkpoint_digests: {"step": 4, "sha256": "0" * 64},
        folder.pending_checksums: {"job.sbatch": "0"},
        folder.lease_file: {"user": "ada"},
        step / "manifest.json": {
            "format": 2, "step": 4, "ranks": 2,
            "files": {"a.safetensors": {"bytes": 3, "sha256": "0" * 64}},
        },
        step / "a.safetensors": "abc",
        folder.final / "config.json": {"model_type": "llama"},
        folder.evaluations / "e-1.json": {
            "name": "e-1", "created": NOON, "model": NAME, "checkpoint": "step-4",
            "tasks": ["arc"], "scores": {"arc": {"acc": {"value": 0.5, "stderr": 0.1}}},
            "base": {"arc": {"acc": {"value": 0.25}}}, "higher_is_better": {"arc": {"acc": True}},
            "rows": {"arc": 9}, "limit": 5, "harness": "0.4",
        },
        folder.final / "adapter_model.safetensors": "abc",
    }  # fmt: skip
    for path, content in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content) + "\n")
    add_groups(folder)
    return folder


def _events() -> list[dict[str, Any]]:
    at = NOON
    kinds: list[dict[str, Any]] = [
        {"event": "start", "world": 2, "device": "cpu", "hpclaunch": "0.1.0", "attempt": "7.0"},
        {"event": "load", "seconds": 2.0, "parameters": 1000, "trainable": 10},
        {"event": "data", "samples": 9, "rows": 3, "tokens": 99, "seconds": 1.0, "lost": 0},
        {"event": "memory", "allocated": 10, "reserved": 20},
        {"event": "eval", "step": 2, "loss": 2.0},
        {"event": "checkpoint", "step": 4, "seconds": 1.0, "stalled": 0.5, "bytes": 3, "path": "s"},
        {"event": "synced", "name": "step-4", "step": 4, "seconds": 1, "bytes": 3, "url": "s3://b"},
        {"event": "sync failed", "name": "step-4", "why": "no"},
        {"event": "failure", "kind": "node", "node": "n2", "why": "lost"},
        {"event": "left out", "job": "7", "nodes": ["n2"]},
        {"event": "stop", "step": 5, "why": "time limit"},
        {"event": "end", "step": 5, "seconds": 9, "outcome": "stopped", "final": "final"},
    ]
    steps = [
        {"event": "step", "step": n, "total": 9, "loss": 3.0 - n / 9, "learning_rate": 1e-4,
         "seconds": 2.0, "tokens": 50, "waited": 0.1}
        for n in range(1, 6)
    ]  # fmt: skip
    return [{"time": at + n, **event} for n, event in enumerate(kinds[:3] + steps + kinds[3:])]
