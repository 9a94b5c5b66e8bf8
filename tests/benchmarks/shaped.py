"""Two nodes of two CPU ranks on a throwaway Slurm, joined by a link as slow as one asks for.

The nodes are network namespaces, the link between them is shaped by tc, and what trains is
`hpclaunch srun` with FSDP over gloo: a random Llama in bfloat16, LoRA or QLoRA.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from hpclaunch.predict.architecture import Architecture
from hpclaunch.predict.compare import Candidate
from hpclaunch.predict.families import architecture
from hpclaunch.recipe.schema import MethodKind
from hpclaunch.run.events import read_events
from hpclaunch.site.measured import CPU, Rates
from tests.benchmarks.material import write_model, write_text
from tests.slurm import harm
from tests.slurm.cluster import ThrowawayCluster
from tests.slurm.settings import Settings
from tests.slurm.user import User

NODES, PER_NODE = 2, 2
LENGTH, RANK, SAMPLES = 128, 8, 400
SHAPE = {"model_type": "llama", "tie_word_embeddings": False, "hidden_size": 512,
         "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8,
         "num_key_value_heads": 4}  # fmt: skip
RECIPE = f"""\
name: shaped
model: {{name: ./model, dtype: bfloat16}}
data: {{name: ./data.jsonl}}
method:
  lora: {{r: {RANK}, lora_alpha: 16, lora_dropout: 0.0}}
training:
  max_length: {LENGTH}
  logging_steps: 1
  learning_rate: 1.0e-3
checkpoints: {{every_steps: 0}}
tracking: {{tensorboard: false}}
"""


@dataclass(frozen=True)
class Trained:
    """A training that was run."""

    seconds: float
    """Of a step, the median without the first."""
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Bench:
    """The cluster with its link, a model and data."""

    user: User
    model: Architecture

    def shape(self, rate: str | None) -> None:
        """Let at most so much through between the nodes; None: all that goes."""
        for node in ("node1", "node2"):
            if rate is None:
                self.user.cluster.inside("tc", "qdisc", "del", "dev", node, "root")
            else:
                harm.slow_link(self.user.cluster, node, rate)

    def preflight(self) -> tuple[Rates, Rates]:
        """Measure the links by hpclaunch's own command: inside the nodes, and across."""
        self._call("preflight", "--nodes", f"{NODES}", "--cpu-processes", f"{PER_NODE}")
        kept = self.user.folder / ".config/hpclaunch/measured/generic-throwaway.json"
        record = json.loads(kept.read_text())
        return Rates(**record["inside"][CPU]), Rates(**record["across"][CPU])

    def train(self, lay: Candidate, method: MethodKind, steps: int = 5) -> Trained:
        """Train so many steps in a layout; ends the program where that fails."""
        runs = self.user.folder / "runs"
        shutil.rmtree(runs, ignore_errors=True)
        # A core a rank: more threads than cores wait for each other most of the time.
        words = [
            "--cpus",
            f"{PER_NODE}",
            *" ".join(lay.changes(Candidate("none", 0, 0, True))).split(),
            f"training.max_steps={steps}",
        ]
        self._call(
            "srun", "recipe.yaml", "--nodes", f"{NODES}", "--cpu-processes", f"{PER_NODE}",
            "--name", "bench", "--method", method, *words,
        )  # fmt: skip
        marks = read_events(runs / "bench/events.jsonl")
        done = [each for each in marks if each["event"] == "step"]
        return Trained(
            statistics.median(each["seconds"] for each in done[1:]),
            tuple(each["loss"] for each in done),
        )

    def _call(self, *words: str) -> None:
        done = self.user.hpclaunch(*words, timeout=900)
        if done.returncode:
            sys.exit(f"hpclaunch {' '.join(words)}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")


@contextmanager
def bench() -> Iterator[Bench]:
    """Start a cluster with a model and data on it; ends the program where there is no Slurm."""
    reason = ThrowawayCluster.missing()
    if reason is not None:
        sys.exit(f"no Slurm: {reason}")
    with TemporaryDirectory() as place:
        folder = Path(place)
        model = _write(folder)
        with ThrowawayCluster(Settings(nodes=NODES, links=True)) as cluster:
            yield Bench(User(cluster, folder), model)


def _write(folder: Path) -> Architecture:
    """Write recipe, data and a random model; gives the model's shape."""
    write_model(folder / "model", SHAPE)
    (folder / "recipe.yaml").write_text(RECIPE)
    write_text(folder / "data.jsonl", SAMPLES, LENGTH)
    return architecture(json.loads((folder / "model/config.json").read_text()))
