"""The peak of each phase of a step: its forward and backward pass, layer by layer.

In each phase the memory grows by the same amount with each further layer, which the highest of all
phases does not: another may be the highest in a deeper model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.distributed._tools.fsdp2_mem_tracker import FSDPMemTracker

from hpclaunch.train.simulation.depth import TOTAL, Cut, Parts
from hpclaunch.train.simulation.few_layers import decoder_layers
from hpclaunch.train.simulation.stand_ins import PlainTracker


class _Phases:
    """Keeps the peak of each phase in place of the trackers' peaks of each module.

    Those would be looked at after every operation: in time the square of the layers.
    """

    _curr_mem_snap: dict[Any, dict[Any, int]]

    phase = "begin"
    """What the step does now."""

    def begin_phases(self) -> None:
        """Begin a step."""
        self.phase = "begin"
        self.peaks: dict[str, Parts] = {}

    def _update_peak_stats(self, _: Any) -> None:
        for parts in self._curr_mem_snap.values():
            before = self.peaks.get(self.phase)
            if before is None or parts[TOTAL] > before[TOTAL]:
                self.peaks[self.phase] = {
                    str(getattr(part, "value", part)): size for part, size in parts.items()
                }


class ShardedPhases(_Phases, FSDPMemTracker):  # type: ignore[misc]  # torch is untyped
    """The tracker of a sharded model."""

    def _fsdp_param_group_post_backward(
        self, fsdp_mod: Any, orig_fsdp_param_group_post_backward: Any
    ) -> Any:
        """Track only units that ran: an attention to an encoder that is not there never does."""
        plain = orig_fsdp_param_group_post_backward
        tracked = super()._fsdp_param_group_post_backward(fsdp_mod, plain)

        def inner(*args: Any, **kwargs: Any) -> None:
            group = fsdp_mod._get_fsdp_state()._fsdp_param_group
            units = group.fsdp_params if group else ()
            ran = all(hasattr(each, "_unsharded_param") for each in units)
            (tracked if ran else plain)(*args, **kwargs)

        return inner


class PlainPhases(_Phases, PlainTracker):
    """The tracker of a model that is not sharded."""


def mark_phases(
    model: Any, layers: int, cut: Cut, tracker: Any, on_phase: Callable[[], None]
) -> None:
    """Have the tracker told which layer is at work, forward or backward."""
    import torch

    def mark(name: str) -> None:
        tracker.phase = name
        on_phase()

    def computed_again() -> bool:  # activation checkpointing does, in the backward pass
        return str(tracker.phase).startswith(("backward", "embedding"))

    def at_gradient(value: Any, name: str) -> None:
        tensor = value[0] if isinstance(value, tuple) else value
        if isinstance(tensor, torch.Tensor) and tensor.requires_grad:
            tensor.register_hook(lambda _: mark(name))

    def watch(number: int, layer: Any) -> None:
        def before(_: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
            if computed_again():
                return
            if number == 0:
                at_gradient(arguments or options.get("hidden_states"), "embedding")
            mark(cut.phase("forward", number, layers))

        def after(_: Any, __: Any, output: Any) -> None:
            if computed_again():
                return
            at_gradient(output, cut.phase("backward", number, layers))
            if number == layers - 1:
                mark("head")

        layer.register_forward_pre_hook(before, with_kwargs=True)
        layer.register_forward_hook(after)

    for number, layer in enumerate(decoder_layers(model, layers)):
        watch(number, layer)
