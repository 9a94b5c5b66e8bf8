"""Fields of GRPOConfig that a recipe cannot set, each with the reason or what to do instead."""

from __future__ import annotations

_SERVER = "set method.grpo.server.enabled: true; hpclaunch starts the server and sets its address"
_OWN_SAMPLER = "prompts are drawn by training.seed, each as often as it has completions"

GRPO_NOT: dict[str, str] = {
    **dict.fromkeys(
        ("sync_ref_model", "ref_model_mixup_alpha", "ref_model_sync_steps"),
        "the reference model is the one that training starts from, after a resume, too",
    ),
    **dict.fromkeys(
        (
            "use_vllm", "vllm_mode", "vllm_server_base_url", "vllm_server_host", "vllm_server_port",
            "vllm_server_timeout", "vllm_group_port", "vllm_tensor_parallel_size",
            "vllm_max_model_length", "vllm_gpu_memory_utilization", "vllm_enable_sleep_mode",
            "vllm_model_impl", "vllm_importance_sampling_cap",
        ),
        _SERVER,
    ),
    **dict.fromkeys(
        (
            "use_transformers_continuous_batching", "transformers_continuous_batching_config",
            "use_transformers_paged",
        ),
        "it turns trained parameters into 16 bits in place",
    ),
    **dict.fromkeys(
        (
            "use_adaptive_entropy", "entropy_coef_min", "entropy_coef_max", "entropy_coef_delta",
            "entropy_target",
        ),
        "its state is in no checkpoint; set training.entropy_coef",
    ),
    "remove_unused_columns": "the data's other columns go to the reward functions",
    "auto_find_batch_size": "set training.per_device_train_batch_size",
    "cast_lm_head_to_fp32": "weights are read when they are sharded, in model.dtype",
    "log_completions_hub_repo": "compute nodes work offline: training.log_completions writes "
    "RUN/completions.jsonl",
    "log_multimodal": "training is on text alone",
    "log_unique_prompts": "training.log_completions writes all of them",
    "num_completions_to_print": "training.log_completions writes all of them",
    "max_tool_calling_iterations": "no tools are called",
    "train_sampling_strategy": _OWN_SAMPLER,
    "ds3_gather_for_generation": "hpclaunch shards with FSDP",
}  # fmt: skip
