"""What loading takes of a node's memory, and how long: each rank its shard, against all of it.

`python -m tests.benchmarks.loading [FOLDER] [254m|1b|3b] [RANKS] [CASE ...]`: a full fine-tune,
LoRA and QLoRA of a random Llama on CPU ranks up to their first step, loaded both ways; QLoRA in
shards twice, for a later start reads the 4-bit weights that the first one kept. CASE: `full-whole`,
`qlora-sharded`, ..., all where none is named; `full-whole:stop` ends the ranks when the first step
begins, where that would not fit. docs/evidence/loading.md keeps the answer.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpclaunch.run.events import read_events
from hpclaunch.run.folder import RunFolder
from tests.benchmarks.random_llama import build
from tests.benchmarks.ranks_memory import RanksMemory
from tests.train.conftest import question, write_jsonl
from tests.train.running import environment, launch_command, make_run

CASES = ("full-whole", "full-sharded", "lora-whole", "lora-sharded", "qlora-whole",
         "qlora-sharded", "qlora-later")  # fmt: skip
HEADER = (
    "| method | loading | own MB a node | of it before | when loaded | peak ratio | file pages MB "
    "| to the first step s | CPU s | SHA |\n|---|---|---|---|---|---|---|---|---|---|"
)
TIMEOUT_S = 3000


def measure(root: Path, model: Path, rows: Path, case: str, ranks: int) -> None:
    """Load a model, train one step unless the case says to stop, and print a row of the table."""
    name, _, stops = case.partition(":")
    method, _, way = name.partition("-")
    folder_name = f"{model.name}-{name}"
    shutil.rmtree(root / folder_name, ignore_errors=True)
    folder = make_run(
        root / folder_name,
        [
            f"model.name={model}", f"data.name={rows}", "data.validation_split=null",
            f"method.kind={method}", "model.dtype=bfloat16",
            f"fsdp.loading={'whole' if way == 'whole' else 'sharded'}",
            "training.max_steps=1", "training.max_length=64",
            "training.per_device_train_batch_size=1", "training.optim=sgd",
            "training.learning_rate=1e-2", "training.warmup_steps=0",
            "checkpoints.every_steps=0", "tracking.tensorboard=false",
        ],
        per_node=ranks,
    )  # fmt: skip
    cache = root / f"cache-{model.name}"
    if name == "qlora-sharded":
        shutil.rmtree(cache, ignore_errors=True)
    sampler = RanksMemory(folder)
    sampler.start()
    try:
        _run(folder, ranks, sampler, cache, stops=bool(stops))
    finally:
        sampler.ended = True
        sampler.join()
    first = {each["event"]: each for each in reversed(list(read_events(folder.events)))}
    seconds = (sampler.first_step_at or 0) - first["start"]["time"]
    own, files = (sampler.peak[kind] / 1e6 for kind in ("RssAnon", "RssFile"))
    print(
        f"| {method} | {way} | {own:,.0f} | {sampler.base / 1e6:,.0f} | {sampler.loaded / 1e6:,.0f}"
        f" | {sampler.peak_ratio:.2f} | {files:,.0f} | {seconds:.1f} | {sampler.cpu_s:.1f} | "
        f"{'not trained' if stops else digest(folder.final)} |",
        flush=True,
    )
    if "PHASES" in os.environ:
        for phase, held in sampler.phases.items():
            print(f"    {held / 1e6:8,.0f} MB  {phase}", flush=True)


def _run(folder: RunFolder, ranks: int, sampler: RanksMemory, cache: Path, *, stops: bool) -> None:
    """Run the ranks to their end, or up to the first step. Exits where they fail."""
    log = folder.root / "output"
    with log.open("wb") as output, _started(folder, ranks, output, cache) as launched:
        if stops:
            while sampler.is_alive() and launched.poll() is None:
                sampler.join(0.2)
        else:
            launched.wait(TIMEOUT_S)
    if sampler.first_step_at is None or (not stops and launched.returncode):
        print(log.read_text("utf-8", "replace")[-3000:])
        raise SystemExit(1)


@contextlib.contextmanager
def _started(
    folder: RunFolder, ranks: int, output: Any, cache: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the ranks as a job does; none of them is left afterwards."""
    launched = subprocess.Popen(
        launch_command(folder, ranks, ("-m", "hpclaunch.train")),
        env=environment(HPCLAUNCH_CACHE=str(cache)),
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield launched
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(launched.pid, signal.SIGKILL)
        launched.wait()


def digest(final: Path) -> str:
    """Return the first digits of the SHA-256 of the final weights."""
    found: Any = hashlib.sha256()
    for path in sorted(final.glob("*.safetensors")):
        found.update(path.read_bytes())
    return str(found.hexdigest()[:8])


def main(arguments: list[str]) -> None:
    """Measure all methods both ways, or the cases that are named."""
    base, size, ranks = (*arguments[:3], *("", "254m", "4")[len(arguments) :])
    root = Path(base or tempfile.mkdtemp())
    model = root / f"model-{size}"
    if not model.exists():
        build(model, size)
    rows = write_jsonl(
        root / "rows.jsonl",
        [
            {"messages": [
                {"role": "user", "content": question(n)[0]},
                {"role": "assistant", "content": question(n)[1]},
            ]}
            for n in range(32)
        ],
    )  # fmt: skip
    print(HEADER, flush=True)
    for case in arguments[3:] or CASES:
        measure(root, model, rows, case, int(ranks))


if __name__ == "__main__":
    main(sys.argv[1:])
