"""A LoRA adapter merged tensor by tensor: PEFT's own merge, on a model without weights.

The model is a skeleton on the meta device; the adapter alone is real. For each tensor of the base
its value is put in, PEFT merges, and the result is taken out again. Names, scaling, patterns, DoRA,
trained tokens and the fused experts of newer Transformers are PEFT's and Transformers' code.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from peft import PeftModel
from peft.tuners.lora.layer import ParamWrapper
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from safetensors import safe_open
from transformers import AutoModelForCausalLM
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    rename_source_key,
    revert_weight_conversion,
)

from hpclaunch.errors import UserError
from hpclaunch.train.stages.tensor_files import TensorFiles

ADAPTER = "default"
_MOVE = "_move_adapter_to_device_of_base_layer"
_EMPTY = "meta"


class MergedTensors:
    """The tensors of a base model, each with the adapter merged into it."""

    def __init__(self, files: TensorFiles, config: Any, adapter: Path, rows: int) -> None:
        """Build the skeleton. `rows`: of the embeddings, more than the base has or as many.

        Raises UserError where the adapter does not fit the model.
        """
        self.files, self.config, self.rows = files, config, rows
        self._tied = bool(config.get_text_config().tie_word_embeddings)
        with init_empty_weights(include_buffers=False):
            model = AutoModelForCausalLM.from_config(
                config, dtype=config.dtype, trust_remote_code=False
            )
            if rows > model.get_input_embeddings().weight.shape[0]:
                model.resize_token_embeddings(rows, mean_resizing=False)
        model.tie_weights()
        places = {id(module): name for name, module in model.named_modules()}
        self._embedding = f"{places[id(model.get_input_embeddings())]}.weight"
        head = model.get_output_embeddings()
        self._head = None if head is None else f"{places[id(head)]}.weight"
        mapping = get_model_conversion_mapping(model)
        renamings = [each for each in mapping if isinstance(each, WeightRenaming)]
        self._converters = [each for each in mapping if isinstance(each, WeightConverter)]
        state = dict(model.state_dict())
        # Name in the file -> name in the model, and the pattern of those that are converted.
        self._places: dict[str, tuple[str, str | None]] = {
            name: rename_source_key(
                name, renamings, self._converters, model.base_model_prefix, state
            )
            for name in files.files
        }
        self._groups: dict[str, list[tuple[str, str]]] = {}
        for name, (place, pattern) in self._places.items():
            if pattern is not None:
                self._groups.setdefault(place, []).append((name, pattern))
        self._biases = _whole_biases(adapter)
        self._used: set[int] = set()
        self._pending: dict[str, Any] = {}
        self._model = model
        self._inner = _with_adapter(model, adapter)

    def value(self, name: str) -> Any:
        """Return one tensor of the file, merged. Each may be asked for once."""
        if name in self._pending:
            return self._pending.pop(name)
        place, pattern = self._places[name]
        if pattern is None:
            if place in self._biases:
                return self._biases[place]
            return self._merged(place, self._base(name, place))
        converter = copy.deepcopy(
            next(each for each in self._converters if pattern in each.source_patterns)
        )
        for each, its_pattern in sorted(self._groups[place], key=lambda pair: _by_number(pair[0])):
            converter.add_tensor(place, each, its_pattern, self.files.tensor(each))
        converted = converter.convert(place, model=self._model, config=self.config)
        whole = next(iter(converted.values()))
        whole = whole[0] if isinstance(whole, list) else whole
        parts = revert_weight_conversion(self._model, {place: self._merged(place, whole)})
        self._pending.update(parts)
        return self._pending.pop(name)

    def shape(self, name: str) -> tuple[tuple[int, ...], Any]:
        """Return shape and dtype of what `value` returns, without computing it."""
        shape = self.files.shape(name)
        grown = self._grows(self._places[name][0]) and shape[0] < self.rows
        return (self.rows, *shape[1:]) if grown else shape, self.files.dtype(name)

    def head(self) -> tuple[str, Any] | None:
        """Return name and value of an output head that is tied in the base, and is not any more.

        None where it still is, or was a matrix of its own.
        """
        name, place = self._head, self._embedding
        if not self._tied or name is None or name in self.files.files:
            return None
        source = next(file for file, (at, _) in self._places.items() if at == place)
        merged = self._merged(name, self._base(source, place))
        same = torch.equal(merged, self._merged(place, self._base(source, place)))
        return None if same else (name, merged)

    def check_all_used(self) -> None:
        """Raise RuntimeError where a part of the adapter has been merged into nothing."""
        kinds = (BaseTunerLayer, AuxiliaryTrainingWrapper)
        missed = [
            name
            for name, module in self._inner.named_modules()
            if isinstance(module, kinds)
            and id(module) not in self._used
            and not name.endswith("token_adapter")
        ]
        if missed:
            raise RuntimeError(f"parts of the adapter belong to no tensor: {missed[:3]}")

    def _base(self, name: str, place: str) -> Any:
        """Return a tensor of the base; of embeddings that grow, with rows of zeros for new ones."""
        tensor = self.files.tensor(name)
        if self._grows(place) and tensor.shape[0] < self.rows:
            grown = tensor.new_zeros((self.rows, *tensor.shape[1:]))
            grown[: tensor.shape[0]] = tensor
            return grown
        return tensor

    def _grows(self, place: str) -> bool:
        """Return whether a tensor has a row for each token."""
        return place in {self._embedding, self._head}

    def _merged(self, place: str, weight: Any) -> Any:
        """Return the value of a parameter with the adapter in it, given the base's."""
        name, _, leaf = place.rpartition(".")
        try:
            module = self._inner.get_submodule(name)
        except AttributeError:
            return weight
        while isinstance(module, AuxiliaryTrainingWrapper):
            self._used.add(id(module))
            if ADAPTER in getattr(module, "modules_to_save", {}):
                saved = module.modules_to_save[ADAPTER].get_parameter(leaf)
                return saved.detach().to(weight.dtype)
            if hasattr(module, "token_adapter"):
                return self._merge_layer(module.token_adapter, module.token_adapter, weight)
            module = module.original_module
        layers = []
        while isinstance(module, BaseTunerLayer):
            layers.append(module)
            module = module.base_layer
        return self._merge_tuners(layers, module, leaf, weight)

    def _merge_tuners(self, layers: list[Any], plain: Any, leaf: str, weight: Any) -> Any:
        for layer in layers:
            parameter = getattr(layer, "parameter_name", "weight")
            if parameter == leaf:
                return self._merge_layer(layer, plain, weight, leaf)
            if leaf == "bias" and getattr(layer, "lora_bias", {}).get(ADAPTER):
                self._used.add(id(layer))
                bias = layer.lora_B[ADAPTER].bias * layer.scaling[ADAPTER]
                return (weight + bias).detach().to(weight.dtype)
        return weight

    def _merge_layer(self, layer: Any, plain: Any, weight: Any, leaf: str = "weight") -> Any:
        """Let PEFT merge one layer whose base weight is put into `plain` for the time of it."""
        plain = layer.base_layer if plain is layer else plain
        self._used.add(id(layer))
        setattr(plain, leaf, torch.nn.Parameter(weight, requires_grad=False))
        with torch.no_grad():
            layer.merge(safe_merge=False, adapter_names=[ADAPTER])
        layer.merged_adapters.clear()  # else the next merge would do nothing, without a word
        merged = getattr(plain, leaf).data
        empty = torch.empty_like(merged, device=_EMPTY)
        setattr(plain, leaf, torch.nn.Parameter(empty, requires_grad=False))
        return merged


