"""A training program of one's own: a small random Llama learns to count. Started by hpclaunch."""

import argparse

import torch
from accelerate import Accelerator
from transformers import LlamaConfig, LlamaForCausalLM


def main() -> None:
    """Train for --steps steps; the first rank says how it goes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=20)
    steps = parser.parse_args().steps

    accelerator = Accelerator()
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
    )
    model = accelerator.prepare(LlamaForCausalLM(config))
    optimizer = accelerator.prepare(torch.optim.AdamW(model.parameters(), lr=1e-3))

    for step in range(1, steps + 1):
        first = torch.randint(0, 32, (8, 1), device=accelerator.device)
        tokens = first + torch.arange(32, device=accelerator.device)
        loss = model(input_ids=tokens, labels=tokens).loss
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        # Every rank takes part in the mean; only the first one prints it.
        mean = accelerator.reduce(loss.detach(), "mean")
        accelerator.print(f"step {step}/{steps} loss {mean:.4f}")
    # Without this a rank on CPUs hangs once in a while: gloo's threads, which may still be letting
    # go of the last collective's tensors, must be done before the process group ends.
    accelerator.wait_for_everyone()
    accelerator.end_training()


if __name__ == "__main__":
    main()
