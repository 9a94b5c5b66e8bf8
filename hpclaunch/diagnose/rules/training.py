"""What PyTorch refuses in how a program trains, or what became of the training itself."""

from __future__ import annotations

import re

from hpclaunch.diagnose.cause import Cause
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.rules.program import traceback
from hpclaunch.diagnose.run_evidence import RunEvidence

_NOT_FINITE = re.compile(
    r"(?i)\b(?:\w+_)?(?:loss|grad|gradients?|grad_norm|total norm|logits)\b"
    r".{0,40}\b(?:is|are|became|was|contains?|=|:) ?"
    r"(?:not finite|non-?finite|nan\b|inf\b|infinite)"
    r"|\b(?:nan|inf|non-?finite)\b.{0,24}\b(?:loss|grads?|gradients?|grad_norm|norm)\b"
    r"|loss scale already at minimum|returned nan values in its \d"
)
"""How programs say that the training diverged."""
_PROCESSES = re.compile(r"multiprocess|ForkingPickler|loky|dill|cloudpickle|num_proc|spawn")
_INTEGERS = re.compile(r"\b(?:Long|Int|Short|Byte|Char|Bool)\b|int\d")
"""Types of ids and labels: where they are wrong, it is the data's."""


def not_finite(evidence: RunEvidence) -> Cause | None:
    """The loss, its scale or the gradients are no numbers any more, and the program gave up."""
    rank = evidence.culprit
    if rank is None or rank.is_collateral or not _NOT_FINITE.search(rank.error):
        return None
    scale = " fp16's loss scale has no room left: bf16 needs none;" * ("loss scale" in rank.error)
    steps = (
        f"the training diverged:{scale} a smaller learning rate, longer warm-up, max_grad_norm=1; "
        "look at the loss before it, and at the rows of that step",
        advice.logs(evidence, rank.rank),
        advice.resume(evidence),
    )
    shown = traceback(rank) if rank.text else (rank.clue(),)
    headline = f"the training is no longer finite: {rank.error}"
    return Cause(headline, steps, shown, rank.rank, rank.host)


def dtypes(evidence: RunEvidence) -> Cause | None:
    """Weights, adapters or activations are of number formats that do not go together."""
    line = evidence.root_cause_line("dtypes")
    if line is None or _INTEGERS.search(line.text):
        return None
    if "unscale" in line.text:
        headline = (
            f"what is trained is in fp16, and fp16's loss scale needs it in fp32: {line.text}"
        )
        steps = (
            "load the model with dtype float32 and let fp16=True cast it, or train in bf16: "
            "bf16=True needs no loss scale",
            "with adapters: cast those parameters that are trained to float32",
        )
    else:
        headline = f"parts of the model are in different number formats: {line.text}"
        steps = (
            "load the model in one dtype, and train under autocast (bf16=True, or fp16=True): "
            "adapters, lm_head or norms that stay in float32 meet bfloat16 else",
            "for a quantized model: bnb_4bit_compute_dtype must be the one of the training; "
            "prepare_model_for_kbit_training(model) casts the rest",
        )
    return advice.cause(evidence, line, headline, *steps)


def mixed_sharding(evidence: RunEvidence) -> Cause | None:
    """FSDP2 sharded some parameters, and an operation meets others that it did not."""
    line = evidence.root_cause_line("mixed_sharding")
    if line is None:
        return None
    steps = (
        "all that meets in one layer must be wrapped together: fsdp_auto_wrap_policy with the "
        "model's own layer class; adapters must be added before FSDP wraps the model",
        "newer releases know of more cases: python -m pip install --upgrade accelerate peft trl; "
        "fsdp_version: 1 has no such tensors",
    )
    headline = f"some parameters are sharded by FSDP2, and others beside them are not: {line.text}"
    return advice.cause(evidence, line, headline, *steps)


def marked_twice(evidence: RunEvidence) -> Cause | None:
    """Under DDP, activation checkpointing of the older kind runs a layer's hooks twice."""
    line = evidence.root_cause_line("marked_twice")
    if line is None:
        return None
    steps = (
        "gradient_checkpointing_kwargs={'use_reentrant': False}",
        "or, where the same layer is used twice in a step: static_graph=True of "
        "DistributedDataParallel",
    )
    headline = "DDP met a parameter twice in one backward: activation checkpointing, or shared use"
    return advice.cause(evidence, line, headline, *steps)


def not_picklable(evidence: RunEvidence) -> Cause | None:
    """An object that is to go to another process cannot be written down."""
    line = evidence.root_cause_line("not_picklable")
    if line is None or not _PROCESSES.search(evidence.last_words):
        return None
    steps = (
        "in place of a lambda, or a function within a function, take one at the top of a module; "
        "open files and connections in the other process",
        "num_workers=0 of the loader, or num_proc=None of datasets' map, hands nothing over",
    )
    if "Can't get attribute" in line.text:
        steps = (
            "the other process imports the program anew: what it needs must stand at the top of a "
            "module, and what starts the training below if __name__ == '__main__':",
            steps[1],
        )
    headline = f"an object cannot be handed to another process: {line.text}"
    return advice.cause(evidence, line, headline, *steps)
