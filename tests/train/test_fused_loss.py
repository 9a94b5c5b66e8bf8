"""The loss whose gradient is made in the forward pass: TRL's own, and the truth's."""

from __future__ import annotations

from typing import Any

import pytest

from hpclaunch.train.kernels import fused_loss

OUTPUTS = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1")
TOKENS, WIDTH, VOCABULARY = 70, 24, 300


def head(dtype: str, softcap: float | None, **trained: bool) -> tuple[Any, ...]:
    import torch

    made = torch.Generator().manual_seed(2)
    hidden = torch.randn(TOKENS, WIDTH, generator=made).to(getattr(torch, dtype))
    weight = torch.randn(VOCABULARY, WIDTH, generator=made).to(hidden.dtype)
    weight.requires_grad_(trained.get("weight", False))
    bias = torch.randn(VOCABULARY, generator=made).to(hidden.dtype)
    targets = torch.randint(0, VOCABULARY, (TOKENS,), generator=made)
    return hidden.requires_grad_(), weight, bias, targets, 0.7, 128, softcap, 0.5, OUTPUTS


def learn(function: Any, arguments: tuple[Any, ...]) -> tuple[Any, Any]:
    """Return all outputs and the gradient of the hidden states, each token weighted in its way."""
    import torch

    outputs = function.apply(*arguments)
    (outputs[0] * torch.linspace(-1, 2, TOKENS)).sum().backward()
    gradient = arguments[0].grad
    arguments[0].grad = None
    return outputs, gradient


@pytest.mark.parametrize("softcap", [None, 3.0])
def test_it_gives_what_trls_gives(softcap: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from trl.kernels.chunked_logprob import ChunkedLogProbFunction

    monkeypatch.setattr(fused_loss, "TOKENS", 32)
    arguments = head("float32", softcap)
    wanted, gradient = learn(ChunkedLogProbFunction, arguments)
    found, ours = learn(fused_loss.HeadLogProbs, arguments)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.float(), other.float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours, gradient, rtol=1e-4, atol=1e-6)


def test_in_16_bits_it_is_as_near_to_the_truth_as_trls() -> None:
    from trl.kernels.chunked_logprob import ChunkedLogProbFunction

    arguments = head("bfloat16", None)
    exact = tuple(
        each.detach().double() if getattr(each, "is_floating_point", bool)() else each
        for each in arguments
    )
    exact[0].requires_grad_()
    _, truth = learn(ChunkedLogProbFunction, exact)
    errors = [
        float((learn(function, arguments)[1] - truth).norm() / truth.norm())
        for function in (ChunkedLogProbFunction, fused_loss.HeadLogProbs)
    ]
    assert errors[1] <= 1.5 * errors[0]


def test_a_trained_head_stays_with_trl(monkeypatch: pytest.MonkeyPatch) -> None:
    from trl.kernels import chunked_logprob
    from trl.trainer import utils

    monkeypatch.setattr(utils, "_ChunkedLogProbFunction", utils._ChunkedLogProbFunction)
    fused_loss.install()
    arguments = head("float32", None, weight=True)
    utils._ChunkedLogProbFunction.apply(*arguments)[0].sum().backward()
    assert arguments[1].grad is not None
    assert (
        utils._ChunkedLogProbFunction.apply(*head("float32", None))[0]
        .grad_fn.name()
        .startswith("HeadLogProbs")
    )
    assert chunked_logprob.ChunkedLogProbFunction is not fused_loss.HeadLogProbs