def _with_adapter(model: Any, adapter: Path) -> Any:
    """Return the model with PEFT's layers in it, whose own weights are real."""
    with _adapters_stay():
        wrapped = PeftModel.from_pretrained(model, str(adapter), low_cpu_mem_usage=True)
    wrapped.base_model._cast_adapter_dtype(ADAPTER, True)  # 16-bit adapters compute in float32
    names = ("lora_", "modules_to_save.default", "trainable_tokens")
    empty = [
        name
        for name, parameter in wrapped.named_parameters()
        if any(each in name for each in names) and parameter.is_meta
    ]
    if empty:
        raise UserError(f"{adapter} does not hold all weights of its adapter: {empty[0]}")
    return wrapped.base_model.model


@contextmanager
def _adapters_stay() -> Iterator[None]:
    """Keep PEFT from moving an adapter to the device of its base layer, which is none."""
    kept = [(kind, kind.__dict__[_MOVE]) for kind in (BaseTunerLayer, ParamWrapper)
            if _MOVE in kind.__dict__]  # fmt: skip
    for kind, _ in kept:
        setattr(kind, _MOVE, lambda self, *_, **__: None)
    try:
        yield
    finally:
        for kind, method in kept:
            setattr(kind, _MOVE, method)


def _whole_biases(adapter: Path) -> dict[str, Any]:
    """Return trained biases (`bias: all`), which the adapter's file holds whole."""
    with safe_open(adapter / "adapter_model.safetensors", framework="pt") as opened:
        return {
            name.removeprefix("base_model.model.").replace(".base_layer.", "."): (
                opened.get_tensor(name)
            )
            for name in opened.keys()  # noqa: SIM118 - it is no dict
            if name.endswith(".bias") and ".lora_" not in name
        }


def _by_number(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]
