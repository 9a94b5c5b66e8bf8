"""Each architecture trained, saved, loaded and asked for text: a tiny model of random weights."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.train.running import make_run

USUAL: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 256,
}  # fmt: skip
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
TOWER = {
    "model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 64,
    "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14,
    "vision_use_head": False,
}  # fmt: skip
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "qwen3_moe": EXPERTS,
    "mistral": {"sliding_window": None},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "gemma2": {"sliding_window": 64},
    "gemma3_text": {"sliding_window": 64},
    "gemma3": {},
    "phi3": {},
    "olmo2": {},
    "granite": {},
    "gpt_oss": {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 64},
}
"""`model_type`s, with what is not as in most."""

SUBSET = ("qwen3", "gemma3", "olmo2")
"""Those of the test suite."""

STEPS = 2
RECIPE = """
name: tiny
model: {{name: {base}, dtype: float32}}
data: {{name: "builtin:cluster-questions", limit: 64}}
method: {{kind: {method}}}
training:
  max_steps: {steps}
  max_length: 128
  per_device_train_batch_size: 2
  gradient_accumulation_steps: 1
  learning_rate: 1e-2
  warmup_steps: 0
  lr_scheduler_type: constant
checkpoints: {{every_steps: 0}}
tracking: {{tensorboard: false}}
"""


@dataclass(frozen=True)
class Result:
    """What one architecture did with one method."""

    architecture: str
    method: str
    trainable: int
    changed: bool
    """What was loaded from RUN/final computes another loss than the model before."""
    generated: int
    """Tokens."""
    fused: str
    packed: bool
    tower_changed: bool
    seconds: float


def save_tiny(architecture: str, folder: Path) -> Path:
    """Write a model of two layers and random weights, with the tiny model's tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from hpclaunch.train import tiny_llama

    tokenizer = AutoTokenizer.from_pretrained(tiny_llama.folder_of("builtin:tiny-llama"))
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id")}
    sizes = {**USUAL, **ARCHITECTURES[architecture], "vocab_size": len(tokenizer)}
    ids["pad_token_id"] = tokenizer.pad_token_id
    if architecture == "gemma3":
        text = {"model_type": "gemma3_text", "sliding_window": 64, **sizes, **ids}
        config = AutoConfig.for_model(
            "gemma3", text_config=text, vision_config=TOWER, image_token_id=0, **ids
        )
    else:
        config = AutoConfig.for_model(architecture, **sizes, **ids)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def try_out(architecture: str, method: str, folder: Path) -> Result:
    """Train an architecture for two steps, load what was saved and let it generate."""
    from hpclaunch.run.events import read_events
    from hpclaunch.train import packing, session

    began = time.monotonic()
    base = folder / "base"
    if not base.exists():
        save_tiny(architecture, base)
    recipe = folder / f"{method}.yaml"
    recipe.write_text(RECIPE.format(base=base, method=method, steps=STEPS))
    run = make_run(folder / method, [], per_node=1, base=str(recipe))
    output = io.StringIO()
    with _alone(), contextlib.redirect_stdout(output):
        session.run(run)
    events = {event["event"]: event for event in read_events(run.events)}
    before, _, _ = _loss_and_text(base)
    after, generated, model = _loss_and_text(run.final, base if method == "lora" else None)
    fused = re.search(r"fused: (.*)", output.getvalue())
    return Result(
        architecture,
        method,
        events["load"]["trainable"],
        abs(after - before) > 1e-4,
        generated,
        fused[1] if fused else "",
        packing.keeps_samples_apart(model.config),
        _tower_changed(model, base),
        time.monotonic() - began,
    )


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One rank on the CPU, in this process."""
    before = dict(os.environ)
    os.environ.update(ACCELERATE_USE_CPU="true", HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        os.environ.pop(name, None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _loss_and_text(folder: Path, base: Path | None = None) -> tuple[float, int, Any]:
    """Return a saved model's loss of a sentence, how many tokens it generates, and the model."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base or folder, dtype=torch.float32)
    if base is not None:
        model = PeftModel.from_pretrained(model, folder).merge_and_unload()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("How many GPUs does a node have?", return_tensors="pt").input_ids
    model.eval()
    with torch.no_grad():
        loss = float(model(input_ids=ids, labels=ids).loss)
        longer = model.generate(input_ids=ids, max_new_tokens=8, min_new_tokens=8, do_sample=False)
    return loss, int(longer.shape[1] - ids.shape[1]), model


def _tower_changed(model: Any, base: Path) -> bool:
    """Return whether parameters beside the text decoder differ from those of the base model."""
    import torch
    from transformers import AutoModelForCausalLM

    names = [
        name for name, _ in model.named_parameters() if "vision" in name or "projector" in name
    ]
    if not names:
        return False
    own, old = dict(model.named_parameters()), AutoModelForCausalLM.from_pretrained(base)
    theirs = dict(old.named_parameters())
    return not all(torch.equal(own[name], theirs[name].to(own[name].dtype)) for name in names)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as root:
            print(json.dumps(asdict(try_out(name, "lora", Path(root)))), flush=True)
