"""The model and its tokenizer: loaded in the type asked for, quantized, resized, counted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.recipe.attention import VARLEN
from hpclaunch.recipe.causal import check_causal
from hpclaunch.recipe.model_folder import read_config
from hpclaunch.recipe.paths import is_local
from hpclaunch.recipe.quantized import MXFP4, check_quantized, quantized_by
from hpclaunch.recipe.schema import Model, Quantization, Recipe
from hpclaunch.recipe.zero import check_zero_model, under_deepspeed
from hpclaunch.train import attention, template, tiny_llama
from hpclaunch.train.four_bit import keep_unpacked
from hpclaunch.train.hub import explain
from hpclaunch.train.loading import way as loading
from hpclaunch.train.routers import left_out_of_adapters
from hpclaunch.train.towers import freeze_towers, without_adapters


@dataclass(frozen=True)
class Source:
    """Where `from_pretrained` finds a model: a folder or a hub id, and its revision."""

    path: str
    revision: str | None


def source(model: Model) -> Source:
    """Return where a recipe's model lies. Raises UserError where it is no model."""
    if model.name.startswith("builtin:"):
        return Source(str(tiny_llama.folder_of(model.name)), None)
    if is_local(model.name):
        folder = Path(model.name)
        read_config(folder)
        if not any(folder.glob("*.safetensors")):
            raise UserError(
                f"{folder} has no *.safetensors; other weight files can hold code",
                "convert them: load the model and call save_pretrained",
            )
    return Source(model.name, model.revision)


def load_config(where: Source) -> Any:
    """Return the model's config. Raises UserError where it cannot be had."""
    from transformers import AutoConfig

    with explain("model", where.path):
        return AutoConfig.from_pretrained(
            where.path, revision=where.revision, trust_remote_code=False
        )


def load_tokenizer(where: Source, recipe: Recipe) -> tuple[Any, list[int]]:
    """Return the tokenizer, and the ids of tokens that are new to it.

    These are `data.special_tokens`, and those of the model whose chat template the recipe takes.
    """
    from transformers import AutoTokenizer

    with explain("tokenizer of", where.path):
        tokenizer = AutoTokenizer.from_pretrained(
            where.path, revision=where.revision, trust_remote_code=False
        )
    known = tokenizer.get_vocab()
    cloned = template.use_chat_template(tokenizer, recipe.training)
    special = dict.fromkeys(recipe.data.special_tokens)
    new = [token for token in special if token not in known]
    if new:
        tokenizer.add_tokens(new, special_tokens=True)
    new = [*cloned, *(token for token in new if token not in cloned)]
    ids = [int(tokenizer.convert_tokens_to_ids(token)) for token in new]
    return tokenizer, ids


def load_model(
    recipe: Recipe,
    where: Source,
    attn_implementation: str,
    vocab_size: int,
    fsdp_version: int,
    log: Callable[[str], None] = lambda _: None,
) -> Any:
    """Return the model in the recipe's dtype, with embeddings for `vocab_size` tokens at least.

    The dtype is always passed: by name alone a model would load in float32. That is what weights
    need that are trained themselves, for small updates are rounded away in 16 bits: accelerate
    casts them under FSDP (`fsdp_version`, 0 without), DeepSpeed keeps copies in 32 bits, and this
    function casts them otherwise. Parameters may
    stay on meta until the model is sharded (`hpclaunch.train.loading`); `log` gets a line of that.
    """
    import torch
    from transformers import Mxfp4Config

    from hpclaunch.train import reward_head

    dtype = getattr(torch, recipe.model.dtype)
    casts_itself = bool(fsdp_version) or under_deepspeed(recipe)
    load_dtype = torch.float32 if recipe.method.kind == "full" and not casts_itself else dtype
    # Not every model supports SDPA (Gemma 2 does not): by default Transformers uses it where it
    # can, and the eager kernel elsewhere.
    is_default = recipe.model.attention == "auto" and attn_implementation == "sdpa"
    options: dict[str, Any] = {} if is_default else {"attn_implementation": attn_implementation}
    if attn_implementation == VARLEN:
        attention.register_varlen()
    if recipe.method.kind == "qlora":
        options["quantization_config"] = quantization(recipe.method.quantization, dtype)

    scores = recipe.objective_spec.scores
    kind = model_class(scores, options)

    def from_pretrained() -> Any:
        return kind.from_pretrained(
            where.path,
            revision=where.revision,
            dtype=load_dtype,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **options,
        )

    config = load_config(where)
    check_quantized(recipe, config.to_dict())
    check_zero_model(recipe, config.to_dict())
    if not scores:
        check_causal(config.to_dict(), where.path)
    if quantized_by(config.to_dict()) == MXFP4:
        options["quantization_config"] = Mxfp4Config(dequantize=True)
    with explain("model", where.path), reward_head.quiet(scores):
        (model, report), whole = loading.load(
            recipe, config, vocab_size, fsdp_version, from_pretrained
        )
    log("each rank reads its own shard" if whole is None else f"loaded whole: {whole}")
    missing = set(report["missing_keys"])
    if scores:
        missing -= reward_head.initialize(model, missing)
    if missing:
        names = ", ".join(sorted(missing)[:3])
        raise UserError(
            f"model {where.path} lacks weights that would start at random: {names}",
            "take a complete model; an adapter is not a complete model",
        )
    freeze_towers(model)
    keep_unpacked(model)
    embedding = model.get_input_embeddings().weight
    if vocab_size > getattr(embedding, "ds_shape", embedding.shape)[0]:  # in pieces: DeepSpeed's
        logger = logging.getLogger("transformers.modeling_utils")
        level = logger.level
        logger.setLevel(logging.ERROR)  # it warns how new rows start; they are trained
        model.resize_token_embeddings(vocab_size)
        logger.setLevel(level)
    return model


