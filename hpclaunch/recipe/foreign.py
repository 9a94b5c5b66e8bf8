"""Files of other tools that are given as a recipe: what they are, and what to do with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hpclaunch.document import Document
from hpclaunch.errors import UserError

_SHARDING = {
    "FULL_SHARD": "full",
    "SHARD_GRAD_OP": "grad",
    "NO_SHARD": "none",
    "HYBRID_SHARD": "hybrid",
    "HYBRID_SHARD_ZERO2": "hybrid",
    "1": "full",
    "2": "grad",
    "3": "none",
    "4": "hybrid",
}
"""FSDP's strategies, by name or number, in the words of --sharding."""

_ZERO = {0: "none", 1: "grad", 2: "grad", 3: "full"}
"""DeepSpeed's ZeRO stages. FSDP has none that shards the optimizer alone: 2 is the next."""


def refuse_foreign(document: Document) -> None:
    """Refuse a file that another tool reads. Raises UserError with what would do the same."""
    model, data = document.data.get("model"), document.data.get("data")
    if isinstance(data, dict) or (isinstance(model, dict) and "name" in model):
        return  # a recipe, whatever else is in it
    for keys, least, refuse in _TOOLS:
        if len(keys & document.data.keys()) >= least:
            what, instead = refuse(document.data)
            raise UserError(f"{document.source} is {what}, and no recipe", instead)


def refuse_script(text: str, source: str) -> None:
    """Refuse a shell script. Raises UserError."""
    if text.startswith("#!"):
        raise UserError(
            f"{source} is a script, and no recipe",
            "submit it by sbatch, or give the program that it starts after --: "
            "hpclaunch sbatch --nodes 2 --gpus 4 -- train.py",
        )


def _accelerate(data: Mapping[str, Any]) -> tuple[str, str]:
    """Return what an accelerate config is, and the options that ask for the same."""
    kind = str(data.get("distributed_type", "")).upper()
    fsdp, deepspeed = _mapping(data, "fsdp_config"), _mapping(data, "deepspeed_config")
    options: list[str] = []
    if kind == "DEEPSPEED" or (deepspeed and not fsdp):
        stage = deepspeed.get("zero_stage")
        what = f"an accelerate config for DeepSpeed{f' ZeRO-{stage}' if stage is not None else ''}"
        options += _zero_options(stage, deepspeed.get("offload_param_device"))
    elif kind == "FSDP" or fsdp:
        what = "an accelerate config for FSDP"
        strategy = str(fsdp.get("fsdp_sharding_strategy", "")).upper()
        sharding = _SHARDING.get(strategy)
        if sharding is None:
            sharding = "grad" if fsdp.get("fsdp_reshard_after_forward") is False else "full"
        options += ["--sharding", sharding]
        options += ["--offload"] if fsdp.get("fsdp_offload_params") is True else []
        if fsdp.get("fsdp_activation_checkpointing") is True:
            options.append("--activation-checkpointing")
    else:
        what, options = "an accelerate config", ["--sharding", "none"]
    return what, _same(options, data)


def _deepspeed(data: Mapping[str, Any]) -> tuple[str, str]:
    """Return what a DeepSpeed config is, and the options that ask for the same."""
    zero = _mapping(data, "zero_optimization")
    stage = zero.get("stage")
    what = f"a DeepSpeed config{f' (ZeRO-{stage})' if stage is not None else ''}"
    return what, _same(_zero_options(stage, _mapping(zero, "offload_param").get("device")), {})


def _zero_options(stage: object, offload: object) -> list[str]:
    sharding = _ZERO.get(stage) if isinstance(stage, int) else None
    options = ["--sharding", sharding] if sharding else []
    return [*options, "--offload"] if offload in {"cpu", "nvme"} else options


def _same(options: list[str], data: Mapping[str, Any]) -> str:
    """Return the command that asks for such a sharding."""
    nodes, processes = data.get("num_machines"), data.get("num_processes")
    shape = "--nodes N --gpus N"
    if isinstance(nodes, int) and isinstance(processes, int) and 0 < nodes <= processes:
        shape = f"--nodes {nodes} --gpus {processes // nodes}"
    words = " ".join([shape, *options])
    return (
        "hpclaunch writes its own accelerate config: name a recipe (hpclaunch recipes ls) and the "
        f"same sharding, hpclaunch sbatch RECIPE {words}"
    )


def _of_tool(tool: str, model: str, dataset: str) -> Callable[[Mapping[str, Any]], tuple[str, str]]:
    """Return what says of a tool's config which of its values go into which option."""

    def refuse(data: Mapping[str, Any]) -> tuple[str, str]:
        def option(flag: str, key: str) -> str:
            value = data.get(key)
            named = isinstance(value, str) and value.isprintable() and " " not in value
            return f" {flag} {value}" if named else ""

        return f"a config of {tool}", (
            "begin with a ready recipe: hpclaunch recipes cp llama3-8b-lora, then hpclaunch sbatch "
            f"llama3-8b-lora.yaml{option('--model', model)}{option('--dataset', dataset)}"
        )

    return refuse


def _training_arguments(_: Mapping[str, Any]) -> tuple[str, str]:
    return (
        "a list of TrainingArguments",
        "put them under 'training:' of a recipe: hpclaunch recipes cp llama3-8b-lora",
    )


def _mapping(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    return value if isinstance(value, dict) else {}


_TOOLS: tuple[tuple[set[str], int, Callable[[Mapping[str, Any]], tuple[str, str]]], ...] = (
    (
        {"distributed_type", "compute_environment", "fsdp_config", "deepspeed_config"},
        1,
        _accelerate,
    ),
    ({"num_processes", "num_machines", "machine_rank", "mixed_precision"}, 2, _accelerate),
    ({"zero_optimization", "train_micro_batch_size_per_gpu"}, 1, _deepspeed),
    ({"base_model"}, 1, _of_tool("axolotl", "base_model", "")),
    ({"finetuning_type"}, 1, _of_tool("LLaMA-Factory", "model_name_or_path", "")),
    (
        {"model_name_or_path"},
        1,
        _of_tool("TRL's scripts", "model_name_or_path", "dataset_name"),
    ),
    ({"tokenizer", "checkpointer"}, 2, _of_tool("torchtune", "", "")),
    (
        {"per_device_train_batch_size", "learning_rate", "num_train_epochs", "output_dir"},
        2,
        _training_arguments,
    ),
)
"""Keys at the top level, how many of them tell a tool's config, and what is said of it."""
