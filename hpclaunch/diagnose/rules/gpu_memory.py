"""The GPU's memory was used up: by what, and what makes room."""

from __future__ import annotations

import re

from hpclaunch.diagnose.cause import Cause
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.run_evidence import RunEvidence

_REQUESTED = re.compile(r"Tried to allocate ([\d.]+ \w+)")
_GPU = re.compile(r"GPU (\d+)[ ;]")
_CAPACITY = re.compile(r"total capac\w+ of ([\d.]+ \w+)|([\d.]+ \w+) total capacity")
_FREE = re.compile(r"of which ([\d.]+ \w+) is free|; ([\d.]+ \w+) free")
_OTHERS = re.compile(r"\. Process \d+ has ([\d.]+ \w+) memory in use")
_OWN = re.compile(r"allocated memory ([\d.]+ \w+) is allocated by PyTorch")
_UNITS = {"KiB": 1, "MiB": 2**10, "GiB": 2**20}
_LOADING = re.compile(r"from_pretrained\(|_load_pretrained_model|_apply\(convert\)")
_COMPUTING = re.compile(r"\bbackward\(|in forward\b|training_step|compute_loss|generate\(")
_FILE = re.compile(r'File "([^"]+)", line')
_OPTIMIZERS = re.compile(r"/(?:torch|bitsandbytes|torchao)/optim/|/deepspeed/ops/adam/")
_EVALUATING = re.compile(
    r"in (?:evaluate|evaluation_loop|prediction_step)\b|gather_for_metrics\(|nested_concat\("
)


PINNING = "torch/utils/data/_utils/pin_memory.py"
"""What the loader's thread runs that pins host memory for the GPU."""


def out_of_memory(evidence: RunEvidence) -> Cause | None:
    """A GPU had no memory left: who asked for how much."""
    line = evidence.root_cause_line("gpu_oom")
    if line is None or PINNING in evidence.last_words:
        return None
    rank, host = evidence.rank_and_host(line)
    culprit = evidence.culprit
    if rank is None and culprit is not None and not culprit.is_collateral:
        rank, host = culprit.rank, culprit.host
    if "cache blocks" in line.text or "KV cache" in line.text:
        steps = (
            "give vLLM a larger share of the GPU (gpu_memory_utilization), or shorter texts "
            "(max_model_len)",
            advice.resume(evidence),
        )
        return Cause(f"vLLM finds no room on the GPU for its cache: {line.text}", steps, (line,),
                     rank, host)  # fmt: skip
    if "desired GPU memory utilization" in line.text:
        steps = (
            "give vLLM a smaller share of the GPU (gpu_memory_utilization; in TRL "
            "vllm_gpu_memory_utilization), or GPUs of its own",
            advice.resume(evidence),
        )
        headline = f"vLLM does not find its share of the GPU free: {line.text}"
        return Cause(headline, steps, (line,), rank, host)
    requested, free = _REQUESTED.search(line.text), _either(_FREE, line.text)
    device, capacity = _GPU.search(line.text), _either(_CAPACITY, line.text)
    headline = f"GPU {device.group(1)} is out of memory" if device else "a GPU is out of memory"
    headline += f": it asked for {requested.group(1)} more" if requested else ""
    if capacity:
        headline += f", of {capacity}" + (f" {free} was free" if free else "")
    other = None if _is_itself(line.text, capacity) else _OTHERS.search(line.text)
    if other and capacity and 2 * _kib(other[1]) > _kib(capacity):
        headline += f"; another process held {other[1]} of it"
        elsewhere = advice.elsewhere(evidence, host)
        steps = (f"whose it is: nvidia-smi on {host or 'the node'}; tell your site's support",
                 elsewhere)  # fmt: skip
        return Cause(headline, steps, (line,), rank, host)
    return Cause(headline, _advice(evidence, line.text), (line,), rank, host)


def _is_itself(text: str, capacity: str) -> bool:
    """Return whether the process that holds the GPU is the one that failed.

    In a container its number is another than the driver's: then PyTorch takes it for a stranger.
    """
    other, own = _OTHERS.search(text), _OWN.search(text)
    if other is None or own is None or not capacity:
        return False
    return _kib(other[1]) >= _kib(own[1]) and _kib(other[1]) + _kib(own[1]) > _kib(capacity)


def _kib(size: str) -> float:
    """Return a size as PyTorch writes it in KiB; 0 of one in bytes."""
    number, unit = size.split()
    return float(number) * _UNITS.get(unit, 0)


def _either(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return next((group for group in match.groups() if group), "") if match else ""


def _advice(evidence: RunEvidence, text: str) -> tuple[str, ...]:
    """Return what makes room, the cheapest first."""
    steps = []
    others = _OTHERS.search(text)
    if others and not _is_itself(text, _either(_CAPACITY, text)):
        steps.append(f"another process held {others.group(1)} of this GPU: see nvidia-smi on it")
    evaluating = _EVALUATING.search(evidence.last_words) is not None
    if evidence.record.program:
        if evaluating:
            steps.append(
                "it was evaluating: a smaller per_device_eval_batch_size, and "
                "eval_accumulation_steps=1, which takes the logits off the GPU"
            )
        if _in_optimizer(evidence):
            return (*steps, "it was making the optimizer's states, which a smaller batch leaves as "
                    "they are: shard them (FSDP, ZeRO), or take an 8-bit optimizer or LoRA",
                    *_more(evidence))  # fmt: skip
        words = evidence.last_words
        if _LOADING.search(words) and not _COMPUTING.search(words):
            return (*steps, "it was bringing the model onto the GPU, whatever the batch: load it "
                    "in bf16 or in 4 bits, or a part on each GPU (FSDP, ZeRO-3)",
                    *_more(evidence))  # fmt: skip
        return (*steps, "make the batch or the sequences of your program smaller", *_more(evidence))
    section = advice.training(evidence)
    batch, length = section["per_device_train_batch_size"], section["max_length"]
    parts = section["gradient_accumulation_steps"]
    if evaluating:
        steps.append(advice.resume(evidence, "training.per_device_eval_batch_size=1"))
    elif isinstance(batch, int) and batch > 1 and isinstance(parts, int):
        half = max(1, batch // 2)
        steps.append(
            advice.resume(
                evidence,
                f"training.per_device_train_batch_size={half}",
                f"training.gradient_accumulation_steps={parts * batch // half}",
            )
        )
    elif isinstance(length, int) and length > 512:
        steps.append(advice.resume(evidence, f"training.max_length={length // 2}"))
    if section["gradient_checkpointing"] is False:
        steps.append(advice.resume(evidence, "training.gradient_checkpointing=true"))
    steps += [
        *_more(evidence),
        "a new run with less on each GPU: --method qlora, --sharding full, --offload",
    ]
    return tuple(steps)


def _in_optimizer(evidence: RunEvidence) -> bool:
    """Return whether the optimizer asked for the memory: its states, not the batch, need it."""
    files = _FILE.findall(evidence.last_words)
    return bool(files) and _OPTIMIZERS.search(files[-1]) is not None


def _more(evidence: RunEvidence) -> tuple[str, ...]:
    if evidence.record.mode == "local":
        return ()
    return (advice.resume(evidence, "--nodes", str(evidence.record.nodes * 2)),)
