"""Switches of `performance:` that others' kernels stand behind: what each cannot be combined with.

compile, liger, fp8 and activation_offloading are off by default: hpclaunch has tried none on a GPU
yet, and the plan says so.
"""

from __future__ import annotations

import msgspec

from hpclaunch.document import Document
from hpclaunch.errors import UserError
from hpclaunch.recipe.schema import Performance, Recipe


class Lever(msgspec.Struct, frozen=True):
    """A switch that is off by default."""

    words: str
    unpredicted: str
    """What a prediction leaves out of it."""
    package: str | None = None
    """The package that it needs in the job's environment."""
    training_field: str | None = None
    """The field of TRL's config that says the same."""


LEVERS = {
    "compile": Lever(
        "regional compile",
        "step times are predicted without it (others measured 16 to 27% more throughput), and the "
        "first steps take minutes longer while layers are compiled",
        training_field="torch_compile",
    ),
    "liger": Lever(
        "Liger kernels",
        "step times are predicted without it (others measured 20% more throughput)",
        package="liger_kernel",
        training_field="use_liger_kernel",
    ),
    "fp8": Lever(
        "FP8",
        "step times are predicted without it (others measured 28% more throughput)",
        package="torchao",
    ),
    "activation_offloading": Lever(
        "activation offloading",
        "memory and step times are predicted without it",
        training_field="activation_offloading",
    ),
}
"""Those switches, by their keys in `performance`."""


def switched_on(performance: Performance) -> list[str]:
    """Return the switches that are on, by their keys."""
    return [key for key in LEVERS if getattr(performance, key)]


def not_predicted(recipe: Recipe) -> list[str]:
    """Return in words what a prediction leaves out of the switches that are on."""
    return [
        f"performance.{key}: {LEVERS[key].unpredicted}; hpclaunch has not tried it on a GPU"
        for key in switched_on(recipe.performance)
    ]


def needed_packages(recipe: Recipe) -> list[str]:
    """Return the packages that the switches of a recipe need."""
    packages = (LEVERS[key].package for key in switched_on(recipe.performance))
    return [package for package in packages if package is not None]


def refuse_use_kernels(document: Document) -> None:
    """Refuse Transformers' `use_kernels`, in whatever section it is set. Raises UserError.

    It downloads compiled code from the hub when the model is loaded, and runs it.
    """
    for section in ("model", "performance", "training"):
        values = document.data.get(section)
        if isinstance(values, dict) and "use_kernels" in values:
            raise UserError(
                f"{document.where((section, 'use_kernels'))}: {section}.use_kernels would have "
                "every rank fetch compiled code from the hub and run it",
                "performance.liger=true has fused kernels from a package that you install",
            )


def check_levers(recipe: Recipe) -> None:
    """Refuse switches that cannot be combined, by name. Raises UserError."""
    performance, method = recipe.performance, recipe.method.kind
    for key in switched_on(performance):
        field = LEVERS[key].training_field
        if field and recipe.training.get(field) is not None:
            raise UserError(
                f"performance.{key} and training.{field} say the same twice",
                f"leave training.{field} out",
            )
    for key in ("compile", "liger"):
        if getattr(performance, key) and performance.fused_lora and method != "full":
            why = "would replace the layers that are fused"
            if key == "compile":
                why = "cannot compile the fused LoRA layers: their own backward passes break it"
            raise UserError(f"performance.{key} {why}", "set performance.fused_lora: false, too")
    if performance.compile:
        _check_compile(recipe)
    if performance.fp8:
        _check_fp8(recipe)
    if performance.every_n_layers > 1 and performance.activation_checkpointing != "whole":
        raise UserError(
            f"performance.every_n_layers: {performance.every_n_layers} says which layers are "
            "computed again, and performance.activation_checkpointing is "
            f"{performance.activation_checkpointing}",
            "set performance.activation_checkpointing: whole",
        )


def _check_compile(recipe: Recipe) -> None:
    if recipe.method.kind == "qlora":
        raise UserError(
            "performance.compile: bitsandbytes' 4-bit layers break the graph at every matrix",
            "set method.kind: lora, or leave performance.compile out",
        )
    if recipe.fsdp.version == 1:
        raise UserError("performance.compile needs FSDP 2", "set fsdp.version: 2")
    if recipe.model.attention == "flex_attention":
        raise UserError(
            "performance.compile: flex_attention compiles itself, and not within a compiled layer",
            "set model.attention: auto",
        )


def _check_fp8(recipe: Recipe) -> None:
    if recipe.method.kind != "full":
        raise UserError(
            f"performance.fp8 is for full fine-tunes, and method.kind is {recipe.method.kind}: "
            "frozen weights gain nothing from it",
            "leave performance.fp8 out",
        )
    if recipe.model.dtype != "bfloat16":
        raise UserError(
            f"performance.fp8 computes beside bfloat16, and model.dtype is {recipe.model.dtype}",
            "set model.dtype: bfloat16",
        )
    if recipe.fsdp.version == 1:
        raise UserError("performance.fp8 needs FSDP 2", "set fsdp.version: 2")
    if recipe.fsdp.offload:
        raise UserError(
            "performance.fp8 and fsdp.offload exclude each other: weights are cast on the GPU",
            "leave one out",
        )