def model_class(scores: bool, options: dict[str, Any]) -> Any:
    """Return Transformers' class of models that write, or score, texts.

    `options` get what it needs of `from_pretrained`.
    """
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    if not scores:
        return AutoModelForCausalLM
    options["num_labels"] = 1
    if "quantization_config" in options:
        skipped = options["quantization_config"].llm_int8_skip_modules or []
        options["quantization_config"].llm_int8_skip_modules = [*skipped, "score"]
    return AutoModelForSequenceClassification


def without_adapter(model: Any) -> Any:
    """Return Transformers' model, out of PEFT's where there is an adapter."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def add_head_bias_attribute(model: Any) -> None:
    """Give a PEFT-wrapped output head the attribute `bias`, which TRL's fused loss reads."""
    head = model.get_output_embeddings()
    inner = getattr(head, "original_module", None)
    if inner is not None and getattr(inner, "bias", None) is None and not hasattr(head, "bias"):
        head.bias = None


def hold_adapters(model: Any, settings: Quantization) -> None:
    """Hold what QLoRA trains in the recipe's `adapter_dtype`, before there is an optimizer.

    TRL casts adapters over a quantized model to bfloat16, and so are their moments then: where an
    update is below a 256th of a value it is lost, and an Adam moment does not decay.
    """
    if settings.adapter_dtype == "float32":
        hold_in_float32(model)


def hold_in_float32(model: Any) -> None:
    """Hold all that is trained in 32 bits, before there is an optimizer."""
    import torch

    for parameter in model.parameters():
        if parameter.requires_grad and parameter.is_floating_point():
            parameter.data = parameter.data.to(torch.float32)


def quantization(settings: Quantization, dtype: Any) -> Any:
    """Return bitsandbytes' settings.

    The storage type is bfloat16 and not a choice: with its default, bytes, FSDP 2 does not shard
    the 4-bit weights and silently keeps all of them on every rank.
    """
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=settings.type,
        bnb_4bit_use_double_quant=settings.double,
        bnb_4bit_compute_dtype=dtype,
        bnb_4bit_quant_storage=torch.bfloat16,
        llm_int8_skip_modules=settings.skip_modules,
    )


def lora_config(recipe: Recipe, model: Any, new_tokens: list[int], fsdp_version: int) -> Any | None:
    """Return PEFT's settings, None for a full fine-tune.

    The embeddings of new tokens are trained row by row, in the input and (where it is a matrix of
    its own) in the output: a frozen random row would never be learnt.
    `fsdp_version`: 0 without FSDP.
    """
    if recipe.method.kind == "full":
        return None
    import msgspec
    from peft import LoraConfig

    fields = msgspec.to_builtins(recipe.method.lora)
    fields["exclude_modules"] = without_adapters(
        fields["exclude_modules"],
        freeze_towers(model),
        left_out_of_adapters(model, fields["target_modules"]),
    )
    if new_tokens:
        if fsdp_version and model.config.tie_word_embeddings:
            raise UserError(
                "data.special_tokens: this model's input and output share their embeddings, and "
                "PEFT cannot train new rows of them under FSDP",
                "set fsdp.sharding: none, or take tokens that the model has",
            )
        fields["trainable_token_indices"] = _with_tokens(
            fields["trainable_token_indices"], model, new_tokens, fields["modules_to_save"] or []
        )
    try:
        task = "SEQ_CLS" if recipe.objective_spec.scores else "CAUSAL_LM"
        return LoraConfig(task_type=task, **fields)
    except (ValueError, TypeError) as error:
        text = " ".join(str(error).split())
        raise UserError(f"recipe section method.lora is refused: {text}") from error


def _with_tokens(
    indices: list[int] | dict[str, list[int]] | None,
    model: Any,
    new: list[int],
    modules_to_save: list[str],
) -> dict[str, list[int]] | None:
    """Add new tokens to the rows to train, except in modules that are trained whole anyway."""
    names = {id(module): name.rpartition(".")[2] for name, module in model.named_modules()}
    embedding = names[id(model.get_input_embeddings())]
    rows = dict(indices) if isinstance(indices, dict) else {embedding: list(indices or [])}
    layers = [embedding]
    head = model.get_output_embeddings()
    if head is not None and head.weight is not model.get_input_embeddings().weight:
        layers.append(names[id(head)])
    for layer in layers:
        if layer not in modules_to_save:
            rows[layer] = sorted({*rows.get(layer, []), *new})
    return {layer: ids for layer, ids in rows.items() if ids} or None


def count_parameters(model: Any) -> tuple[int, int]:
    """Return parameters and trainable parameters of the whole model, whatever this rank holds.

    Call it before the model is sharded: afterwards a rank would count its own part. A 4-bit weight
    holds several parameters in each of its elements.
    """
    total = trainable = 0
    for parameter in model.parameters():
        state = getattr(parameter, "quant_state", None)
        whole = getattr(parameter, "ds_numel", parameter.numel())  # in pieces: DeepSpeed's
        number = whole if state is None else state.shape.numel()
        total += number
        trainable += number if parameter.requires_grad else 0
    return total, trainable
