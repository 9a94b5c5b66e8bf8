"""What `accelerate estimate-memory` computes, for a model that lies in a folder.

    python -m tests.benchmarks.estimator FOLDER

The command itself asks the hub first, whatever it is given; from there on these are its own steps.
"""

from __future__ import annotations

import sys
from functools import cache

GIB = 2**30


@cache
def training_bytes(folder: str) -> float:
    """Return what it names for training with Adam in mixed bf16, in bytes."""
    import torch
    from accelerate import init_empty_weights
    from accelerate.commands.estimate import estimate_training_usage
    from accelerate.utils import calculate_maximum_sizes
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(folder)
    with init_empty_weights():
        model = AutoModel.from_config(config, dtype=torch.float32)
    total, _ = calculate_maximum_sizes(model)
    return float(max(estimate_training_usage(total, "bfloat16").values()))


if __name__ == "__main__":
    print(f"{training_bytes(sys.argv[1]) / GIB:.1f} GiB")
