"""Switches of `performance:` as TRL's arguments; one without effect stops the training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load
from hpclaunch.recipe.schema import Performance
from hpclaunch.run.folder import RunFolder
from hpclaunch.train import settings
from hpclaunch.train.distributed import DistContext
from hpclaunch.train.kernels.levers import check_levers_in


def arguments(tmp_path: Path, *words: str) -> Any:
    recipe = load("llama3.1-8b-full", ["tracking.tensorboard=false", *words])
    context = DistContext(rank=0, world_size=1, device="cpu", fsdp_version=0)
    return settings.training_arguments(
        recipe,
        RunFolder(tmp_path),
        context,
        conversations=False,
        has_eval_set=False,
        packing=True,
    )


def test_each_reaches_trls_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp8")  # as the launcher sets it
    assert arguments(tmp_path, "performance.fp8=true").mixed_precision == "fp8"
    assert arguments(tmp_path).mixed_precision == "bf16"
    made = arguments(
        tmp_path,
        "performance.activation_offloading=true",
        "performance.activation_checkpointing=whole",
        "performance.every_n_layers=3",
        "training.gradient_checkpointing_kwargs={'use_reentrant': false}",
    )
    assert made.activation_offloading
    assert made.gradient_checkpointing_kwargs == {"use_reentrant": False, "every_n_layers": 3}


def test_a_switch_without_effect_is_refused() -> None:
    import torch

    plain = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    check_levers_in(plain, Performance())
    for key, asked in (
        ("liger", Performance(liger=True)),
        ("fp8", Performance(fp8=True)),
        ("compile", Performance(compile=True)),
    ):
        with pytest.raises(UserError, match=f"performance.{key}"):
            check_levers_in(plain, asked)

    class Float8Linear(torch.nn.Linear):  # type: ignore[misc]  # torch is untyped here
        pass

    class LigerNorm(torch.nn.Linear):  # type: ignore[misc]  # torch is untyped here
        __module__ = "liger_kernel.transformers.rms_norm"

    check_levers_in(torch.nn.Sequential(Float8Linear(2, 2)), Performance(fp8=True))
    check_levers_in(torch.nn.Sequential(LigerNorm(2, 2)), Performance(liger=True))
    plain[0].compile(backend="eager")
    check_levers_in(plain, Performance(compile=True))
