"""Adapters over a model on meta: made and kept on the CPU, with the values they would ever have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from hpclaunch.train.loading.files import deferred_load
from hpclaunch.train.loading.names import plain_name
from hpclaunch.train.loading.reader import Reader


@contextmanager
def adapters_on_cpu(model: Any) -> Iterator[None]:
    """Within it PEFT does not move adapters to a base layer's meta device, where values are lost.

    Nothing changes for a model that is loaded, nor for a whole model that is moved to meta: a
    reference model is sharded meanwhile.
    """
    from transformers import PreTrainedModel

    if deferred_load(model) is None:
        yield
        return
    original = torch.nn.Module.to

    def to(self: Any, *arguments: Any, **options: Any) -> Any:
        if not isinstance(self, PreTrainedModel):
            arguments = tuple(_not_meta(each) for each in arguments)
            options = {name: _not_meta(value) for name, value in options.items()}
        return original(self, *arguments, **options)

    torch.nn.Module.to = to
    try:
        yield
    finally:
        torch.nn.Module.to = original


def _not_meta(value: Any) -> Any:
    if isinstance(value, torch.device) and value.type == "meta":
        return torch.device("cpu")
    return value


def read_token_rows(model: Any, reader: Reader) -> None:
    """Give PEFT's trainable tokens their values, which are copies of the embedding's rows.

    Call it before there is an optimizer. Raises UserError where the files lack the embedding.
    """
    for name, layer in model.named_modules():
        for adapter, delta in getattr(layer, "trainable_tokens_delta", {}).items():
            if not delta.is_meta:
                continue  # shared with a tied layer, which has been here
            embedding = plain_name(f"{name.removesuffix('.token_adapter')}.weight")
            rows = reader.rows(embedding, layer.token_indices[adapter])
            originals = layer.trainable_tokens_original
            layer.trainable_tokens_delta[adapter] = torch.nn.Parameter(
                rows.to(delta.dtype), requires_grad=delta.requires_grad
            )
            originals[adapter] = rows.to(originals[adapter].dtype, copy=True)
