"""A Layout to the YAML that `accelerate launch --config_file` reads. Pure."""

from __future__ import annotations

from typing import Any, Literal

from hpclaunch.document import dump
from hpclaunch.plan.layout import Layout
from hpclaunch.plan.plan import Plan

DEFAULT_PORT = 12340
"""Stands in the file for those who launch by hand; a job's script passes its own."""

_STATE = {"sharded": "SHARDED_STATE_DICT", "full": "FULL_STATE_DICT"}
_STRATEGY = {
    "full": "FULL_SHARD",
    "hybrid": "HYBRID_SHARD",
    "grad": "SHARD_GRAD_OP",
    "none": "NO_SHARD",
}


def plan_config(plan: Plan) -> str:
    """Return the config of a plan, as the run folder holds it."""
    if plan.neuron:
        return "# torchrun starts the program on AWS Trainium: no accelerate config applies.\n"
    return accelerate_config(plan.layout, plan.nodes, plan.processes, plan.device)


def accelerate_config(
    layout: Layout,
    nodes: int,
    processes: int,
    device: Literal["gpu", "cpu"] = "gpu",
    port: int = DEFAULT_PORT,
) -> str:
    """Return the YAML text for `processes` ranks in all over `nodes` machines."""
    config: dict[str, Any] = {
        "compute_environment": "LOCAL_MACHINE",
        "debug": False,
        "distributed_type": _distributed_type(layout, processes),
        "downcast_bf16": "no",
        "enable_cpu_affinity": False,
    }
    if layout.compile:
        config["dynamo_config"] = {
            "dynamo_backend": "INDUCTOR",
            "dynamo_mode": "default",
            "dynamo_use_dynamic": False,
            "dynamo_use_fullgraph": False,
            "dynamo_use_regional_compilation": True,
        }
    if layout.precision == "fp8":
        config["fp8_config"] = {
            "backend": "AO",
            "enable_fsdp_float8_all_gather": layout.sharding != "none",
            "pad_inner_dim": True,
        }
    if layout.engine == "deepspeed":
        config["deepspeed_config"] = _deepspeed(layout)
    elif layout.sharding != "none":
        config["fsdp_config"] = _fsdp1(layout) if layout.version == 1 else _fsdp2(layout)
    config |= {
        "machine_rank": 0,
        "main_process_port": port,
        "main_training_function": "main",
        "mixed_precision": layout.precision,
        "num_machines": nodes,
        "num_processes": processes,
    }
    if layout.version == 2 and (layout.sharding == "hybrid" or layout.context > 1):
        config["parallelism_config"] = _parallelism(layout)
    config |= {
        "rdzv_backend": "static",
        "same_network": True,
        "tpu_env": [],
        "tpu_use_cluster": False,
        "tpu_use_sudo": False,
        # With it accelerate would leave DeepSpeed out; DS_ACCELERATOR says where it computes.
        "use_cpu": device == "cpu" and layout.engine != "deepspeed",
    }
    return dump(config)


def _parallelism(layout: Layout) -> dict[str, Any]:
    """Return the sizes of accelerate's mesh: replicas x shards x ranks of a sequence.

    FSDP shards over the last two together.
    """
    sizes: dict[str, Any] = {
        "parallelism_config_dp_replicate_size": layout.replicas,
        "parallelism_config_dp_shard_size": layout.shards // layout.context,
    }
    if layout.context > 1:
        sizes |= {
            "parallelism_config_cp_size": layout.context,
            "parallelism_config_cp_backend": "torch",
            "parallelism_config_cp_comm_strategy": "allgather",
        }
    return sizes


def _distributed_type(layout: Layout, processes: int) -> str:
    """Return accelerate's word for how ranks work together.

    MULTI_GPU stands for plain data parallelism on CPUs too: for MULTI_CPU the launcher looks for
    an MPI and, finding none, starts one process in place of all.
    """
    if layout.engine == "deepspeed":
        return "DEEPSPEED"
    if layout.sharding != "none":
        return "FSDP"
    return "NO" if processes == 1 else "MULTI_GPU"


def _deepspeed(layout: Layout) -> dict[str, Any]:
    """DeepSpeed's keys. standard: each node's launcher is started by the job, as for FSDP."""
    stage = 3 if layout.sharding == "full" else 2
    device = "cpu" if layout.offload else "none"
    config: dict[str, Any] = {
        "deepspeed_multinode_launcher": "standard",
        "offload_optimizer_device": device,
    }
    if stage == 3:
        config |= {
            "offload_param_device": device,
            "zero3_init_flag": True,
            "zero3_save_16bit_model": True,
        }
    return config | {"zero_stage": stage}


def _fsdp2(layout: Layout) -> dict[str, Any]:
    """FSDP 2's keys. What it dropped (strategy, prefetch, sync, orig params) is left out."""
    return {
        "fsdp_activation_checkpointing": layout.fsdp_activation_checkpointing,
        "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "fsdp_cpu_ram_efficient_loading": layout.cpu_ram_efficient_loading,
        "fsdp_offload_params": layout.offload,
        "fsdp_reshard_after_forward": layout.sharding in {"full", "hybrid"},
        "fsdp_state_dict_type": _STATE[layout.state_dict],
        "fsdp_version": 2,
    }


def _fsdp1(layout: Layout) -> dict[str, Any]:
    """FSDP 1's keys, every one that published configs of its time carry."""
    return {
        "fsdp_activation_checkpointing": layout.fsdp_activation_checkpointing,
        "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "fsdp_backward_prefetch": "BACKWARD_PRE",
        "fsdp_cpu_ram_efficient_loading": layout.cpu_ram_efficient_loading,
        "fsdp_forward_prefetch": False,
        "fsdp_offload_params": layout.offload,
        "fsdp_sharding_strategy": _STRATEGY[layout.sharding],
        "fsdp_state_dict_type": _STATE[layout.state_dict],
        "fsdp_sync_module_states": True,
        "fsdp_use_orig_params": True,
        "fsdp_version": 1,
    }
