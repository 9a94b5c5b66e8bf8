"""Causes in packages and in the training itself that one line shows, as in `one_line_causes`."""

from __future__ import annotations

from hpclaunch.diagnose.known_cause import KnownCause
from hpclaunch.diagnose.phrases import devices, network, software

OF_PACKAGES = (
    KnownCause(
        "system-python",
        phrases=software.EXTERNALLY_MANAGED,
        headline="pip may not install into the system's Python",
        steps=(
            "make an environment of the job's own: python3 -m venv, then its bin/pip; --venv of "
            "hpclaunch names it",
        ),
    ),
    KnownCause(
        "static-tls",
        phrases=software.STATIC_TLS,
        headline="the loader has no room left for a library's thread-local storage",
        steps=(
            "load that library first: import torch above the other packages, or LD_PRELOAD with "
            "the path that the error names",
        ),
    ),
    KnownCause(
        "missing-library",
        phrases=software.TORCHCODEC,
        headline="torchcodec does not find FFmpeg, or is of another release than PyTorch",
        steps=(
            "FFmpeg 4 to 7 must be in the job: module spider ffmpeg, or conda install -c "
            "conda-forge ffmpeg",
            "install them together: python -m pip install --upgrade torch torchcodec",
        ),
    ),
    KnownCause(
        "no-package",
        phrases=software.NO_CODEC,
        headline="the package that reads this compression is not installed",
        steps=(
            "python -m pip install zstandard in the job's environment; lz4 and python-snappy are "
            "those of the other compressions",
        ),
    ),
    KnownCause(
        "package-versions",
        phrases=software.FSSPEC,
        headline="datasets does not fit the installed fsspec",
        steps=("install them together: python -m pip install --upgrade datasets fsspec",),
    ),
)
OF_TRAINING = (
    KnownCause(
        "no-gradient",
        phrases=software.NO_GRADIENT,
        headline="no gradient leads from the loss to anything that is trained",
        steps=(
            "see what is trainable: model.print_trainable_parameters(), or requires_grad of the "
            "parameters",
            "with gradient checkpointing over frozen weights: model.enable_input_require_grads(), "
            "or gradient_checkpointing_kwargs={'use_reentrant': False}",
        ),
    ),
    KnownCause(
        "no-backend",
        phrases=network.NO_BACKEND,
        headline="the process group has no backend for tensors on this device",
        steps=(
            "with FSDP's offload to the CPU, or tensors that stay there: "
            "torch.distributed.init_process_group('cpu:gloo,cuda:nccl')",
            "a tensor of the program's own: bring it to the rank's GPU before it is sent",
        ),
    ),
    KnownCause(
        "no-sharding-rule",
        phrases=software.NO_SHARDING_RULE,
        headline="FSDP2's sharded tensors do not know an operation",
        steps=(
            "newer releases of PyTorch know more of them; fsdp_version: 1 has no such tensors",
            "where an optimizer asks for it: one that is made for sharded tensors, as "
            "torch.optim.AdamW",
        ),
    ),
    KnownCause(
        "quant-storage",
        phrases=software.QUANT_STORAGE,
        headline="FSDP cannot shard quantized weights that are stored as integers",
        steps=(
            "BitsAndBytesConfig(bnb_4bit_quant_storage=torch.bfloat16), and dtype=torch.bfloat16 "
            "for the rest of the model: both must be one floating type",
            "weights in 8 bits cannot be stored so: load in 4 bits, or train without FSDP",
        ),
    ),
    KnownCause(
        "sharded-weight",
        phrases=software.SHARDED_WEIGHT,
        headline="a module is called where ZeRO-3 or FSDP holds only a shard of its weight",
        steps=(
            "let the whole model's forward call it; or gather it around the call: "
            "deepspeed.zero.GatheredParameters(module.parameters()), or FSDP.summon_full_params",
        ),
    ),
    KnownCause(
        "no-kernel",
        phrases=software.NO_ATTENTION,
        headline="no kernel takes this attention on this GPU",
        steps=(
            "let PyTorch choose among its kernels: attn_implementation='sdpa' without "
            "torch.nn.attention.sdpa_kernel; or 'eager'",
            "cuDNN's alone can be left out: torch.backends.cuda.enable_cudnn_sdp(False)",
        ),
    ),
    KnownCause(
        "meta-weights",
        phrases=software.META_WEIGHTS,
        headline="weights were never loaded: they are still on the meta device",
        steps=(
            "compare the keys of the weight files with the model's: what they lack is not loaded",
            "under FSDP with fsdp_cpu_ram_efficient_loading: fsdp_sync_module_states must be true; "
            "without it load the model on every rank",
        ),
    ),
)
INDEX = KnownCause(
    "index",
    phrases=devices.OUTSIDE,
    headline="a token is outside the vocabulary of the embedding",
    steps=(
        "compare the tokenizer's length with the model's: model.resize_token_embeddings(len("
        "tokenizer)); longer texts than the model has positions do the same",
    ),
)
