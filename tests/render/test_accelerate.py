"""The accelerate config, read by accelerate itself and turned into what each rank is told."""

import itertools
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from hpclaunch.plan.layout import layout
from hpclaunch.render.accelerate import accelerate_config
from tests.plan.making import recipe

ORIGIN = {
    "fsdp_activation_checkpointing": False,
    "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    "fsdp_backward_prefetch": "BACKWARD_PRE",
    "fsdp_cpu_ram_efficient_loading": True,
    "fsdp_forward_prefetch": False,
    "fsdp_offload_params": False,
    "fsdp_sharding_strategy": "FULL_SHARD",
    "fsdp_state_dict_type": "SHARDED_STATE_DICT",
    "fsdp_sync_module_states": True,
    "fsdp_use_orig_params": True,
}
DROPPED = {
    "fsdp_sharding_strategy",
    "fsdp_backward_prefetch",
    "fsdp_forward_prefetch",
    "fsdp_sync_module_states",
    "fsdp_use_orig_params",
}


def config(
    *overrides: str, nodes: int = 4, per_node: int = 4, device: Literal["gpu", "cpu"] = "gpu"
) -> str:
    laid = layout(recipe(*overrides), nodes, per_node, device)
    return accelerate_config(laid, nodes, nodes * per_node, device)


def told_to_ranks(text: str, folder: Path) -> tuple[Any, dict[str, str]]:
    """Return accelerate's launch arguments for the file, and the variables its ranks get."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_multi_gpu_env

    path = folder / "accelerate.yaml"
    path.write_text(text)
    arguments = launch_command_parser().parse_args(["--config_file", str(path), "train.py"])
    arguments, _, _ = _validate_launch_command(arguments)
    return arguments, prepare_multi_gpu_env(arguments)


def test_the_origins_file_key_by_key() -> None:
    values = yaml.safe_load(config("fsdp.version=1"))
    assert values["fsdp_config"].items() >= ORIGIN.items()
    expected = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "FSDP",
        "main_process_port": 12340,
        "mixed_precision": "bf16",
        "num_machines": 4,
        "num_processes": 16,
        "rdzv_backend": "static",
    }
    assert values.items() >= expected.items()


def test_version_2_has_nothing_of_what_it_dropped() -> None:
    for sharding in ("full", "hybrid", "grad"):
        values = yaml.safe_load(config(f"fsdp.sharding={sharding}"))["fsdp_config"]
        assert not DROPPED & values.keys(), "a set forward_prefetch raises"
        assert values["fsdp_version"] == 2


COMBINATIONS = [
    (sharding, version, offload, dtype, nodes, device)
    for sharding, version, offload, dtype, nodes, device in itertools.product(
        ("full", "hybrid", "grad", "none"),
        (1, 2),
        (False, True),
        ("bfloat16", "float32"),
        (1, 4),
        ("gpu", "cpu"),
    )
    if not (device == "cpu" and (version == 1 or offload)) and not (offload and sharding == "none")
]


@pytest.mark.parametrize(
    ("sharding", "version", "offload", "dtype", "nodes", "device"), COMBINATIONS
)
def test_every_combination_is_one_that_accelerate_reads(
    *,
    sharding: str,
    version: int,
    offload: bool,
    dtype: str,
    nodes: int,
    device: Literal["gpu", "cpu"],
    tmp_path: Path,
) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    text = config(
        f"fsdp.sharding={sharding}",
        f"fsdp.version={version}",
        f"fsdp.offload={str(offload).lower()}",
        f"model.dtype={dtype}",
        nodes=nodes,
        device=device,
    )
    path = tmp_path / "accelerate.yaml"
    path.write_text(text)
    read = load_config_from_file(str(path))
    assert read.num_processes == nodes * 4
    assert read.num_machines == nodes
    assert read.use_cpu == (device == "cpu")
    assert bool(read.fsdp_config) == (sharding != "none")
    mesh = read.parallelism_config
    assert bool(mesh) == (sharding == "hybrid" and nodes > 1 and version == 2)
    if mesh:
        sizes = (mesh[f"parallelism_config_dp_{part}_size"] for part in ("replicate", "shard"))
        assert tuple(sizes) == (nodes, 4)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (("fsdp.sharding=full",), {"FSDP_VERSION": "2", "FSDP_RESHARD_AFTER_FORWARD": "true"}),
        (("fsdp.sharding=grad",), {"FSDP_VERSION": "2", "FSDP_RESHARD_AFTER_FORWARD": "false"}),
        (
            ("fsdp.sharding=hybrid",),
            {
                "PARALLELISM_CONFIG_DP_REPLICATE_SIZE": "4",
                "PARALLELISM_CONFIG_DP_SHARD_SIZE": "4",
                "FSDP_RESHARD_AFTER_FORWARD": "true",
            },
        ),
        (("fsdp.offload=true",), {"FSDP_OFFLOAD_PARAMS": "true"}),
        (("fsdp.state_dict=full",), {"FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT"}),
        (("fsdp.version=1", "fsdp.sharding=hybrid"), {"FSDP_SHARDING_STRATEGY": "HYBRID_SHARD"}),
        (("fsdp.version=1", "fsdp.sharding=grad"), {"FSDP_SHARDING_STRATEGY": "SHARD_GRAD_OP"}),
    ],
)
def test_the_ranks_are_told_what_the_recipe_says(
    overrides: tuple[str, ...], expected: dict[str, str], tmp_path: Path
) -> None:
    arguments, told = told_to_ranks(config(*overrides), tmp_path)
    assert arguments.use_fsdp
    assert {name: told.get(name, "").replace("True", "true").replace("False", "false")
            for name in expected} == expected  # fmt: skip
    assert told["ACCELERATE_MIXED_PRECISION"] == "bf16"


def test_without_sharding_there_is_no_fsdp(tmp_path: Path) -> None:
    arguments, told = told_to_ranks(config("fsdp.sharding=none"), tmp_path)
    assert not arguments.use_fsdp
    assert arguments.multi_gpu
    assert "FSDP_VERSION" not in told
