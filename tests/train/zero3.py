"""A program that accelerate starts under DeepSpeed: trains so many steps, saves, and goes on."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from safetensors.torch import save_file


def main(out: Path, steps: int) -> None:
    accelerator = Accelerator(kwargs_handlers=[InitProcessGroupKwargs(backend="gloo")])
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    inputs = torch.randn(512, 64)
    rows = torch.utils.data.TensorDataset(inputs, inputs[:, :8].sum(1, keepdim=True))
    loader = torch.utils.data.DataLoader(rows, batch_size=16)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    done = 0
    if (out / "step").is_file():
        accelerator.load_state(out / "state")
        done = int((out / "step").read_text())
    held = sum(parameter.ds_tensor.numel() for parameter in model.parameters())
    kind = next(model.parameters()).dtype
    for step, (given, wanted) in enumerate(loader, 1):
        if step <= done:
            continue
        loss = torch.nn.functional.mse_loss(model(given.to(kind)).float(), wanted)
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        mean = accelerator.reduce(loss.detach(), "mean").item()
        if accelerator.is_main_process:
            line = {"step": step, "loss": mean, "held": held, "ranks": accelerator.num_processes}
            print(json.dumps(line), flush=True)
        if step == steps:
            break
    accelerator.save_state(out / "state")
    whole = accelerator.get_state_dict(model)
    if accelerator.is_main_process:
        (out / "step").write_text(str(steps))
        save_file(whole, out / "weights.safetensors")
    accelerator.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
