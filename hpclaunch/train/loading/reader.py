"""Reads a rank's own slices of safetensors files, through Transformers' own loader."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from hpclaunch.errors import UserError
from hpclaunch.train.loading import shards
from hpclaunch.train.loading.files import Deferred
from hpclaunch.train.loading.names import plain_name, unit_of


class Reader:
    """The files of a model, opened; each tensor is known by the parameter that it becomes."""

    def __init__(self, deferred: Deferred) -> None:
        from safetensors import safe_open
        from transformers.core_model_loading import WeightConverter, WeightRenaming

        self.skeleton = deferred.skeleton
        self.load_config = deferred.load_config
        self.mapping = [
            each
            for each in self.load_config.weight_mapping or ()
            if not any(
                type(op).__name__.startswith("Bnb") for op in getattr(each, "operations", ())
            )
        ]
        self._kinds = [
            [each for each in self.mapping if isinstance(each, kind)]
            for kind in (WeightRenaming, WeightConverter)
        ]
        self._opened: list[Any] = [safe_open(file, framework="pt") for file in deferred.files]
        self._names = self.skeleton.state_dict()
        self.dtypes = {name: tensor.dtype for name, tensor in self._names.items()}
        self.sources: dict[str, dict[str, Any]] = defaultdict(dict)
        """Of each parameter the tensors of the files that it is made of, as slices unread."""
        for opened in self._opened:
            for key in opened.keys():  # noqa: SIM118 - no dict
                self.sources[self.parameter_of(key)][key] = opened.get_slice(key)
        self.tied = dict(getattr(self.skeleton, "all_tied_weights_keys", None) or {})
        """Parameters that are another one where no file holds them."""

    def parameter_of(self, key: str) -> str:
        """Return the parameter's name that Transformers' loader gives a tensor of the files."""
        from transformers.core_model_loading import rename_source_key

        prefix = self.skeleton.base_model_prefix
        name, _ = rename_source_key(key, *self._kinds, prefix, self._names)
        if name not in self._names and key in self._names:
            name, _ = rename_source_key(key, [], [], prefix, self._names)
        return str(name)

    def source_of(self, name: str) -> str:
        """Return the parameter that holds the values of `name`: itself, or the one it is tied to.

        Raises UserError where the files hold neither.
        """
        if name in self.sources:
            return name
        if self.tied.get(name) in self.sources:
            return str(self.tied[name])
        raise UserError(f"the model's files lack {name}", "take a complete model")

    def only_source(self, name: str) -> Any:
        """Return the slice, unread, that a parameter is as it is; its rows are read by indexing.

        Raises UserError where the files lack it.
        """
        (part,) = self.sources[self.source_of(name)].values()
        return part

    def parts_of(self, name: str) -> list[str]:
        """Return what else files hold of a 4-bit weight, without its name: `absmax` and so on."""
        return [each[len(name) + 1 :] for each in self.sources if each.startswith(f"{name}.")]

    def is_converted(self, name: str) -> bool:
        """Return whether a parameter is made of several tensors, or of one in another shape."""
        parts = list(self.sources.get(name, {}).values())
        return len(parts) != 1 or tuple(parts[0].get_shape()) != tuple(self._names[name].shape)

    def rows(self, name: str, indices: Sequence[int]) -> torch.Tensor:
        """Return rows of a matrix, on the CPU. Raises UserError where the files lack it."""
        part = self.only_source(name)
        rows = torch.cat([part[index : index + 1] for index in indices])
        return rows.to(self.dtypes[name])

    def read(self, wanted: Mapping[str, DTensor]) -> Iterator[dict[str, torch.Tensor]]:
        """Yield the local parts of `wanted`, layer by layer, in the types of the skeleton.

        `wanted`: by the base model's names, tensors that are sharded as the parts shall be.
        Raises UserError where the files do not hold what their headers promised.
        """
        units: dict[str, list[str]] = defaultdict(list)
        for name in wanted:
            units[unit_of(name)].append(name)
        for names in units.values():
            yield self._read_unit({name: wanted[name] for name in names})

    def _read_unit(self, wanted: Mapping[str, DTensor]) -> dict[str, torch.Tensor]:
        from transformers.core_model_loading import convert_and_load_state_dict_in_model

        empty = {name: shards.empty_like(like, self.dtypes[name]) for name, like in wanted.items()}
        here = [name for name, like in empty.items() if like.to_local().numel()]
        parts = {
            name: torch.empty(
                like.to_local().shape, dtype=like.dtype, device=shards.device_of(like)
            )
            for name, like in empty.items()
            if name not in here
        }
        if not here:
            return parts
        with self._in_skeleton({name: empty[name] for name in here}) as parameters:
            config = dataclasses.replace(
                self.load_config,
                hf_quantizer=None,
                weight_mapping=self.mapping,
                device_map={"": shards.device_of(empty[here[0]])},
            )
            slices = {key: part for name in here for key, part in self.sources[name].items()}
            found, _ = convert_and_load_state_dict_in_model(self.skeleton, slices, config)
            lost = found.missing_keys & set(here)
            if lost or found.mismatched_keys or found.conversion_errors:
                raise UserError(
                    f"the model's files do not hold {min(lost or here)} as their headers say",
                    "see that they are whole, and that nothing writes to them",
                )
            parts |= {name: parameters(name).to_local() for name in here}
        return parts

    @contextmanager
    def _in_skeleton(self, wanted: Mapping[str, DTensor]) -> Iterator[Callable[[str], DTensor]]:
        """Have the skeleton hold these tensors; what is yielded returns what it holds by then."""
        places = {}
        for name, like in wanted.items():
            path, _, leaf = name.rpartition(".")
            module = self.skeleton.get_submodule(path)
            places[name] = (module, leaf, getattr(module, leaf))
            setattr(module, leaf, torch.nn.Parameter(like, requires_grad=False))
        try:
            yield lambda name: getattr(*places[name][:2])
        finally:
            for module, leaf, before in places.values():
                setattr(module, leaf, before)


def read_parts(likes: Mapping[str, Any], reader: Reader, *, cpu_offload: bool) -> dict[str, Any]:
    """Return this rank's parts of parameters, each sharded and in the type as it is given.

    Raises UserError for files that are not whole.
    """
    values = {}
    wanted: dict[str, list[str]] = defaultdict(list)
    for name in likes:
        wanted[reader.source_of(plain_name(name))].append(name)
    for parts in reader.read({source: likes[names[0]] for source, names in wanted.items()}):
        for source, local in parts.items():
            for name in wanted[source]:
                # A tensor of its own for each: PEFT trains a copy beside the original.
                part = local.to(likes[name].dtype, copy=len(wanted[source]) > 1)
                values[name] = shards.from_local(part, likes[name], cpu_offload=cpu_offload)
    return values
