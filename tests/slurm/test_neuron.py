"""Trainium's chain on a real Slurm: compile beforehand, then train, both under torchrun.

AWS's programs are stand-ins; torchrun, Slurm, the script and the sidecar are real.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from monitors.records import Start
from monitors.storage.store import NodeStore
from tests.monitors.neuron_monitor import report, stand_in
from tests.slurm.cluster import ThrowawayCluster
from tests.slurm.user import User

pytestmark = [pytest.mark.slurm, pytest.mark.train]

COMPILE = """\
#!/bin/sh
mkdir -p "$NEURON_COMPILE_CACHE_URL"
echo "$1 $3" >>"$NEURON_COMPILE_CACHE_URL/graphs"
NEURON_EXTRACT_GRAPHS_ONLY=1 exec "$@"
"""
TRAIN = """\
import json, os, sys, time
names = ["RANK", "WORLD_SIZE", "LOCAL_RANK", "GROUP_RANK", "FI_PROVIDER",
         "NEURON_EXTRACT_GRAPHS_ONLY"]
said = {name: os.environ.get(name) for name in names}
said["graphs"] = open(os.environ["NEURON_COMPILE_CACHE_URL"] + "/graphs").read().split()
os.write(1, (json.dumps(said | {"argv": sys.argv[1:]}) + chr(10)).encode())
time.sleep(2)
"""
CHAIN = """\
resources: {nodes: 2, gpu: trn1, gpus: 2, cpus: 1, mem: 200M, time: "0:10:00"}
stages:
  compile:
    command: [neuron_parallel_compile, train.py, --steps, "10"]
  tune:
    command: [train.py]
    after: [compile]
"""
SITE = 'time: "0:10:00"\ngpus: {trn1: {per_node: 2, whole_nodes: true}}\n'


def said_by(text: str) -> list[dict[str, object]]:
    lines = [line[line.index("{") :] for line in text.splitlines() if '{"RANK"' in line]
    return sorted((json.loads(line) for line in lines), key=lambda said: int(str(said["RANK"])))


def test_compiled_beforehand_then_trained(slurm: ThrowawayCluster, tmp_path: Path) -> None:
    slurm.wait_until_idle()
    tools = tmp_path / "bin"
    sites = tmp_path / ".config/hpclaunch/sites"
    for folder in (tools, sites):
        folder.mkdir(parents=True)
    stand_in(tools, report())
    (tools / "neuron_parallel_compile").write_text(COMPILE)
    (tools / "neuron_parallel_compile").chmod(0o755)
    (sites / "trainium.yaml").write_text(SITE)
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "chain.yaml").write_text("site: trainium\n" + CHAIN)
    path = f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    user = User(slurm, tmp_path, {"PATH": path})
    started = user.hpclaunch("pipeline", "chain.yaml", "--name", "c")
    assert started.returncode == 0, started.stderr
    assert user.jobs_left(300) == ""
    first = said_by(user.hpclaunch("logs", "c.compile").stdout)
    assert [said["NEURON_EXTRACT_GRAPHS_ONLY"] for said in first] == ["1"] * 4
    assert first[0]["argv"] == ["--steps", "10"]
    second = said_by(user.hpclaunch("logs", "c.tune").stdout)
    assert [(said["RANK"], said["LOCAL_RANK"], said["GROUP_RANK"]) for said in second] == [
        ("0", "0", "0"), ("1", "1", "0"), ("2", "0", "1"), ("3", "1", "1")
    ]  # fmt: skip
    assert second[0]["NEURON_EXTRACT_GRAPHS_ONLY"] is None
    assert second[0]["FI_PROVIDER"] == "efa"
    assert second[0]["graphs"] == ["torchrun", "2"] * 2, "what the stage before left, a node each"
    records = NodeStore(tmp_path / "runs/c.tune/metrics", "node2").records()
    (head,) = [record for record in records if isinstance(record, Start)]
    assert [gpu.name for gpu in head.gpus] == ["AWS NeuronCore v2 trainium trn1.2xlarge"] * 2
