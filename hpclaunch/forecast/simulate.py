"""Simulates a step's memory in a process of its own, because that needs torch."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from hpclaunch.errors import JobFailed, UserError
from hpclaunch.forecast.forecast import Forecast


def simulate(predicted: Forecast, config: dict[str, Any]) -> int:
    """Return the bytes of tensors at the peak of a step on one GPU.

    Raises UserError without the training's packages, JobFailed where the model cannot be built.
    """
    load, recipe = predicted.estimate.training, predicted.request.recipe
    request = {
        "config": config,
        "method": load.method,
        "lora": {"r": recipe.method.lora.r, "target_modules": recipe.method.lora.target_modules},
        "double_quant": load.double_quant,
        "sharding": load.sharding,
        "shards": load.shards,
        "micro_batch_size": load.micro_batch_size,
        "seq_len": load.seq_len,
        "activation_checkpointing": load.activation_checkpointing,
    }
    done = subprocess.run(
        [sys.executable, "-P", "-m", "hpclaunch.train.simulation.simulate"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        answer: dict[str, int] = json.loads(done.stdout.splitlines()[-1])["bytes"]
        return answer["Total"]
    last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    if "No module named" in last:
        raise UserError(f"--exact: {last}", "pip install 'hpclaunch[train]'")
    raise JobFailed(f"the step cannot be simulated: {last}", 1)
