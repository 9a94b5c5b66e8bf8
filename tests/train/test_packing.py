"""Packed samples see themselves alone: the same loss and gradients, whatever the kernel."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from hpclaunch.errors import UserError
from hpclaunch.recipe.attention import VARLEN
from hpclaunch.train import attention, packing
from tests.train.packed import FAMILIES, packed_batch, samples, tiny_model

KERNELS = ("sdpa", "eager", VARLEN)
CASES = [
    (family, kernel)
    for family in FAMILIES
    for kernel in KERNELS
    if family != "gemma2" or kernel == "eager"  # Transformers has soft-capping there alone
]


def token_losses(model: Any, labels: Any, **batch: Any) -> Any:
    """Return the loss of each token that counts."""
    from torch.nn.functional import cross_entropy

    logits = model(use_cache=False, **batch).logits[:, :-1]
    losses = cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), reduction="none")
    return losses[labels[:, 1:].flatten() != -100]


def gradients(model: Any, losses: Any) -> Any:
    import torch

    losses.sum().backward()
    found = torch.cat([each.grad.flatten() for each in model.parameters() if each.requires_grad])
    model.zero_grad()
    return found


@pytest.mark.parametrize(("family", "kernel"), CASES)
def test_packed_samples_learn_what_each_learns_alone(family: str, kernel: str) -> None:
    import torch

    rows = samples()
    alone_model = tiny_model(family, "eager")
    alone = torch.cat(
        [token_losses(alone_model, row[None], input_ids=row[None]) for row in rows if len(row) > 1]
    )
    model = tiny_model(family, kernel)
    packing.forbid_masks(model)
    batch = packed_batch(rows)
    packed = token_losses(model, batch.pop("labels"), **batch)
    torch.testing.assert_close(packed, alone, rtol=1e-5, atol=1e-5)
    wanted = gradients(alone_model, alone)
    assert (gradients(model, packed) - wanted).norm() <= 1e-5 * wanted.norm()


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_mask_that_reaches_a_packed_batch_is_refused(kernel: str) -> None:
    """Transformers would take the row for one sample, without a word."""
    import torch

    model = tiny_model("llama", kernel)
    batch = packed_batch(samples())
    labels = batch.pop("labels")
    packing.forbid_masks(model)
    with pytest.raises(UserError, match="would see each other"):
        model(**batch, attention_mask=torch.ones_like(labels))
    with pytest.raises(UserError, match="without position_ids"):
        model(**{key: value for key, value in batch.items() if key != "position_ids"})
    plain = samples()[0][None]
    model(input_ids=plain) if kernel != VARLEN else None
    if kernel == VARLEN:
        with pytest.raises(ValueError, match="not packed"):
            model(input_ids=plain)


@pytest.mark.parametrize("family", sorted(packing.SEPARATING_FAMILIES))
def test_a_known_family_keeps_samples_apart(family: str) -> None:
    from transformers import AutoConfig

    assert packing.packing_difference(AutoConfig.for_model(family)) <= packing.PROBE_DIFFERENCE


def test_a_family_that_mixes_samples_is_not_packed() -> None:
    """OPT counts positions from its mask: it takes no position_ids."""
    from transformers import AutoConfig

    mixing, sound = AutoConfig.for_model("opt"), AutoConfig.for_model("stablelm")
    assert packing.use_packing({"max_length": 64}, mixing) is False
    assert packing.use_packing({"max_length": 64}, sound) is True
    assert packing.use_packing({"packing": False}, sound) is False
    with pytest.raises(UserError, match="opt model lets packed samples see each other"):
        packing.use_packing({"packing": True}, mixing)
    with pytest.raises(UserError, match="max_length"):
        packing.use_packing({"packing": True, "max_length": None}, sound)


def config_of(family: str, **more: Any) -> Any:
    from transformers import AutoConfig

    return AutoConfig.for_model(family, **more)


def test_auto_takes_the_fastest_kernel_that_is_right_for_the_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def chosen(family: str, device: str = "cuda", dtype: str = "bfloat16", **more: bool) -> str:
        packed = more.get("packed", True)
        return attention.attn_implementation(
            "auto", device, config_of(family), dtype, packed=packed
        )

    assert chosen("llama", "cpu") == "sdpa"
    assert chosen("llama") == VARLEN
    assert chosen("mistral") == VARLEN
    assert chosen("llama", packed=False) == "sdpa"
    assert chosen("llama", dtype="float32") == "sdpa", "flash kernels compute in 16 bits"
    for special in ("gemma2", "gpt_oss", "llama4_text"):
        assert chosen(special) == "sdpa", "Transformers then takes what the model supports"
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: object() if name == "flash_attn" else found(name),
    )
    assert chosen("llama") == "flash_attention_2"
    assert chosen("llama", "cpu") == "sdpa"
    assert chosen("gpt_oss") == "sdpa", "FlashAttention 2 has no sinks"


def test_a_kernel_that_is_not_there_is_refused() -> None:
    def ask(wanted: str, device: str, family: str = "llama", *, packed: bool = True) -> str:
        config = config_of(family)
        return attention.attn_implementation(wanted, device, config, "bfloat16", packed=packed)

    assert ask("eager", "cuda") == "eager"
    assert ask(VARLEN, "cpu") == VARLEN
    with pytest.raises(UserError, match="needs a GPU"):
        ask("flash_attention_2", "cpu")
    with pytest.raises(UserError, match="needs a GPU"):
        ask("flex_attention", "cpu")
    with pytest.raises(UserError, match="not installed"):
        ask("flash_attention_3", "cuda")
    with pytest.raises(UserError, match="not known"):
        ask(VARLEN, "cuda", "gemma2")
    with pytest.raises(UserError, match="packing is off"):
        ask(VARLEN, "cuda", packed=False)


def test_a_hub_kernel_counts_where_it_lies_in_the_cache(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: object() if name == "kernels" else found(name),
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    config = config_of("llama")

    def auto() -> str:
        return attention.attn_implementation("auto", "cuda", config, "bfloat16", packed=True)

    assert auto() == VARLEN
    repository = tmp_path / "models--kernels-community--flash-attn2"
    (repository / "snapshots" / "abc" / "build" / "torch213").mkdir(parents=True)
    assert auto() == "flash_attention_2"


def test_a_kernel_is_tried_out_before_any_forward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Activation checkpointing counts what a pass keeps; a trial in the first one was counted."""
    tried: list[bool] = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(attention, "_varlen_parameters", lambda: frozenset({"window_size"}))
    monkeypatch.setattr(attention, "_takes_grouped_heads", lambda: tried.append(True))
    attention.register_varlen()
    assert tried
