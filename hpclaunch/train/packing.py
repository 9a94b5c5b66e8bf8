"""Packing: several samples in one row, each seeing itself alone."""

from __future__ import annotations

import copy
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.recipe.objectives import DEFAULT_OBJECTIVE, OBJECTIVES, Objective

SEPARATING_FAMILIES = frozenset(
    {"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3", "granite",
     "olmo2", "mixtral", "qwen2_moe", "qwen3_moe"}
)  # fmt: skip
"""`model_type`s known to keep packed samples apart, by tests; others are tried out."""
PROBE = (5, 7)
"""Tokens of the two samples that a model of another family is tried with."""
PROBE_VOCABULARY, PROBE_DIFFERENCE = 128, 1e-4
REPORT = "set training.packing: false, and report this with your versions of TRL and Transformers"


def use_packing(
    training: dict[str, Any], config: Any, objective: Objective = DEFAULT_OBJECTIVE
) -> bool:
    """Return whether samples are packed: by default wherever the model keeps them apart.

    Answers that are compared or labelled never are. `training`: the recipe's section; `config`: the
    model's. Raises UserError where packing is
    requested and the model would let samples see each other, or rows have no length.
    """
    requested, spec = training.get("packing"), OBJECTIVES[objective]
    if requested is False or not spec.packs:
        return False
    if training.get("max_length", 1) is None:
        if requested:
            raise UserError(
                "training.packing needs rows of a length, and training.max_length is null",
                "set training.max_length to the tokens of a row",
            )
        return False
    if spec.learns_every_token and requested and training.get("packing_strategy") == "wrapped":
        return True  # one stream of tokens without borders, as it is asked for
    if keeps_samples_apart(config):
        return True
    if requested:
        raise UserError(
            f"training.packing: a {config.model_type} model lets packed samples see each other",
            "set training.packing: false",
        )
    return False


def keeps_samples_apart(config: Any) -> bool:
    """Return whether a model of this config computes packed samples as it does each alone.

    A family that is not known is tried with a small model of its kind, on the CPU.
    """
    if config.model_type in SEPARATING_FAMILIES:
        return True
    try:
        return packing_difference(config) <= PROBE_DIFFERENCE
    except Exception:  # each architecture has checks of its own; one that fails is not packed
        return False


def packing_difference(config: Any) -> float:
    """Return how far a packed sample's logits are from its own alone, relative to the largest.

    Of a small model with random weights, so that nothing is loaded. Raises what building or
    running such a model raises.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from hpclaunch.train.simulation.shrink import cut

    small = copy.deepcopy(config)
    cut(small)
    text = small.get_text_config()
    text.vocab_size = PROBE_VOCABULARY
    text.pad_token_id = None
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(
            small, dtype=torch.float32, trust_remote_code=False
        ).eval()
        ids = torch.randint(1, PROBE_VOCABULARY, (1, sum(PROBE)))
        positions = torch.cat([torch.arange(length) for length in PROBE])[None]
        bounds = torch.tensor([0, PROBE[0], sum(PROBE)], dtype=torch.int32)
        packed = model(
            input_ids=ids,
            position_ids=positions,
            use_cache=False,
            cu_seq_lens_q=bounds,
            cu_seq_lens_k=bounds,
            max_length_q=max(PROBE),
            max_length_k=max(PROBE),
        ).logits[:, PROBE[0] :]
        alone = model(input_ids=ids[:, PROBE[0] :], use_cache=False).logits
    return float((packed - alone).abs().max() / alone.abs().max())


def forbid_masks(model: Any) -> None:
    """Have a model refuse packed batches that come with a 2D attention mask.

    With one, Transformers takes a row for one sample, and packed samples would see each other.
    """
    model.base_model.register_forward_pre_hook(_refuse_mask, with_kwargs=True)


def _refuse_mask(module: Any, inputs: tuple[Any, ...], batch: dict[str, Any]) -> None:
    if batch.get("cu_seq_lens_q") is None:
        return
    if batch.get("attention_mask") is not None:
        raise UserError(
            "a packed batch came with an attention mask: its samples would see each other",
            REPORT,
        )
    if batch.get("position_ids") is None:
        raise UserError(
            "a packed batch came without position_ids: its samples would see each other",
            REPORT,
        )
