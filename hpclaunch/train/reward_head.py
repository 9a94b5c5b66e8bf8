"""The head of a reward model: one number from the hidden state of the last token."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

HEAD = "score."
"""Name of Transformers' head for a score, with what follows it."""


def initialize(model: Any, missing: set[str]) -> set[str]:
    """Give the head that a checkpoint lacks its first values; return the names that it had.

    Every rank draws the same numbers. With `fsdp.cpu_ram_efficient_loading` Transformers leaves a
    new head of all ranks but the first without values, on the device meta.
    """
    import torch

    names = {name for name in missing if name.startswith(HEAD)}
    deviation = getattr(model.config.get_text_config(), "initializer_range", 0.02)
    for name in sorted(names):
        old = model.get_parameter(name)
        values = torch.empty(old.shape, dtype=torch.float32).normal_(0.0, deviation)
        owner, _, attribute = name.rpartition(".")
        parameter = torch.nn.Parameter(values.to(old.dtype), requires_grad=old.requires_grad)
        if old.device.type != "meta":
            parameter = torch.nn.Parameter(parameter.data.to(old.device), old.requires_grad)
        setattr(model.get_submodule(owner), attribute, parameter)
    return names


@contextlib.contextmanager
def quiet(scores: bool) -> Iterator[None]:
    """Keep Transformers from warning of the head that every checkpoint of a plain model lacks.

    `scores`: the model has one.
    """
    logger = logging.getLogger("transformers")
    level = logger.level
    if scores:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
