"""Fused LoRA layers are PEFT's: outputs, gradients, fallbacks, saving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpclaunch.run.events import read_events
from hpclaunch.train.kernels import fused_lora
from tests.train.conftest import short, train
from tests.train.packed import packed_batch, samples, tiny_model

RANDOM = 11


def adapted(family: str = "llama", dtype: str = "float64", **lora: Any) -> Any:
    """Return a model whose adapters change what it says."""
    import torch
    from peft import LoraConfig, get_peft_model

    model = tiny_model(family, "sdpa")
    torch.manual_seed(RANDOM)
    settings: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", **lora}
    wrapped = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **settings))
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return wrapped.to(getattr(torch, dtype)).train()


def learn(model: Any) -> tuple[Any, Any]:
    """Return the loss of a packed batch and the gradient of everything that is trained."""
    import torch

    batch = packed_batch(samples())
    torch.manual_seed(RANDOM)  # of dropout
    model.zero_grad()
    loss = model(**batch, use_cache=False).loss
    loss.backward()
    trained = sorted((n, p.grad) for n, p in model.named_parameters() if p.requires_grad)
    return loss.detach(), torch.cat([g.flatten() for _, g in trained if g is not None])


class Calls:
    """Counts the calls that ran fused."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fused = self.plain = 0
        run = fused_lora._run

        def counting(*arguments: Any, **options: Any) -> Any:
            made = run(*arguments, **options)
            self.fused += made is not None
            self.plain += made is None
            return made

        monkeypatch.setattr(fused_lora, "_run", counting)


