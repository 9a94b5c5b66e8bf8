"""The final weights: gathered from the ranks parameter by parameter, saved whole by the first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpclaunch.run.folder import RunFolder
from hpclaunch.run.permissions import apply_umask
from hpclaunch.run.removal import remove
from hpclaunch.train.distributed import DistContext, barrier

WRAPPERS = ("_fsdp_wrapped_module.", "_orig_mod.", "_checkpoint_wrapped_module.")
MAX_SHARD_SIZE = "5GB"
"""Size of a file of a full model."""


def save_final_weights(run: RunFolder, context: DistContext, trainer: Any, dtype: Any) -> Path:
    """Write RUN/final: the adapter of a PEFT model, else the model; with its tokenizer.

    Every rank must call it. Trainer.save_model writes nothing when checkpoints are sharded, so
    the weights are gathered here: for an adapter only its own, never the base. `dtype` is the type
    a full model is saved in (training may hold float32 masters). Raises RuntimeError rather than
    leave a folder without weights.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    adapter = hasattr(model, "peft_config")
    partial = run.root / ".final.partial"
    state: dict[str, Any] = {}
    # FSDP 1 is a module around the model, and the outermost holds the embeddings.
    sharded = trainer.model_wrapped if context.fsdp_version == 1 else model
    for name, tensor in _full_tensors(sharded, context, trainable_only=adapter):
        if context.is_main_process:
            state[name] = tensor if adapter else _cast(tensor, dtype)
    if context.is_main_process:
        if not state:
            raise RuntimeError("there are no weights to save: nothing was trainable")
        remove(partial)
        if adapter:
            # Rows of new tokens are saved as such, so whole embeddings need not be.
            model.save_pretrained(partial, state_dict=state, save_embedding_layers=False)
        else:
            model.save_pretrained(partial, state_dict=state, max_shard_size=MAX_SHARD_SIZE)
            model.config.dtype = dtype  # the line above writes the type of the float32 masters
            if trainer.use_cache is not None:
                model.config.use_cache = trainer.use_cache
            model.config.save_pretrained(partial)
        (partial / "README.md").unlink(missing_ok=True)  # PEFT's form, nothing filled in
        trainer.processing_class.save_pretrained(partial)
        _check_not_empty(partial, adapter)
        apply_umask(partial)
        remove(run.final)
        partial.rename(run.final)
    barrier()
    return run.final


def _cast(tensor: Any, dtype: Any) -> Any:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _check_not_empty(folder: Path, adapter: bool) -> None:
    """Refuse a folder whose safetensors hold nothing."""
    from safetensors import safe_open

    names = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as opened:
            names += len(opened.keys())
    if names == 0:
        raise RuntimeError(f"no {'adapter' if adapter else 'model'} weights were written: {folder}")


def _full_tensors(
    model: Any, context: DistContext, *, trainable_only: bool
) -> Iterator[tuple[str, Any]]:
    """Return each parameter (and saved buffer of a full model) whole, on the CPU of the first rank.

    One at a time: what is gathered on an accelerator at once is one parameter, not the model.
    """
    if context.fsdp_version == 1:
        yield from _full_tensors_fsdp1(model, trainable_only)
        return
    for name, parameter in model.named_parameters():  # a tied weight comes once
        if parameter.requires_grad or not trainable_only:
            whole = _full_tensor(parameter, context, master=trainable_only)
            yield _unwrapped_name(name), whole
    if not trainable_only:
        saved = model.state_dict().keys()
        for name, buffer in model.named_buffers():
            if name in saved:
                yield _unwrapped_name(name), _full_tensor(buffer, context)


def _full_tensor(value: Any, context: DistContext, *, master: bool = False) -> Any:
    """Return a parameter whole: collective for a sharded one. Only the first rank keeps it.

    `master`: in fp32, where DeepSpeed computes in 16 bits.
    """
    if context.zero_stage:
        from hpclaunch.train.zero.weights import whole

        return whole(value, context, master=master)
    from torch.distributed.tensor import DTensor

    value = value.detach()
    if isinstance(value, DTensor):
        if value.device_mesh.device_type != "cpu" and value.to_local().device.type == "cpu":
            value = value.to(value.device_mesh.device_type)  # offloaded shards gather on GPUs
        value = value.full_tensor()
    return value.to("cpu", copy=True) if context.is_main_process else None


def _full_tensors_fsdp1(model: Any, trainable_only: bool) -> Iterator[tuple[str, Any]]:
    """FSDP 1 keeps flat shards: unit by unit is made whole, copied and released."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    for prefix, unit in list(model.named_modules()):
        if not isinstance(unit, FullyShardedDataParallel):
            continue
        inner = [m for m in unit.modules() if isinstance(m, type(unit)) and m is not unit]
        with FullyShardedDataParallel.summon_full_params(unit, recurse=False, writeback=False):
            elsewhere = {id(parameter) for module in inner for parameter in module.parameters()}
            for name, parameter in unit.named_parameters():
                if id(parameter) in elsewhere or (trainable_only and not parameter.requires_grad):
                    continue
                full = f"{prefix}.{name}" if prefix else name
                yield _unwrapped_name(full), parameter.detach().to("cpu", copy=True)


def _unwrapped_name(name: str) -> str:
    """Return a parameter's name without the layers that wrappers put in."""
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, "")
    return name