def distance(found: Any, wanted: Any) -> float:
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("family", ["llama", "qwen3", "mistral", "gemma3_text"])
@pytest.mark.parametrize(
    "targets", ["all-linear", ["q_proj", "v_proj"], ["k_proj", "up_proj"]], ids=str
)
def test_gradients_are_pefts(
    family: str, targets: str | list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In 64 bits, where the norms of the models compute in 32."""
    wanted_loss, wanted = learn(adapted(family, target_modules=targets))
    calls = Calls(monkeypatch)
    model = adapted(family, target_modules=targets)
    monkeypatch.setattr(fused_lora, "NORMS", frozenset())  # Transformers' own compute in 32 bits
    fused_lora.fuse(model)
    loss, found = learn(model)
    assert calls.fused and not calls.plain
    assert abs(loss - wanted_loss) <= 1e-12 * wanted_loss
    assert distance(found, wanted) <= 1e-10


@pytest.mark.parametrize("checkpointing", [None, False, True], ids=("none", "non", "reentrant"))
@pytest.mark.parametrize("recomputed", [0, 1, 2])
def test_norms_and_recomputation_change_nothing(
    checkpointing: bool | None, recomputed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted_loss, wanted = learn(adapted(dtype="float32"))
    model = adapted(dtype="float32")
    assert fused_lora.fuse(model, recomputed_mlps=recomputed) == (2, 2, 5)
    if checkpointing is not None:
        model.gradient_checkpointing_enable({"use_reentrant": checkpointing})
        model.enable_input_require_grads()
    loss, found = learn(model)
    assert abs(loss - wanted_loss) <= 1e-6 * wanted_loss
    assert distance(found, wanted) <= 1e-6


@pytest.mark.parametrize("masters", ["float32", "bfloat16"])
def test_in_16_bits_they_are_as_near_to_the_truth_as_pefts(masters: str) -> None:
    """`masters`: adapters under autocast as on one GPU, or cast as FSDP does."""
    import torch

    def gradient(fused: bool) -> Any:
        model = adapted(dtype="bfloat16")
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.to(getattr(torch, masters))
        if fused:
            fused_lora.fuse(model)
        with torch.autocast("cpu", torch.bfloat16, enabled=masters == "float32"):
            return learn(model)[1].double()

    truth = learn(adapted(dtype="bfloat16").double())[1]
    pefts, ours = (distance(gradient(fused), truth) for fused in (False, True))
    assert ours <= 1.15 * pefts


@pytest.mark.parametrize(
    "lora",
    [
        {"lora_dropout": 0.2},
        {"use_dora": True},
        {"lora_bias": True},
        {"bias": "all"},
    ],
    ids=str,
)
def test_what_is_not_plain_is_left_to_peft(
    lora: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Qwen2 has biases to train
    wanted_loss, wanted = learn(adapted("qwen2", **lora))
    model = adapted("qwen2", **lora)
    monkeypatch.setattr(fused_lora, "NORMS", frozenset())
    calls = Calls(monkeypatch)
    fused_lora.fuse(model)
    loss, found = learn(model)
    assert calls.plain
    assert abs(loss - wanted_loss) <= 1e-12 * wanted_loss
    assert distance(found, wanted) <= 1e-10


@pytest.mark.parametrize("lora", [{"use_rslora": True}, {"rank_pattern": {"q_proj": 2}}], ids=str)
def test_scalings_and_ranks_are_the_adapters_own(
    lora: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = learn(adapted(**lora))[1]
    model = adapted(**lora)
    monkeypatch.setattr(fused_lora, "NORMS", frozenset())
    fused_lora.fuse(model)
    assert distance(learn(model)[1], wanted) <= 1e-10


def test_several_adapters_are_left_to_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    from peft import LoraConfig

    def two() -> Any:
        model = adapted()
        model.add_adapter("b", LoraConfig(task_type="CAUSAL_LM", r=2, target_modules="all-linear"))
        model.base_model.set_adapter(["default", "b"])
        return model.double()

    wanted = learn(two())[1]
    model = two()
    calls = Calls(monkeypatch)
    monkeypatch.setattr(fused_lora, "NORMS", frozenset())
    fused_lora.fuse(model)
    assert distance(learn(model)[1], wanted) <= 1e-10
    assert not calls.fused


def test_saving_merging_and_switching_off_stay_pefts(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    plain, fused = adapted(dtype="float32").eval(), adapted(dtype="float32").eval()
    fused_lora.fuse(fused)
    ids = samples()[0][None]

    def same() -> None:
        with torch.no_grad():
            torch.testing.assert_close(fused(input_ids=ids).logits, plain(input_ids=ids).logits)

    same()
    with plain.disable_adapter(), fused.disable_adapter():
        same()
    plain.merge_adapter(), fused.merge_adapter()
    same()
    plain.unmerge_adapter(), fused.unmerge_adapter()
    same()
    for name, model in (("plain", plain), ("fused", fused)):
        model.save_pretrained(tmp_path / name)
    files = [
        load_file(tmp_path / name / "adapter_model.safetensors") for name in ("plain", "fused")
    ]
    torch.testing.assert_close(files[0], files[1], rtol=0, atol=0)
    merged = fused.merge_and_unload()
    with torch.no_grad():
        torch.testing.assert_close(merged(input_ids=ids).logits, plain(input_ids=ids).logits)


def test_autocast_casts_the_adapters_and_not_what_goes_through_them() -> None:
    """On one GPU without FSDP: adapters in 32 bits, everything else computed in 16."""
    import torch

    from hpclaunch.train.kernels.install import cast_weights_only

    def learn_under_autocast(model: Any) -> tuple[Any, int]:
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        kept: dict[int, int] = {}

        def pack(tensor: Any) -> Any:
            if sum(map(len, samples())) in tensor.shape:
                kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        with hooks, torch.autocast("cpu", torch.bfloat16):
            return learn(model)[1], sum(kept.values())

    before, kept_before = learn_under_autocast(adapted(dtype="bfloat16"))
    model = adapted(dtype="bfloat16")
    cast_weights_only(model)
    after, kept_after = learn_under_autocast(model)
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    assert kept_after < 0.95 * kept_before


@pytest.mark.train
@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_two_sharded_ranks_learn_what_they_learn_without(
    method: str, request: pytest.FixtureRequest, tiny: Path, rows: Path, tmp_path: Path
) -> None:
    """Under FSDP 2, with activation checkpointing; in 32 bits, of 4-bit weights in 16."""
    fused = request.getfixturevalue(f"{method}_run")
    words = [
        *short(tiny, rows, steps=3),
        "performance.fused_lora=false",
        "performance.fused_loss=false",
    ]
    if method == "qlora":
        words += ["method.kind=qlora", "model.dtype=bfloat16"]
    plain = train(tmp_path / "plain", words)
    assert "fused: LoRA layers (2 attentions, 2 MLPs, 5 norms), loss" in fused.outcome.out
    assert "fused:" not in plain.outcome.out
    losses = [
        [event["loss"] for event in read_events(done.folder.events) if event["event"] == "step"]
        for done in (fused, plain)
    ]
    assert len(losses[1]) == 3
    assert losses[0][:3] == pytest.approx(losses[1], rel=1e-4 if method == "lora" else 2e-2)


def test_autocast_does_not_widen_a_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    """On GPUs it would run the norm in 32 bits, for its output to be cast back and kept twice."""
    import torch

    from hpclaunch.train.kernels import projections

    seen: list[bool] = []
    functions: Any = torch.nn.functional
    norm = functions.rms_norm

    def watched(*arguments: Any) -> Any:
        seen.append(torch.is_autocast_enabled("cpu"))
        return norm(*arguments)

    monkeypatch.setattr(functions, "rms_norm", watched)
    x = torch.ones(2, 4, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        out = projections.rms_norm(x, torch.ones(4, dtype=torch.bfloat16), 1e-6)
    assert (seen, out.dtype) == ([False], torch.bfloat16)


@pytest.mark.parametrize("module", ["self_attn.o_proj", "mlp"])
def test_what_a_layer_returns_may_be_changed_in_place(module: str) -> None:
    """As models with shared experts do: `out.add_(routed)`."""
    import torch

    def changed(model: Any) -> tuple[Any, Any]:
        layer = model.get_base_model().get_decoder().layers[0].get_submodule(module)
        handle = layer.register_forward_hook(lambda *call: call[2].add_(0.25))
        try:
            return learn(model)
        finally:
            handle.remove()

    wanted_loss, wanted = changed(adapted())
    model = adapted()
    fused_lora.fuse(model)
    loss, found = changed(model)
    torch.testing.assert_close(loss, wanted_loss, rtol=1e-6, atol=0)
    assert distance(found, wanted) < 1e-6
